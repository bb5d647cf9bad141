#include "runtime/state.h"

#include <algorithm>
#include <cstring>

#include "runtime/border.h"
#include "runtime/memory.h"
#include "runtime/memory_overlap.h"
#include "runtime/strided_copy.h"

namespace kiln {
namespace {

// Strides of a view, those of a contiguous one filled in.
std::vector<int64_t> strides_of(const TensorView& view) {
  std::vector<int64_t> strides(static_cast<size_t>(view.rank));
  int64_t stride = 1;
  for (size_t i = strides.size(); i-- > 0;) {
    strides[i] = view.strides != nullptr ? view.strides[i] : stride;
    stride *= view.shape[i];
  }
  return strides;
}

void copy(const TensorView& from, const TensorView& to) {
  for (int i = 0; i < from.rank; ++i) {
    if (from.shape[i] == 0) return;
  }
  if (span_of(from).overlaps(span_of(to))) {
    if (from.data == to.data && strides_of(from) == strides_of(to)) return;
    // By way of memory of its own.
    int64_t elements = 1;
    for (int i = 0; i < from.rank; ++i) elements *= from.shape[i];
    std::vector<std::byte> between(static_cast<size_t>(elements) * dtype_bytes(from.dtype));
    const TensorView dense{between.data(), from.dtype, {}, from.rank, from.shape};
    copy(from, dense);
    copy(dense, to);
    return;
  }
  strided_copy(from.data, strides_of(from).data(), to.data, strides_of(to).data(), from.shape,
               from.rank, dtype_bytes(from.dtype));
}

}  // namespace

TensorInfo describe(const TensorSignature& signature, const SymbolRanges& ranges) {
  TensorInfo info;
  info.name = signature.name;
  info.dtype = signature.dtype;
  info.order = signature.order;
  for (const DimExpr& dim : signature.dims) {
    const DimRange range = dim.range(ranges);
    info.dims.push_back({dim.to_string(), range.min, range.max});
  }
  return info;
}

Result<std::shared_ptr<State>> State::Impl::create(std::shared_ptr<Engine> engine) {
  auto impl = std::make_unique<Impl>();
  const EnginePlan& plan = engine->plan();
  for (const TensorSignature& input : plan.inputs) {
    if (!input.is_state) continue;
    Tensor tensor;
    KILN_ASSIGN_OR_RETURN(tensor.dims, evaluate(input.dims, {}));
    int64_t bytes = static_cast<int64_t>(dtype_bytes(input.dtype));
    for (int64_t extent : tensor.dims) {
      if (extent < 0 || __builtin_mul_overflow(bytes, extent, &bytes)) {
        return Status::error("K4103", "size of a state is out of range: '" + input.name + "'");
      }
    }
    tensor.bytes = static_cast<size_t>(bytes);
    tensor.memory = allocate_block(tensor.bytes);
    if (tensor.memory == nullptr && tensor.bytes != 0) {
      return Status::error("K4501", "out of memory for a state of bytes " + std::to_string(bytes));
    }
    tensor.view.data = tensor.memory.get();
    tensor.view.dtype = input.dtype;
    tensor.view.rank = static_cast<int>(tensor.dims.size());
    impl->tensors.push_back(std::move(tensor));
    impl->infos.push_back(describe(input, plan.symbols));
  }
  for (Tensor& tensor : impl->tensors) tensor.view.shape = tensor.dims.data();
  impl->engine_ = std::move(engine);
  KILN_RETURN_IF_ERROR(impl->reset());
  return std::make_shared<State>(std::move(impl));
}

Status State::Impl::reset() {
  const std::vector<WeightBytes> weights = engine_->weights();
  size_t next = 0;
  for (const TensorSignature& input : engine_->plan().inputs) {
    if (!input.is_state) continue;
    Tensor& tensor = tensors[next++];
    if (tensor.bytes == 0) continue;
    if (input.initial < 0) {
      std::memset(tensor.memory.get(), 0, tensor.bytes);
      continue;
    }
    const WeightBytes& weight = weights[static_cast<size_t>(input.initial)];
    if (weight.data == nullptr || weight.bytes != tensor.bytes) {
      return Status::error("K3106", "state has no initial value of its size: '" + input.name + "'");
    }
    std::memcpy(tensor.memory.get(), weight.data, tensor.bytes);
  }
  return {};
}

int State::Impl::find(const std::string& name) const {
  for (size_t i = 0; i < infos.size(); ++i) {
    if (infos[i].name == name) return static_cast<int>(i);
  }
  return -1;
}

Status State::Impl::check(const std::string& name, const TensorView& other, int* index) const {
  *index = find(name);
  if (*index < 0) {
    std::string known;
    for (const TensorInfo& info : infos) known += (known.empty() ? "" : ", ") + info.name;
    return Status::error("K4116", "state has no tensor of this name: '" + name + "'",
                         "it has: " + known);
  }
  const Tensor& tensor = tensors[static_cast<size_t>(*index)];
  if (other.dtype != tensor.view.dtype || other.rank != tensor.view.rank ||
      !std::equal(tensor.dims.begin(), tensor.dims.end(), other.shape) ||
      other.device.kind != DeviceKind::kCpu || (other.data == nullptr && tensor.bytes != 0)) {
    return Status::error(
        "K4117", "tensor has another dtype, shape or device than the state: '" + name + "'");
  }
  return {};
}

State::State(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
State::~State() = default;

const std::vector<TensorInfo>& State::infos() const { return impl_->infos; }

Status State::get(const std::string& name, const TensorView& to) const {
  return guarded([&]() -> Status {
    std::lock_guard lock(impl_->mutex);
    int index = 0;
    KILN_RETURN_IF_ERROR(impl_->check(name, to, &index));
    copy(impl_->tensors[static_cast<size_t>(index)].view, to);
    return {};
  });
}

Status State::set(const std::string& name, const TensorView& from) {
  return guarded([&]() -> Status {
    std::lock_guard lock(impl_->mutex);
    int index = 0;
    KILN_RETURN_IF_ERROR(impl_->check(name, from, &index));
    copy(from, impl_->tensors[static_cast<size_t>(index)].view);
    return {};
  });
}

Result<TensorView> State::view(const std::string& name) {
  return guarded([&]() -> Result<TensorView> {
    const int index = impl_->find(name);
    if (index < 0) {
      return Status::error("K4116", "state has no tensor of this name: '" + name + "'");
    }
    return impl_->tensors[static_cast<size_t>(index)].view;
  });
}

Status State::reset() {
  return guarded([&]() -> Status {
    std::lock_guard lock(impl_->mutex);
    return impl_->reset();
  });
}

}  // namespace kiln

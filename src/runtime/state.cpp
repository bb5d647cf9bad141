#include "runtime/state.h"

#include <algorithm>
#include <cstddef>

#include "base/border.h"
#include "runtime/given_weights.h"
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

size_t bytes_of(const TensorView& view) {
  int64_t elements = 1;
  for (int i = 0; i < view.rank; ++i) elements *= view.shape[i];
  return static_cast<size_t>(elements) * dtype_bytes(view.dtype);
}

bool is_contiguous(const TensorView& view) {
  const std::vector<int64_t> strides = strides_of(view);
  int64_t expected = 1;
  for (size_t i = strides.size(); i-- > 0;) {
    if (view.shape[i] != 1 && strides[i] != expected) return false;
    expected *= view.shape[i];
  }
  return true;
}

TensorView dense(const TensorView& like, void* memory, const Device& device) {
  return {memory, like.dtype, device, like.rank, like.shape, nullptr};
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
  impl->device_ = &engine->device();
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
    tensor.memory = impl->device_->allocate_lasting(tensor.bytes);
    if (tensor.memory == nullptr && tensor.bytes != 0) {
      return Status::error("K4501", "out of memory for a state of bytes " + std::to_string(bytes));
    }
    tensor.view.data = tensor.memory.get();
    tensor.view.dtype = input.dtype;
    tensor.view.device = impl->device_->device();
    tensor.view.rank = static_cast<int>(tensor.dims.size());
    impl->tensors.push_back(std::move(tensor));
    impl->infos.push_back(describe(input, plan.symbols));
  }
  for (Tensor& tensor : impl->tensors) tensor.view.shape = tensor.dims.data();
  impl->engine_ = std::move(engine);
  KILN_RETURN_IF_ERROR(impl->reset());
  return std::make_shared<State>(std::move(impl));
}

Status State::Impl::use_on(StreamHandle stream) {
  if (used_ && stream != stream_ && !device_->is_recording(stream)) {
    KILN_RETURN_IF_ERROR(device_->order(stream_, stream));
  }
  stream_ = stream;
  used_ = true;
  return {};
}

Status State::Impl::copy(const TensorView& from, const TensorView& to) {
  const size_t bytes = bytes_of(from);
  if (bytes == 0) return {};
  KILN_RETURN_IF_ERROR(use_on(device_->current_stream()));
  const Device here = device_->device();
  if (from.device == to.device) return copy_here(from, to);
  // One end is the host's: what crosses is contiguous.
  const bool out = from.device == here;
  const TensorView& host = out ? to : from;
  std::vector<std::byte> between(is_contiguous(host) ? 0 : bytes);
  void* const crossing = between.empty() ? host.data : between.data();
  auto cross_host = [&](bool back) {
    if (between.empty()) return;
    const TensorView packed = dense(host, crossing, {});
    const TensorView& a = back ? packed : host;
    const TensorView& b = back ? host : packed;
    strided_copy(a.data, strides_of(a).data(), b.data, strides_of(b).data(), a.shape, a.rank,
                 dtype_bytes(a.dtype));
  };
  if (out) {  // the state's own tensors are contiguous
    KILN_RETURN_IF_ERROR(device_->copy(crossing, from.data, bytes, stream_));
    cross_host(true);
    return {};
  }
  cross_host(false);
  return device_->copy(to.data, crossing, bytes, stream_);
}

Status State::Impl::copy_here(const TensorView& from, const TensorView& to) {
  if (span_of(from).overlaps(span_of(to))) {
    if (from.data == to.data && strides_of(from) == strides_of(to)) return {};
    // By way of memory of its own.
    const std::shared_ptr<void> between = device_->allocate(bytes_of(from), stream_);
    if (between == nullptr) return Status::error("K4501", "out of memory for a copy of a state");
    const TensorView packed = dense(from, between.get(), device_->device());
    KILN_RETURN_IF_ERROR(copy_here(from, packed));
    return copy_here(packed, to);
  }
  return device_->strided_copy(from.data, strides_of(from).data(), to.data, strides_of(to).data(),
                               from.shape, from.rank, dtype_bytes(from.dtype), stream_);
}

Status State::Impl::reset() {
  KILN_RETURN_IF_ERROR(use_on(device_->current_stream()));
  const std::vector<WeightBytes> weights = engine_->weights();
  size_t next = 0;
  for (const TensorSignature& input : engine_->plan().inputs) {
    if (!input.is_state) continue;
    Tensor& tensor = tensors[next++];
    if (tensor.bytes == 0) continue;
    if (input.initial < 0) {
      KILN_RETURN_IF_ERROR(device_->fill(tensor.memory.get(), 0, tensor.bytes, stream_));
      continue;
    }
    const WeightBytes& weight = weights[static_cast<size_t>(input.initial)];
    if (weight.data == nullptr || weight.bytes != tensor.bytes) {
      return Status::error("K3106", "state has no initial value of its size: '" + input.name + "'");
    }
    // From another GPU by way of the host.
    const bool near = weight.device == device_->device() || weight.device == Device();
    KILN_ASSIGN_OR_RETURN(const WeightBytes value,
                          near ? Result<WeightBytes>(weight) : weight_on_host(weight));
    KILN_RETURN_IF_ERROR(device_->copy(tensor.memory.get(), value.data, tensor.bytes, stream_));
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
      !(other.device == tensor.view.device || other.device == Device()) ||
      (other.data == nullptr && tensor.bytes != 0)) {
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
    return impl_->copy(impl_->tensors[static_cast<size_t>(index)].view, to);
  });
}

Status State::set(const std::string& name, const TensorView& from) {
  return guarded([&]() -> Status {
    std::lock_guard lock(impl_->mutex);
    int index = 0;
    KILN_RETURN_IF_ERROR(impl_->check(name, from, &index));
    return impl_->copy(from, impl_->tensors[static_cast<size_t>(index)].view);
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

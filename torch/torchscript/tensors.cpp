// The table of tensors: what they are to the capture builder, and what their shapes are.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "torch/borrowed_weight.h"
#include "torch/torchscript/convolution_format.h"
#include "torch/torchscript/importer.h"

namespace kiln::torchscript {
namespace {

constexpr int64_t kMaxTrialElements = int64_t{1} << 26;

at::Tensor without_data(const at::Tensor& tensor) {
  if (tensor.is_nested()) throw Stop("a nested tensor");
  return at::empty_strided(tensor.sizes(), tensor.strides(),
                           tensor.options().device(c10::kMeta).requires_grad(false));
}

bool same_shape(const at::Tensor& a, const at::Tensor& b) {
  if (a.layout() != c10::kStrided || b.layout() != c10::kStrided) {
    return a.layout() == b.layout() && a.sizes() == b.sizes() && a.scalar_type() == b.scalar_type();
  }
  return a.sizes() == b.sizes() && a.strides() == b.strides() && a.scalar_type() == b.scalar_type();
}

bool is_device(const c10::TypePtr& type) {
  if (type->kind() == c10::TypeKind::OptionalType) {
    return is_device(type->castRaw<c10::OptionalType>()->getElementType());
  }
  return type->kind() == c10::TypeKind::DeviceObjType;
}

// Replaces tensors deep inside a list or alone.
c10::IValue map_tensors(const c10::IValue& value,
                        const std::function<at::Tensor(const at::Tensor&)>& f) {
  if (value.isTensor()) return value.toTensor().defined() ? f(value.toTensor()) : value;
  if (!value.isList()) return value;
  c10::impl::GenericList list(value.toList().elementType());
  for (const c10::IValue& item : value.toListRef()) list.push_back(map_tensors(item, f));
  return list;
}

}  // namespace

TensorInfo& Importer::info(const at::Tensor& tensor) {
  const auto [found, added] = tensors_.try_emplace(tensor.unsafeGetTensorImpl());
  TensorInfo& result = found->second;
  if (!added) return result;
  // A tensor of the module, or a constant of its code.
  result.keep = tensor;
  result.device = tensor.device();
  result.weight = true;
  if (written_constants_.contains(tensor.unsafeGetTensorImpl()) && !options_.home.is_cpu()) {
    throw Stop("a constant number on the CPU is changed in place by a program on " +
               options_.home.str());
  }
  if (tensor.dim() == 0 && tensor.is_cpu() && tensor.layout() == c10::kStrided &&
      !state_names_.contains(tensor.unsafeGetTensorImpl()) &&
      !written_constants_.contains(tensor.unsafeGetTensorImpl())) {
    result.values = {tensor.detach().clone()};
    result.literal = true;
  }
  return result;
}

void Importer::ensure_metas(TensorInfo& tensor_info, const at::Tensor& tensor) {
  if (!tensor_info.metas.empty()) return;
  if (tensor.layout() != c10::kStrided || tensor.is_quantized()) {
    throw Stop("a weight of a type that is not supported: " + tensor.toString());
  }
  if (!tensor_info.known()) {
    tensor_info.metas = {without_data(tensor)};
    return;
  }
  for (const at::Tensor& value : tensor_info.values) {
    tensor_info.metas.push_back(without_data(value));
  }
  if (std::all_of(tensor_info.metas.begin(), tensor_info.metas.end(),
                  [&](const at::Tensor& meta) { return same_shape(meta, tensor_info.metas[0]); })) {
    tensor_info.metas.resize(1);
  }
}

// A name that nothing of the module has.
std::string Importer::constant_name() {
  for (;;) {
    std::string name = "constant_" + std::to_string(next_constant_++);
    const bool taken = std::any_of(state_names_.begin(), state_names_.end(),
                                   [&](const auto& entry) { return entry.second.name == name; });
    if (!taken) return name;
  }
}

int32_t Importer::handle(const at::Tensor& tensor) {
  TensorInfo& t = info(tensor);
  if (t.handle >= 0) return t.handle;
  ensure_metas(t, tensor);
  if (t.known()) {
    const at::Tensor& value = t.values[0];
    if (c10::isComplexType(value.scalar_type())) {
      if (t.values.size() > 1) throw Stop("a complex tensor is computed from sizes that vary");
      return t.handle = complex_constant(value, t);
    }
    const bool varies = t.values.size() > 1 || t.metas.size() > 1;
    if (value.dim() == 0) {
      CaptureArg fill, dtype, none;
      if (symbolic_size(t.number) != nullptr) {
        fill = encode(t.number, c10::IntType::get());
      } else if (varies) {
        throw Stop("a tensor is computed from sizes that vary");
      } else if (value.scalar_type() == c10::kBool) {
        fill.value = value.item<bool>();
      } else if (c10::isIntegralType(value.scalar_type(), false)) {
        fill.value = value.item<int64_t>();
      } else {
        fill.value = value.item<double>();
      }
      const auto type = from_scalar_type(value.scalar_type());
      if (!type) throw Stop("a constant of a type that is not supported: " + value.toString());
      dtype.value = *type;
      t.handle = check(capture_.call("aten::full", "",
                                     {CaptureArg{CaptureArg::List{}}, fill, dtype, none,
                                      CaptureArg{Device{options_.device, 0}}, none},
                                     {describe(t)}, origin(), ""))[0];
      return t.handle;
    }
    if (varies) throw Stop("a tensor is computed from sizes that vary");
    const std::string name = constant_name();
    const at::Tensor copy = value.clone().to(options_.home);
    const CaptureWeight weight = check(borrow_weight(copy, name));
    const int32_t stored = check(capture_.weight(name, weight, "constant"));
    weights_[name] = {copy, stored};
    // The program may write what it makes of it, but not the constant.
    t.handle = check(capture_.call("aten::clone", "", {CaptureArg{CaptureArg::Value{stored}}},
                                   {describe(t)}, origin(), ""))[0];
    return t.handle;
  }
  const auto named = state_names_.find(tensor.unsafeGetTensorImpl());
  const std::string kind = named == state_names_.end() ? "constant" : named->second.kind;
  const std::string name = named == state_names_.end() ? constant_name() : named->second.name;
  if (c10::isComplexType(tensor.scalar_type()) && tensor.device() == options_.home) {
    if (kind != "constant") throw Stop("a complex weight: " + name, kRealPartsHint);
    return t.handle = complex_constant(tensor, t);
  }
  // The same bytes seen again share one handle.
  for (const auto& [other_name, other] : weights_) {
    const at::Tensor& known = other.first;
    if (tensor.numel() > 0 && known.data_ptr() == tensor.data_ptr() && same_shape(known, tensor)) {
      return t.handle = other.second;
    }
  }
  if (tensor.device() != options_.home && !(tensor.dim() == 0 && tensor.is_cpu())) {
    throw Failed(Status::error(
        "K1104", "a weight lies on another device than the program: " + name + ", " +
                     tensor.device().str() + ", the program is on " + options_.home.str()));
  }
  const CaptureWeight weight = check(borrow_weight(tensor.detach(), name));
  t.handle = check(capture_.weight(name, weight, kind));
  weights_[name] = {tensor, t.handle};
  return t.handle;
}

// Held as pairs of real numbers and joined by PyTorch at each run.
int32_t Importer::complex_constant(const at::Tensor& value, const TensorInfo& t) {
  const at::Tensor pairs = at::view_as_real(value.detach().resolve_conj()).contiguous();
  const std::string name = constant_name();
  const CaptureWeight weight = check(borrow_weight(pairs, name));
  const int32_t stored = check(capture_.weight(name, weight, "constant"));
  if (value.device() == options_.home) weights_[name] = {pairs, stored};
  return check(capture_.call("aten::view_as_complex", "", {CaptureArg{CaptureArg::Value{stored}}},
                             {describe(t)}, origin(),
                             "aten::view_as_complex(Tensor(a) self) -> Tensor(a)"))[0];
}

at::Tensor Importer::add_tensor(std::vector<at::Tensor> metas, int32_t handle, c10::Device device) {
  const at::Tensor key = metas[0];
  TensorInfo& t = tensors_[key.unsafeGetTensorImpl()];
  t = TensorInfo();
  t.keep = key;
  t.handle = handle;
  t.device = device;
  if (std::all_of(metas.begin(), metas.end(),
                  [&](const at::Tensor& meta) { return same_shape(meta, key); })) {
    metas.resize(1);
  }
  t.metas = std::move(metas);
  return key;
}

// `varies`: the values follow from sizes. Then those at the sample points, alike or not, do not say
// what they are at others.
at::Tensor Importer::add_known(std::vector<at::Tensor> values, bool varies) {
  const at::Tensor key = values[0];
  TensorInfo& t = tensors_[key.unsafeGetTensorImpl()];
  t = TensorInfo();
  t.keep = key;
  t.device = key.device();
  const bool same = std::all_of(values.begin(), values.end(), [&](const at::Tensor& value) {
    return same_shape(value, key) && at::equal(value, key);
  });
  if (same && !varies) values.resize(1);
  t.values = std::move(values);
  return key;
}

// Whether a write of one might be seen in the other.
bool Importer::share_memory(const at::Tensor& a, const at::Tensor& b) {
  if (a.is_same(b)) return true;
  const TensorInfo &x = info(a), &y = info(b);
  if (x.known() && y.known()) return x.values[0].is_alias_of(y.values[0]);
  return capture_.may_share_memory(x.handle, y.handle);
}

// ---- sample points

bool Importer::uniform(const c10::IValue& value) {
  if (symbolic_size(value) != nullptr) return false;
  if (value.isTensor()) return !value.toTensor().defined() || info(value.toTensor()).uniform();
  if (value.isList()) {
    const auto items = value.toListRef();
    return std::all_of(items.begin(), items.end(),
                       [&](const c10::IValue& item) { return uniform(item); });
  }
  if (value.isTuple()) {
    const auto& items = value.toTupleRef().elements();
    return std::all_of(items.begin(), items.end(),
                       [&](const c10::IValue& item) { return uniform(item); });
  }
  return true;
}

// The value at one sample point: sizes are integers, tensors have no data, or with `elements` only
// their known elements.
c10::IValue Importer::at_point(const c10::IValue& value, size_t point, bool elements) {
  if (const SymbolicNumber* number = symbolic(value)) {
    if (const auto* size = symbolic_size(value)) return size->at[point];
    throw Stop(const_cast<SymbolicNumber*>(number)->unknown());
  }
  if (value.isTensor() && value.toTensor().defined()) {
    TensorInfo& t = info(value.toTensor());
    if (!elements) ensure_metas(t, value.toTensor());
    const std::vector<at::Tensor>& tensors = elements ? t.values : t.metas;
    TORCH_INTERNAL_ASSERT(!tensors.empty());
    return tensors[tensors.size() == 1 ? 0 : point];
  }
  if (value.isList()) {
    c10::impl::GenericList list(value.toList().elementType());
    for (const c10::IValue& item : value.toListRef()) {
      list.push_back(at_point(item, point, elements));
    }
    return list;
  }
  if (value.isTuple()) {
    std::vector<c10::IValue> items;
    for (const c10::IValue& item : value.toTupleRef().elements()) {
      items.push_back(at_point(item, point, elements));
    }
    return c10::ivalue::Tuple::create(std::move(items));
  }
  return value;
}

namespace {

// The results of a call on tensors that are full of `value`.
Stack run_filled(const c10::OperatorHandle& op, const Stack& inputs, int value) {
  std::vector<std::pair<at::Tensor, at::Tensor>> pairs;
  Stack stack;
  for (const c10::IValue& input : inputs) {
    stack.push_back(map_tensors(input, [&](const at::Tensor& meta) {
      if (!meta.is_meta()) return meta;
      for (const auto& [known, real] : pairs) {
        if (known.is_same(meta)) return real;
      }
      if (meta.numel() > kMaxTrialElements) throw Stop("the shape of its result is not known");
      if (meta.layout() != c10::kStrided) throw Stop(kSparse, kSparseHint);
      at::Tensor real =
          at::empty_strided(meta.sizes(), meta.strides(), meta.options().device(c10::kCPU));
      real.fill_(value);
      pairs.emplace_back(meta, real);
      return real;
    }));
  }
  for (size_t i = 0; i < stack.size(); ++i) {
    if (stack[i].isDevice() && stack[i].toDevice().is_meta()) stack[i] = c10::Device(c10::kCPU);
  }
  op.callBoxed(&stack);
  for (c10::IValue& result : stack) {
    result = map_tensors(result, [&](const at::Tensor& real) {
      for (const auto& [meta, known] : pairs) {
        if (known.is_same(real)) return meta;
      }
      if (real.layout() != c10::kStrided) throw Stop(kSparse, kSparseHint);
      return without_data(real);
    });
  }
  return stack;
}

// Dtypes and sizes of the tensors among results, one behind the other.
std::vector<int64_t> sizes_in(const Stack& results) {
  std::vector<int64_t> sizes;
  for (const c10::IValue& result : results) {
    map_tensors(result, [&](const at::Tensor& tensor) {
      if (!tensor.defined()) return tensor;
      sizes.push_back(static_cast<int64_t>(tensor.scalar_type()));
      sizes.push_back(tensor.dim());
      sizes.insert(sizes.end(), tensor.sizes().begin(), tensor.sizes().end());
      return tensor;
    });
  }
  return sizes;
}

// For operators that have no kernel for tensors without data: their results on zeros, and what they
// raise on them. Stop where they do otherwise on ones, since values decide then.
Stack run_on_trial(const c10::OperatorHandle& op, const Stack& inputs) {
  std::optional<Stack> of_ones;
  try {
    of_ones = run_filled(op, inputs, 1);
  } catch (const c10::Error&) {
    // Ones may be indices out of range where zeros are none; what zeros do counts.
  }
  std::optional<Stack> of_zeros;
  try {
    of_zeros = run_filled(op, inputs, 0);
  } catch (const c10::Error&) {
    if (!of_ones) throw;
  }
  if (of_ones && (!of_zeros || sizes_in(*of_zeros) != sizes_in(*of_ones))) {
    throw Stop("the result of " + op.schema().name() + " depends on the values of a tensor");
  }
  return *std::move(of_zeros);
}

}  // namespace

// The arguments of a call on tensors without data. `value_of` gives what the sample point, or
// another choice of sizes, says of a value.
Stack Importer::arguments_without_data(
    const c10::OperatorHandle& op, const Stack& inputs, size_t point,
    const std::function<c10::IValue(const c10::IValue&)>& value_of) {
  const auto& parameters = op.schema().arguments();
  const bool factory = std::none_of(inputs.begin(), inputs.end(), contains_tensor);
  Stack stack;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const SymbolicNumber* number = symbolic(inputs[i]);
    const auto* host =
        number == nullptr ? nullptr : std::get_if<SymbolicNumber::HostResult>(&number->value);
    // A number read from a tensor that takes part in the arithmetic; it differs, lest a size of
    // the result seem to be known that follows from it.
    if (host != nullptr && parameters[i].type()->kind() == c10::TypeKind::NumberType) {
      stack.push_back(host->kind == 'f' ? c10::IValue(1.0 + 5.0 * static_cast<double>(point))
                                        : c10::IValue(true));
      continue;
    }
    stack.push_back(value_of(inputs[i]));
    if (is_device(parameters[i].type()) && (factory || !stack[i].isNone())) {
      stack[i] = c10::Device(c10::kMeta);
    }
  }
  return stack;
}

// The results of a call on `stack`, whose tensors have no data. None where only running the call on
// real tensors would tell and these are large, unless `large`.
Stack Importer::evaluate_without_data(const c10::OperatorHandle& op, const Stack& inputs,
                                      Stack stack, bool by_values, bool large) {
  const std::string place = result_device(inputs).str();
  const auto key = ShapeCache::key(op, stack, place);
  if (key) {
    if (auto known = shapes_.find(*key, stack)) return *std::move(known);
  }
  const Stack before = stack;
  auto too_large = [&] {
    constexpr int64_t kMaxElements = int64_t{1} << 18;
    int64_t elements = 0;
    for (const c10::IValue& input : before) {
      for_each_tensor(input, [&](const at::Tensor& tensor) { elements += tensor.numel(); });
    }
    return !large && elements > kMaxElements;
  };
  // Without data too, these go through their input step by step.
  const std::string& name = op.schema().name();
  const bool recurrent = name.starts_with("aten::lstm") || name.starts_with("aten::gru") ||
                         name.starts_with("aten::rnn_");
  constexpr int64_t kMaxSteps = 64;
  if (recurrent && !large && before[0].isTensor()) {
    const auto sizes = before[0].toTensor().sizes();  // the steps are the first or the second
    for (size_t d = 0; d < 2 && d < sizes.size(); ++d) {
      if (sizes[d] > kMaxSteps) return {};
    }
  }
  try {
    if (op.schema().name() == "aten::_convolution") {
      // It has no kernel for tensors without data; its last arguments choose among kernels.
      stack.resize(9);
      c10::Dispatcher::singleton().findSchemaOrThrow("aten::convolution", "").callBoxed(&stack);
    } else {
      op.callBoxed(&stack);
    }
    if (stack.size() == 1 && stack[0].isTensor()) {
      stack[0] =
          in_convolution_format(op.schema(), before, result_device(inputs), stack[0].toTensor());
    }
  } catch (const c10::NotImplementedError& error) {
    if (std::string(error.what()).find("no data") != std::string::npos) {
      throw Stop("the result of " + op.schema().name() + " depends on the values of a tensor");
    }
    if (too_large()) return {};
    try {
      stack = run_on_trial(op, before);
    } catch (const c10::NotImplementedError&) {
      throw Stop("PyTorch has no kernel for these tensors: " + op.schema().name());
    } catch (const c10::Error& real) {
      throw Raised(real.what_without_backtrace());
    }
  } catch (const std::exception& without_data) {
    // What eager says of it; kernels for tensors without data have texts of their own.
    if (too_large()) {
      const auto* error = dynamic_cast<const c10::Error*>(&without_data);
      throw Raised(error != nullptr ? error->what_without_backtrace() : without_data.what());
    }
    try {
      stack = run_on_trial(op, before);
    } catch (const c10::Error& error) {
      if (by_values) {
        throw Stop("whether a call is possible is known only at run time: " + op.schema().name());
      }
      throw Raised(error.what_without_backtrace());
    }
  }
  if (op.schema().name() == "aten::_native_multi_head_attention" && stack[1].isTensor()) {
    // torch's function for tensors without data gives an empty tensor where there is none.
    at::Tensor& weights = stack[1].toTensor();
    if (weights.defined() && weights.dim() == 1) weights = at::Tensor();
  }
  // Not what changes the shape of its arguments.
  if (key && ShapeCache::key(op, before, place) == key) shapes_.store(*key, before, stack);
  return stack;
}

// The results at each point; none at a point where PyTorch was not asked.
std::vector<Stack> Importer::evaluate_at_points(const c10::OperatorHandle& op,
                                                const Stack& inputs) {
  const bool by_values = std::any_of(inputs.begin(), inputs.end(),
                                     [&](const c10::IValue& input) { return has_unbacked(input); });
  const bool varies =
      by_values || !std::all_of(inputs.begin(), inputs.end(),
                                [&](const c10::IValue& input) { return uniform(input); });
  std::vector<Stack> results;
  std::vector<std::optional<std::string>> raised(varies ? points_ : 1);
  for (size_t point = 0; point < raised.size(); ++point) {
    Stack stack = arguments_without_data(
        op, inputs, point, [&](const c10::IValue& value) { return at_point(value, point, false); });
    const bool large = by_values || point < kFitPoints;
    try {
      stack = evaluate_without_data(op, inputs, std::move(stack), by_values, large);
    } catch (const Raised& error) {
      raised[point] = error.message;
      stack.clear();
    }
    results.push_back(std::move(stack));
  }
  const auto number = static_cast<size_t>(std::count_if(
      raised.begin(), raised.end(), [](const auto& text) { return text.has_value(); }));
  if (number == raised.size()) throw Raised(*raised[0]);
  if (number > 0) raise_at_points(op, inputs, raised);
  return results;
}

Points Importer::at_points(const DimExpr& expr) const {
  if (expr.is_constant()) return Points(points_, expr.value());
  Points result(points_);
  for (size_t point = 0; point < points_; ++point) {
    result[point] = check(expr.evaluate(values_at_[point]));
  }
  return result;
}

SymbolicNumber::Size Importer::dim_of(const TensorInfo& t, size_t dim) const {
  SymbolicNumber::Size size{{}, Points(points_)};
  for (size_t point = 0; point < points_; ++point) {
    size.at[point] = t.metas[t.metas.size() == 1 ? 0 : point].size(static_cast<int64_t>(dim));
  }
  size.expr = t.dims.empty() ? DimExpr(size.at[0]) : t.dims[dim];
  return size;
}

}  // namespace kiln::torchscript

// What becomes of the call of an operator: evaluated here, or handed to the capture builder.
#include <ATen/ATen.h>
#include <torch/csrc/jit/ir/ir.h>

#include <algorithm>
#include <sstream>

#include "core/text.h"
#include "torch/dtype_conversion.h"
#include "torch/schema_arguments.h"
#include "torch/torch_device.h"
#include "torch/torchscript/importer.h"
#include "torch/torchscript/operator_schema.h"

namespace kiln::torchscript {
namespace {

using c10::TypeKind;

bool has_tag(const c10::OperatorHandle& op, at::Tag tag) { return op.hasTag(tag); }

// Statements that compute nothing that a program returns.
bool is_without_result(const std::string& name) {
  static const std::set<std::string> kNames = {
      "aten::set_grad_enabled", "aten::_set_item_no_grad", "prim::Print", "aten::warn",
      "prim::profile_ivalue",   "aten::_no_update"};
  return kNames.contains(name);
}

}  // namespace

Results Importer::call_operator(torch::jit::Node* node, const c10::FunctionSchema& node_schema,
                                Stack inputs) {
  if (is_without_result(node_schema.name())) {
    if (node_schema.name() == "prim::Print") notes_.insert("print() is not part of the program");
    return {};
  }
  c10::OperatorName name = node_schema.operator_name();
  const bool rewritten = rewrite(node_schema, inputs, name);
  const auto op = c10::Dispatcher::singleton().findSchema(name);
  if (rewritten && !op) throw Stop("torch has no operator " + full_name(name));
  const c10::FunctionSchema& schema = op ? op->schema() : node_schema;
  if (node->kind() == c10::aten::requires_grad_) return {inputs[0]};
  if (auto number = number_operator(schema, inputs)) return {*number};
  if (auto results = element_query(schema, inputs)) return *results;
  if (auto results = query(schema, inputs, node)) return *results;
  const bool takes = any_tensor(schema.arguments()), makes = any_tensor(schema.returns());
  const bool given = std::any_of(inputs.begin(), inputs.end(), contains_tensor);
  if (!takes && makes && !op) {  // torch.tensor and its like: the elements are numbers
    return run_known(node, schema, inputs);
  }
  if (!takes && !(makes && op)) {  // numbers, strings and containers, whatever they hold
    const bool text = schema.name() == "aten::format" || schema.name() == "aten::percentFormat" ||
                      schema.name() == "aten::str";
    for (const c10::IValue& input : inputs) {
      if (text && (contains_tensor(input) || contains_symbolic(input))) {
        throw Stop("a text is made of what only a call of the program knows");
      }
    }
    for (size_t i = 0; i < inputs.size() && i < schema.arguments().size(); ++i) {
      if (!is_number(schema.arguments()[i])) continue;
      if (contains_tensor(inputs[i]) || contains_symbolic(inputs[i])) {
        throw Stop("arithmetic on a number that only a call of the program knows: " +
                   full_name(name));
      }
    }
    run_jit(node, inputs);
    return inputs;
  }
  if (given && makes && !(op && has_tag(*op, at::Tag::nondeterministic_seeded))) {
    bool known = true;
    for (const c10::IValue& input : inputs) {
      for_each_tensor(input, [&](const at::Tensor& t) { known = known && info(t).known(); });
    }
    // What was handed over is written by a call of the program.
    for (const at::Tensor& t : written_by(schema, inputs)) {
      known = known && (!op || info(t).handle < 0);
    }
    if (known) return run_known(node, schema, inputs);
  }
  if (!op) throw Stop("an operator that only TorchScript has: " + full_name(name));
  if (has_tag(*op, at::Tag::inplace_view)) {
    if (auto results = view_in_place(*op, inputs)) return *results;
  }
  return emit(*op, std::move(inputs));
}

// ---- calls that the program makes

c10::Device Importer::result_device(const Stack& inputs) {
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i].isDevice()) {
      c10::Device device = inputs[i].toDevice();
      if (device.type() == options_.home.type() && !device.has_index()) device = options_.home;
      return device;
    }
  }
  std::optional<c10::Device> found;
  for (const c10::IValue& input : inputs) {
    for_each_tensor(input, [&](const at::Tensor& tensor) {
      TensorInfo& t = info(tensor);
      ensure_metas(t, tensor);
      // Numbers in tensors of the CPU take part in computations on all devices.
      const bool anywhere = t.metas[0].dim() == 0 && t.device.is_cpu();
      if (!found || (!anywhere && found->is_cpu())) found = t.device;
    });
  }
  return found.value_or(c10::Device(c10::kCPU));
}

CaptureMeta Importer::describe(const TensorInfo& t) {
  CaptureMeta meta;
  if (!t.opaque.empty()) {
    meta.opaque = t.opaque;
    return meta;
  }
  const at::Tensor& tensor = t.metas[0];
  const auto dtype = from_scalar_type(tensor.scalar_type());
  if (t.device != options_.home && !(tensor.dim() == 0 && t.device.is_cpu())) {
    meta.opaque = "on another device than the program: " + t.device.str();
  } else if (tensor.layout() != c10::kStrided) {
    std::ostringstream layout;
    layout << tensor.layout();
    meta.opaque = "layout " + layout.str();
  } else if (!dtype) {
    meta.opaque = std::string("dtype ") + c10::toString(tensor.scalar_type());
  } else if (tensor.is_conj() || tensor.is_neg()) {
    meta.opaque = "lazy conjugation or negation";
  }
  if (!meta.opaque.empty()) return meta;
  meta.dtype = *dtype;
  const bool fixed = t.dims.empty();
  for (int64_t d = 0; d < tensor.dim(); ++d) {
    const auto i = static_cast<size_t>(d);
    meta.dims.push_back(fixed ? std::to_string(tensor.size(d)) : t.dims[i].to_string());
    if (!fixed && is_unbacked(t.dims[i])) {
      meta.opaque = "size known only at run time: " + t.dims[i].to_string();
      return meta;
    }
  }
  const bool contiguous = std::all_of(t.metas.begin(), t.metas.end(), [](const at::Tensor& m) {
    return !m.defined() || m.is_contiguous();
  });
  if (contiguous) return meta;
  for (int64_t d = 0; d < tensor.dim(); ++d) {
    const auto i = static_cast<size_t>(d);
    meta.strides.push_back(fixed ? std::to_string(tensor.stride(d)) : t.strides[i].to_string());
  }
  return meta;
}

CaptureArg Importer::encode(const c10::IValue& value, const c10::TypePtr& declared) {
  CaptureArg arg;
  c10::TypePtr type = declared;
  if (type->kind() == TypeKind::OptionalType) {
    type = type->castRaw<c10::OptionalType>()->getElementType();
  }
  if (value.isNone() || (value.isTensor() && !value.toTensor().defined())) return arg;
  if (value.isTensor()) {
    arg.value = CaptureArg::Value{handle(value.toTensor())};
  } else if (const SymbolicNumber* number = symbolic(value)) {
    if (const auto* host = std::get_if<SymbolicNumber::HostResult>(&number->value)) {
      arg.value = CaptureArg::Value{host->handle};
    } else if (const auto* size = symbolic_size(value)) {
      if (is_unbacked(size->expr)) {
        arg.value = CaptureArg::Value{size_handle(size->expr)};
      } else {
        arg.value = CaptureArg::Expr{size->expr.to_string()};
      }
    } else {
      throw Stop(const_cast<SymbolicNumber*>(number)->unknown());
    }
  } else if (value.isBool()) {
    arg.value = value.toBool();
  } else if (value.isInt()) {
    const int64_t number = value.toInt();
    if (type->kind() == TypeKind::ScalarTypeType) {
      const auto given = static_cast<c10::ScalarType>(number);
      const auto dtype = from_scalar_type(given);
      if (dtype) {
        arg.value = *dtype;
      } else if (c10::isQIntType(given)) {
        throw Stop(std::string("a quantised tensor of dtype ") + c10::toString(given));
      } else {  // by name, as complex numbers are: the call stays in PyTorch
        arg.value = "torch." + c10::getDtypeNames(given).first;
      }
    } else if (type->kind() == TypeKind::MemoryFormatType) {
      switch (static_cast<c10::MemoryFormat>(number)) {
        case c10::MemoryFormat::Preserve: arg.value = CaptureArg::MemoryFormat{"preserve"}; break;
        case c10::MemoryFormat::ChannelsLast:
          arg.value = CaptureArg::MemoryFormat{"channels_last"};
          break;
        case c10::MemoryFormat::ChannelsLast3d:
          arg.value = CaptureArg::MemoryFormat{"channels_last_3d"};
          break;
        default: arg.value = CaptureArg::MemoryFormat{"contiguous"}; break;
      }
    } else if (type->kind() == TypeKind::LayoutType) {
      std::ostringstream layout;
      layout << static_cast<c10::Layout>(number);
      std::string text = layout.str();
      std::transform(text.begin(), text.end(), text.begin(), ::tolower);
      arg.value = CaptureArg::Layout{text};
    } else if (type->kind() == TypeKind::FloatType) {
      arg.value = static_cast<double>(number);
    } else {
      arg.value = number;
    }
  } else if (value.isDouble()) {
    arg.value = value.toDouble();
  } else if (value.isString()) {
    arg.value = value.toStringRef();
  } else if (value.isDevice()) {
    const c10::Device given = value.toDevice();
    // The program's own device goes by its kind, whichever one of it that is.
    const bool own =
        given.type() == options_.home.type() &&
        (!given.has_index() || given.index() == options_.home.index() || given.is_cpu());
    const auto device = from_torch(given);
    if (own) {
      arg.value = Device{options_.device, 0};
    } else if (device) {
      arg.value = *device;
    } else {
      throw Stop("an argument that cannot be expressed: device " + given.str());
    }
  } else if (value.isList()) {
    CaptureArg::List list;
    const c10::TypePtr element = type->kind() == TypeKind::ListType
                                     ? type->castRaw<c10::ListType>()->getElementType()
                                     : type;
    for (const c10::IValue& item : value.toListRef()) list.push_back(encode(item, element));
    arg.value = std::move(list);
  } else if (value.isGenerator()) {
    throw Stop("random numbers of a generator of the program's own",
               "draw from torch's default generator, or take the numbers as an input");
  } else if (value.isComplexDouble()) {
    const c10::complex<double> number = value.toComplexDouble();
    arg.value = "torch.complex(" + double_to_text(number.real()) + ", " +
                double_to_text(number.imag()) + ")";
  } else {
    throw Stop("an argument that cannot be expressed: " + value.tagKind());
  }
  return arg;
}

Results Importer::emit(const c10::OperatorHandle& op, Stack inputs) {
  const c10::FunctionSchema& schema = op.schema();
  const std::string& name = schema.name();
  std::vector<CaptureArg> args;
  bool writes = false;
  struct Written {
    at::Tensor meta;
    std::vector<int64_t> sizes, strides;
  };
  std::vector<Written> written;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const c10::Argument& parameter = schema.arguments()[i];
    if ((parameter.name() == "train" || parameter.name() == "training") && inputs[i].isBool() &&
        inputs[i].toBool()) {
      notes_.insert(
          "the model is in training mode, so dropout and batch norm are captured as training does "
          "them; call model.eval() first for inference");
    }
    args.push_back(encode(inputs[i], parameter.real_type()));
    if (!is_written(parameter)) continue;
    writes = true;
    for_each_tensor(inputs[i], [&](const at::Tensor& tensor) {
      TensorInfo& t = info(tensor);
      ensure_metas(t, tensor);
      for (const at::Tensor& meta : t.metas) {
        if (!meta.defined() || meta.layout() != c10::kStrided) continue;
        written.push_back({meta, meta.sizes().vec(), meta.strides().vec()});
      }
      if (!t.known()) return;
      for (const TensorInfo* other : known_in_memory_of(tensor)) {
        if (other->literal) throw WritesConstant(other->keep.unsafeGetTensorImpl());
        if (other == &t) continue;
        throw Stop("a constant tensor is changed in place through one of several views");
      }
      if (c10::isComplexType(t.values[0].scalar_type())) {  // which is handed over as a constant
        throw Stop("a complex constant tensor is changed in place after it was used");
      }
      t.values.clear();
      t.number = c10::IValue();
    });
  }
  const std::string text = toString(schema);
  if (!any_tensor(schema.returns()) && !schema.returns().empty()) {  // a number
    CaptureMeta meta;
    const c10::TypeKind kind = schema.returns()[0].type()->kind();
    TensorInfo& t = info(inputs[0].toTensor());
    ensure_metas(t, inputs[0].toTensor());
    meta.scalar = kind == TypeKind::BoolType    ? 'b'
                  : kind == TypeKind::IntType   ? 'i'
                  : kind == TypeKind::FloatType ? 'f'
                                                : kind_of(t.metas[0].scalar_type());
    const auto handles =
        check(capture_.call(name, schema.overload_name(), args, {meta}, origin(), text));
    return {symbolic_value(SymbolicNumber::HostResult{handles[0], *meta.scalar})};
  }
  demand_as_many_elements(schema, inputs);
  keep_rank(op, inputs);
  Stack sized, counts;  // the inputs, and the sizes beside theirs that results may have
  for (const c10::IValue& input : inputs) sized.push_back(as_unbacked(input));
  const std::vector<Stack> at = counts_elements(op, inputs) ? evaluate_counts(op, sized, counts)
                                                            : evaluate_at_points(op, sized);
  for (const Written& tensor : written) {
    if (tensor.meta.sizes() != tensor.sizes || tensor.meta.strides() != tensor.strides) {
      throw Stop("a tensor gets another shape in place: " + name);
    }
  }
  for (const c10::IValue& input : sized) counts.push_back(input);
  const c10::Device device = result_device(inputs);

  // One entry per tensor among the results, in order; what was given comes back as what it is.
  struct Entry {
    at::Tensor given;
    TensorInfo made;
  };
  std::vector<Entry> entries;
  auto add_entry = [&](size_t result, std::optional<size_t> item) {
    Entry entry;
    bool any = false, none = false, asked = true;
    for (const Stack& stack : at) {
      at::Tensor meta;  // stays undefined at a point where PyTorch was not asked
      if (stack.empty()) {
        asked = false;
      } else {
        const c10::IValue value = item ? stack[result].toListRef()[*item] : stack[result];
        if (value.isTensor()) meta = value.toTensor();
        (meta.defined() ? any : none) = true;
      }
      entry.made.metas.push_back(meta);
    }
    if (any && none) throw Stop("whether there is a result depends on sizes that vary: " + name);
    if (!any) {
      entry.made.metas.clear();
      entry.made.opaque = CaptureMeta::kNoTensor;
    } else {
      for (const c10::IValue& input : inputs) {
        for_each_tensor(input, [&](const at::Tensor& tensor) {
          TensorInfo& t = info(tensor);
          bool same = t.metas.size() == entry.made.metas.size() && t.device == device;
          for (size_t point = 0; same && point < t.metas.size(); ++point) {
            const at::Tensor& meta = entry.made.metas[point];
            same = meta.defined() ? t.metas[point].is_same(meta) : !asked;
          }
          if (same) entry.given = tensor;
        });
      }
      entry.made.device = device;
      fit_shape(entry.made, counts);
    }
    entries.push_back(std::move(entry));
  };
  for (size_t i = 0; i < at[0].size(); ++i) {
    if (at[0][i].isList()) {
      const size_t length = length_of_list(op, inputs, at, i);
      for (size_t k = 0; k < length; ++k) add_entry(i, k);
    } else {
      add_entry(i, std::nullopt);
    }
  }
  const bool by_values = std::any_of(counts.begin(), counts.end(),
                                     [&](const c10::IValue& input) { return has_unbacked(input); });
  if (by_values && !writes && !counts_elements(op, inputs)) {
    std::vector<TensorInfo*> made;
    for (Entry& entry : entries) made.push_back(&entry.made);
    check_small_counts(op, sized, made);
  }
  // What is made of a tensor of unknown rank has a shape that nothing is known of.
  for (const c10::IValue& input : inputs) {
    for_each_tensor(input, [&](const at::Tensor& tensor) {
      if (info(tensor).opaque != kRankUnknown) return;
      if (entries.size() != schema.returns().size()) {
        throw Stop("the number of results is known only at run time: " + name);
      }
      for (Entry& entry : entries) entry.made.opaque = kRankUnknown;
    });
  }
  std::vector<CaptureMeta> metas;
  for (const Entry& entry : entries) metas.push_back(describe(entry.made));
  auto called = capture_.call(name, schema.overload_name(), args, metas, origin(), text);
  if (by_values && !called.ok()) throw Stop(called.status().message());
  const auto handles = check(std::move(called));
  if (writes) counts_.clear();
  size_t next = 0;
  auto take = [&]() -> c10::IValue {
    Entry& entry = entries[next];
    const int32_t result = handles[next++];
    if (entry.made.opaque == CaptureMeta::kNoTensor) return at::Tensor();
    if (entry.given.defined()) return entry.given;
    at::Tensor key = entry.made.metas[0];
    if (tensors_.contains(key.unsafeGetTensorImpl())) key = key.alias();
    entry.made.keep = key;
    entry.made.handle = result;
    adopt_inferred_shape(entry.made, inputs);
    fill_metas(entry.made);
    note_sizes(key, entry.made);
    tensors_[key.unsafeGetTensorImpl()] = std::move(entry.made);
    return key;
  };
  Results results;
  for (const c10::IValue& value : at[0]) {
    if (!value.isList()) {
      results.push_back(value.isNone() ? (++next, c10::IValue()) : take());
      continue;
    }
    c10::impl::GenericList list(value.toList().elementType());
    for (size_t k = value.toListRef().size(); k-- > 0;) list.push_back(take());
    results.push_back(list);
  }
  return results;
}

}  // namespace kiln::torchscript

#include "fusion/engine_lowering.h"

#include <algorithm>
#include <iterator>
#include <numeric>

#include "base/check.h"
#include "fusion/buffer_reuse.h"
#include "ir/op_def.h"

namespace kiln {
namespace {

std::vector<int> identity_order(int rank) {
  std::vector<int> order(static_cast<size_t>(rank));
  std::iota(order.begin(), order.end(), 0);
  return order;
}

bool is_identity(const std::vector<int>& order) {
  return order.empty() || order == identity_order(static_cast<int>(order.size()));
}

bool same_order(const std::vector<int>& a, const std::vector<int>& b) {
  return a == b || (is_identity(a) && is_identity(b));
}

}  // namespace

bool is_contiguous(const PlanView& view) { return are_contiguous(view.dims, view.strides); }

bool reshape_view(const PlanView& view, const Shape& dims, PlanView* out) {
  out->slot = view.slot;
  out->offset = view.offset;
  out->dims = dims;
  return reshape_strides(view.dims, view.strides, dims, &out->strides);
}

struct EngineLowering::Impl {
  struct Side {
    Plan plan;
    std::map<Value*, PlanView> views;
  };
  struct Request {
    std::vector<Value*> sources;  // values of the init graph
    std::vector<int> order;       // memory order of a plain one; empty: contiguous
    bool packed = false;
    std::string kind;
    Json params;
    Origin origin;
    int main_slot = -1;
  };

  Impl(Module& m, std::string t) : module(m), target(std::move(t)) {}

  int add_slot(Slot slot) {
    side->plan.slots.push_back(std::move(slot));
    return static_cast<int>(side->plan.slots.size()) - 1;
  }

  PlanView dense_view(int slot, const Shape& dims, const std::vector<int>& order) {
    return {slot, dims, dense_strides(dims, order), 0};
  }

  // A slot of main for a constant in this memory order.
  PlanView request_plain(Value* value, const std::vector<int>& order) {
    Request request;
    request.sources = {module.init_value(value)};
    request.order = order;
    const TensorType& type = value->tensor();
    request.main_slot = add_slot({SlotKind::kConstant, type.dtype, num_elements(type.shape),
                                  static_cast<int>(requests.size())});
    requests.push_back(std::move(request));
    return dense_view(requests.back().main_slot, type.shape, order);
  }

  // Memory for a result of main that no other buffer gives: the output's that it is, or a new one.
  PlanView fresh_place(Value* value) {
    const TensorType& type = value->tensor();
    Slot slot{SlotKind::kTemp, type.dtype, num_elements(type.shape)};
    auto root = output_root.find(value);
    if (root != output_root.end() && !output_slot.contains(root->second)) {
      slot.kind = SlotKind::kOutput;
      slot.index = root->second;
    }
    const int index = add_slot(std::move(slot));
    if (main.plan.slots[static_cast<size_t>(index)].kind == SlotKind::kOutput) {
      output_slot[root->second] = index;
    }
    return dense_view(index, type.shape, type.layout.order);
  }

  // Roots of outputs: the value whose buffer can be the output itself, because only permutes, and
  // reshapes of dense tensors, lie between them.
  void find_output_roots() {
    for (size_t i = 0; i < module.outputs.size(); ++i) {
      if (module.outputs[i].kind != OutputSpec::Kind::kResult) continue;
      Value* value = module.main.outputs()[i];
      if (!value->type.is_tensor()) continue;
      std::vector<int> order = module.outputs[i].order;
      if (order.empty()) order = identity_order(value->tensor().rank());
      while (value->producer() != nullptr && value->tensor().layout.is_contiguous()) {
        Node& view = *value->producer();
        if (view.is("permute")) {
          for (int& axis : order) {
            axis = static_cast<int>(view.get_ints("order")[static_cast<size_t>(axis)]);
          }
        } else if (view.is("reshape") && is_identity(order)) {
          order = identity_order(view.operand(0)->tensor().rank());
        } else {
          break;
        }
        value = view.operand(0);
      }
      if (value->producer() == nullptr || !value->type.is_tensor()) continue;
      if (!same_order(value->tensor().layout.order, order)) continue;
      // Equal by the ops' rules, but the runtime compares expressions.
      if (!(num_elements(value->shape()) == num_elements(module.main.outputs()[i]->shape()))) {
        continue;
      }
      output_root.emplace(value, static_cast<int>(i));  // the first output keeps it
    }
  }

  Module& module;
  std::string target;
  Side main, init;
  Side* side = &main;
  std::unique_ptr<BufferReuse> reuse;  // of main
  std::map<Value*, int> output_root;
  std::map<int, int> output_slot;  // output position -> slot in main
  std::vector<Request> requests;
  std::map<Value*, int> plain_request;        // constant of main -> request
  std::map<std::pair<Value*, std::vector<int>>, PlanView> ordered_constants;
  std::map<std::string, int> packed_request;  // key -> request
  std::map<std::pair<Value*, std::vector<int>>, PlanView> ordered_request;
  std::vector<KernelDesc> kernels;
  std::map<std::string, int> kernel_numbers;  // family and params -> position
  std::set<Value*> init_results;              // init values that must live in kOutput slots
};

EngineLowering::EngineLowering(Module& module, std::string target)
    : impl_(std::make_unique<Impl>(module, std::move(target))) {
  for (size_t i = 0; i < module.main.inputs().size(); ++i) {
    Value* input = module.main.inputs()[i];
    if (!input->type.is_tensor()) {
      const int slot = impl_->add_slot({SlotKind::kObject, DType::kI64, 0, static_cast<int>(i)});
      impl_->main.views[input] = PlanView{slot, {}, {}, 0};
      continue;
    }
    const TensorType& type = input->tensor();
    const int slot = impl_->add_slot(
        {SlotKind::kInput, type.dtype, num_elements(type.shape), static_cast<int>(i)});
    impl_->main.views[input] = impl_->dense_view(slot, type.shape, module.inputs[i].order);
  }
  impl_->find_output_roots();
  impl_->reuse = std::make_unique<BufferReuse>(module, impl_->main.plan, impl_->main.views,
                                               impl_->output_root);
}

EngineLowering::~EngineLowering() = default;

bool EngineLowering::is_constant(Value* value) {
  return impl_->side == &impl_->main && value->is_constant_argument();
}

Value* EngineLowering::init_value(Value* constant) {
  return impl_->module.init_value(constant);
}

PlanView EngineLowering::view(Value* value) {
  auto found = impl_->side->views.find(value);
  if (found != impl_->side->views.end()) return found->second;
  KILN_CHECK_MSG(is_constant(value), "operand has no place in memory");
  impl_->plain_request[value] = static_cast<int>(impl_->requests.size());
  return impl_->main.views[value] = impl_->request_plain(value, value->tensor().layout.order);
}

PlanView EngineLowering::constant(Value* value, const std::vector<int>& order) {
  KILN_CHECK(is_constant(value));
  if (same_order(order, value->tensor().layout.order)) return view(value);
  const auto key = std::make_pair(value, order);
  const auto found = impl_->ordered_constants.find(key);
  if (found != impl_->ordered_constants.end()) return found->second;
  return impl_->ordered_constants[key] = impl_->request_plain(value, order);
}

PlanView EngineLowering::constant_in_order(Value* constant, const std::vector<int>& order) {
  KILN_CHECK(is_constant(constant));
  if (same_order(order, constant->tensor().layout.order)) return view(constant);
  auto [found, inserted] = impl_->ordered_request.try_emplace({constant, order});
  if (!inserted) return found->second;
  Impl::Request request;
  request.sources = {impl_->module.init_value(constant)};
  request.order = order;
  const TensorType& type = constant->tensor();
  request.main_slot = impl_->add_slot({SlotKind::kConstant, type.dtype, num_elements(type.shape),
                                       static_cast<int>(impl_->requests.size())});
  found->second = impl_->dense_view(request.main_slot, type.shape, order);
  impl_->requests.push_back(std::move(request));
  return found->second;
}

PlanView EngineLowering::pack(const std::vector<Value*>& sources, const std::string& kind,
                              const Json& params, const Origin& origin) {
  KILN_CHECK(impl_->side == &impl_->main);
  Impl::Request request;
  std::string key = kind + params.dump();
  for (Value* source : sources) {
    request.sources.push_back(is_constant(source) ? init_value(source) : source);
    char text[32];
    std::snprintf(text, sizeof(text), "|%p", static_cast<void*>(request.sources.back()));
    key += text;
  }
  auto [found, inserted] =
      impl_->packed_request.emplace(std::move(key), static_cast<int>(impl_->requests.size()));
  if (!inserted) {
    return {impl_->requests[static_cast<size_t>(found->second)].main_slot, {}, {}, 0};
  }
  request.packed = true;
  request.kind = kind;
  request.params = params;
  request.origin = origin;
  request.main_slot = impl_->add_slot({SlotKind::kConstant, sources[0]->dtype(), 0,
                                       static_cast<int>(impl_->requests.size()), true});
  const int slot = request.main_slot;
  impl_->requests.push_back(std::move(request));
  return {slot, {}, {}, 0};
}

PlanView EngineLowering::allocate(Value* value) {
  auto& views = impl_->side->views;
  if (auto found = views.find(value); found != views.end()) return found->second;
  const TensorType& type = value->tensor();
  const std::vector<int>& order = type.layout.order;
  PlanView view;
  if (impl_->side == &impl_->main) {
    const auto fresh = [this](Value* wanted) { return impl_->fresh_place(wanted); };
    auto place = value->producer() != nullptr ? impl_->reuse->find(value, fresh) : std::nullopt;
    view = place ? *place : fresh(value);
    views[value] = view;
    return view;
  }
  if (impl_->init_results.contains(value)) {
    const int slot = impl_->add_slot({SlotKind::kOutput, type.dtype, num_elements(type.shape)});
    view = impl_->dense_view(slot, type.shape, order);
    views[value] = view;
    return view;
  }
  view = allocate_temp(type.dtype, type.shape, order);
  views[value] = view;
  return view;
}

PlanView EngineLowering::allocate_update(Node& node) {
  const PlanView source = view(node.operand(0));
  const PlanView result = allocate(node.result());
  if (!same_place(source, result)) {
    emit({"copy",
          {source},
          {result},
          Json::object(),
          node.origin.to_string(),
          std::string(node.op_name())});
  }
  return result;
}

PlanView EngineLowering::allocate_temp(DType dtype, const Shape& dims,
                                       const std::vector<int>& order) {
  const int slot = impl_->add_slot({SlotKind::kTemp, dtype, num_elements(dims)});
  return impl_->dense_view(slot, dims, order);
}

void EngineLowering::alias(Value* value, PlanView view) {
  impl_->side->views[value] = std::move(view);
}

int EngineLowering::kernel(KernelDesc desc) {
  const auto [found, inserted] = impl_->kernel_numbers.emplace(
      desc.family + " " + desc.params.dump(), static_cast<int>(impl_->kernels.size()));
  if (inserted) impl_->kernels.push_back(std::move(desc));
  return found->second;
}

const SymbolRanges& EngineLowering::symbols() const { return impl_->module.symbols; }

void EngineLowering::emit(StepDesc step) { impl_->side->plan.steps.push_back(std::move(step)); }

Result<std::vector<StepDesc>> EngineLowering::collect(const std::function<Status()>& lower) {
  std::vector<StepDesc>& steps = impl_->side->plan.steps;
  const auto before = static_cast<std::ptrdiff_t>(steps.size());
  KILN_RETURN_IF_ERROR(lower());
  std::vector<StepDesc> collected(std::make_move_iterator(steps.begin() + before),
                                  std::make_move_iterator(steps.end()));
  steps.erase(steps.begin() + before, steps.end());
  return collected;
}

PlanView EngineLowering::materialize(const PlanView& view, const std::vector<int>& order,
                                     const Origin& origin) {
  const DType dtype = impl_->side->plan.slots[static_cast<size_t>(view.slot)].dtype;
  PlanView dense = view;
  dense.strides = dense_strides(view.dims, order);
  bool equal = true;
  for (size_t i = 0; i < view.dims.size(); ++i) {
    equal = equal && (view.dims[i].is_value(1) || view.strides[i] == dense.strides[i]);
  }
  if (equal) return view;
  const PlanView result = allocate_temp(dtype, view.dims, order);
  emit({"copy", {view}, {result}, Json::object(), origin.to_string(), "copy"});
  return result;
}

Result<bool> EngineLowering::lower_structural(Node& node) {
  const std::string_view op = node.op_name();
  if (impl_->side == &impl_->main && !impl_->reuse->is_needed(node)) return true;
  if (op == "aten.call") {
    StepDesc step{"host.call", {}, {}, Json::object(), node.origin.to_string(), ""};
    const Call& call = std::get<Call>(node.attr("call"));
    step.label = call.full_name();
    step.params.set("call", call.to_string());
    for (Value* operand : node.operands()) step.inputs.push_back(view(operand));
    for (int i = 0; i < node.num_results(); ++i) {
      Value* result = node.result(i);
      PlanView place;
      // Of a result that nobody reads, capture may have seen another shape than there will be:
      // _unique2 without counts has empty ones.
      const bool read = !result->uses().empty() || node.graph()->is_output(result);
      if (result->type.is_tensor() && read) {
        const TensorType& type = result->tensor();
        place = impl_->dense_view(
            impl_->add_slot({SlotKind::kHost, type.dtype, num_elements(type.shape)}), type.shape,
            type.layout.order);
      } else {
        place.slot = impl_->add_slot({SlotKind::kObject, DType::kI64, 0});
      }
      alias(result, place);
      step.outputs.push_back(place);
    }
    emit(std::move(step));
    return true;
  }
  if (op == "concat") {
    const PlanView whole = allocate(node.result());
    for (int i = 0; i < node.num_operands(); ++i) {
      const PlanView part = concat_part(node, whole, i);
      const PlanView source = view(node.operand(i));
      if (same_place(source, part)) continue;
      emit({"copy", {source}, {part}, Json::object(), node.origin.to_string(), "concat"});
    }
    return true;
  }
  if (!node.op->has(kView) || node.num_operands() != 1) return false;

  const PlanView source = view(node.operand(0));
  const Shape& dims = node.result()->shape();
  auto result = view_through(node, source);
  if (!result) {
    if (op != "reshape") return false;
    // The elements must move: make them dense, then the reshape is free.
    const bool is_last =
        impl_->output_root.contains(node.result()) || impl_->init_results.contains(node.result());
    if (is_last) {
      const PlanView place = allocate(node.result());
      PlanView target;
      if (reshape_view(place, source.dims, &target)) {
        emit({"copy", {source}, {target}, Json::object(), node.origin.to_string(), "reshape"});
        return true;
      }
    }
    const PlanView dense = materialize(source, {}, node.origin);
    result.emplace();
    KILN_CHECK(reshape_view(dense, dims, &*result));
  }
  alias(node.result(), *result);
  return true;
}

Result<EnginePlan> EngineLowering::finish(
    const std::function<Status(Node&, EngineLowering&)>& lower_node) {
  Module& module = impl_->module;
  EnginePlan plan;
  plan.target = impl_->target;
  plan.symbols = module.symbols;
  plan.conditions = module.conditions;
  for (size_t i = 0; i < module.inputs.size(); ++i) {
    Value* input = module.main.inputs()[i];
    TensorSignature signature;
    signature.name = module.inputs[i].name;
    signature.order = module.inputs[i].order;
    signature.strides = module.inputs[i].strides;
    signature.is_state = module.inputs[i].kind == InputSpec::Kind::kState;
    for (size_t w = 0; signature.is_state && w < module.weights.size(); ++w) {
      if (module.weights[w].name == module.inputs[i].initial) {
        signature.initial = static_cast<int>(w);
      }
    }
    if (input->type.is_tensor()) {
      signature.dtype = input->dtype();
      signature.dims = input->shape();
    } else {
      signature.is_object = true;
      signature.number = module.inputs[i].number;
      signature.dims = module.inputs[i].sizes;
    }
    plan.inputs.push_back(std::move(signature));
  }

  // Results first: they may still read inputs that are written back afterwards.
  std::set<int> written_inputs;
  for (const OutputSpec& spec : module.outputs) {
    if (spec.kind == OutputSpec::Kind::kWriteInput) written_inputs.insert(spec.target);
  }
  std::vector<std::pair<PlanView, PlanView>> write_backs;
  for (size_t i = 0; i < module.outputs.size(); ++i) {
    const OutputSpec& spec = module.outputs[i];
    Value* value = module.main.outputs()[i];
    PlanOutput output;
    output.kind = static_cast<PlanOutput::Kind>(spec.kind);
    output.target = spec.target;
    output.view = spec.view;
    output.signature.name = spec.name;
    output.signature.order = spec.order;
    if (!value->type.is_tensor()) {
      output.signature.is_object = true;
      if (const auto* scalar = std::get_if<ScalarType>(&value->type.value)) {
        output.signature.scalar = scalar_dtype(*scalar);
      }
      if (!spec.is_computed()) {
        plan.outputs.push_back(std::move(output));
        continue;
      }
      impl_->main.plan.slots[static_cast<size_t>(view(value).slot)].index = static_cast<int>(i);
      plan.outputs.push_back(std::move(output));
      continue;
    }
    output.signature.dtype = value->dtype();
    output.signature.dims = value->shape();
    plan.outputs.push_back(output);
    if (!spec.is_computed()) continue;
    const PlanView source = view(value);
    if (spec.kind == OutputSpec::Kind::kWriteInput) {
      PlanView target = view(module.main.inputs()[static_cast<size_t>(spec.target)]);
      if (same_place(source, target)) continue;  // computed where it belongs
      PlanView source_view = source;
      const Slot& slot = impl_->main.plan.slots[static_cast<size_t>(source.slot)];
      if (slot.kind == SlotKind::kInput && written_inputs.contains(slot.index)) {
        // Another write-back would overwrite the source first.
        source_view = allocate_temp(slot.dtype, source.dims);
        emit({"copy", {source}, {source_view}, Json::object(), "", "copy"});
      }
      write_backs.emplace_back(source_view, target);
      continue;
    }
    auto placed = impl_->output_slot.find(static_cast<int>(i));
    if (placed != impl_->output_slot.end() && placed->second == source.slot) continue;
    const int slot = impl_->add_slot(
        {SlotKind::kOutput, value->dtype(), num_elements(value->shape()), static_cast<int>(i)});
    const PlanView target = impl_->dense_view(slot, value->shape(), spec.order);
    emit({"copy", {source}, {target}, Json::object(), value->origin.to_string(), "output"});
  }
  for (auto& [source, target] : write_backs) {
    emit({"copy", {source}, {target}, Json::object(), "", "write back"});
  }
  plan.main = std::move(impl_->main.plan);

  // The init plan: weights are its inputs; only what the requests need is computed.
  impl_->side = &impl_->init;
  for (size_t i = 0; i < module.weights.size(); ++i) {
    const TensorType& type = module.weights[i].type;
    WeightSignature weight{module.weights[i].name, type.dtype, {}, module.weights[i].content_hash};
    for (const DimExpr& dim : type.shape) weight.dims.push_back(dim.value());
    plan.weights.push_back(std::move(weight));
    const int slot = impl_->add_slot(
        {SlotKind::kInput, type.dtype, num_elements(type.shape), static_cast<int>(i)});
    impl_->init.views[module.init.inputs()[i]] = impl_->dense_view(slot, type.shape, {});
  }
  std::set<Node*> needed;
  std::vector<Value*> work;
  for (const Impl::Request& request : impl_->requests) {
    for (Value* source : request.sources) work.push_back(source);
    if (!request.packed && request.sources[0]->producer() != nullptr &&
        same_order(request.order, request.sources[0]->tensor().layout.order)) {
      impl_->init_results.insert(request.sources[0]);
    }
  }
  while (!work.empty()) {
    Node* node = work.back()->producer();
    work.pop_back();
    if (node == nullptr || !needed.insert(node).second) continue;
    for (Value* operand : node->operands()) {
      if (operand != nullptr) work.push_back(operand);
    }
  }
  for (Node* node : module.init.snapshot()) {
    if (!needed.contains(node)) continue;
    KILN_ASSIGN_OR_RETURN(const bool done, lower_structural(*node));
    if (!done) KILN_RETURN_IF_ERROR(lower_node(*node, *this));
  }
  for (Impl::Request& request : impl_->requests) {
    if (request.packed) {
      StepDesc step{request.kind, {}, {}, request.params, request.origin.to_string(), "pack"};
      for (Value* source : request.sources) step.inputs.push_back(view(source));
      const int slot =
          impl_->add_slot({SlotKind::kOutput, request.sources[0]->dtype(), 0, -1, true});
      step.outputs.push_back({slot, {}, {}, 0});
      emit(std::move(step));
      plan.constants.push_back(slot);
      continue;
    }
    Value* source = request.sources[0];
    PlanView place = view(source);
    const Slot& slot = impl_->init.plan.slots[static_cast<size_t>(place.slot)];
    // As view() told the readers: dense, in the order of the constant.
    PlanView dense = impl_->dense_view(place.slot, source->shape(), request.order);
    bool whole = slot.kind != SlotKind::kTemp && place.offset.is_value(0) &&
                 slot.num_elements == num_elements(place.dims);
    for (size_t d = 0; whole && d < dense.dims.size(); ++d) {
      whole = dense.dims[d].is_value(1) || place.strides[d] == dense.strides[d];
    }
    if (!whole) {
      const int kept =
          impl_->add_slot({SlotKind::kOutput, source->dtype(), num_elements(source->shape())});
      dense.slot = kept;
      emit({"copy", {place}, {dense}, Json::object(), source->origin.to_string(), "constant"});
      place = dense;
    }
    plan.constants.push_back(place.slot);
  }
  plan.init = std::move(impl_->init.plan);
  plan.kernels = std::move(impl_->kernels);
  return plan;
}

}  // namespace kiln

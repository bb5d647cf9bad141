// JSON form of plans. Expressions are written as integers where constant, else as text; views as
// [slot, [dims], [strides], offset].
#include "runtime/plan.h"

namespace kiln {
namespace {

constexpr const char* kSlotKinds[] = {"input", "output", "constant", "temp", "host", "object"};
constexpr const char* kOutputKinds[] = {"result", "write_input", "view_of_input", "view_of_output"};

Json expr_json(const DimExpr& expr) {
  return expr.is_constant() ? Json(static_cast<long>(expr.value())) : Json(expr.to_string());
}

Json exprs_json(const std::vector<DimExpr>& exprs) {
  Json::Array array;
  for (const DimExpr& expr : exprs) array.push_back(expr_json(expr));
  return Json(std::move(array));
}

Status bad(const char* what) {
  return Status::error("K3102", std::string("plan does not parse: ") + what);
}

Result<DimExpr> expr_from(const Json& json) {
  if (json.is_int()) return DimExpr(json.as_int());
  if (json.is_string()) return DimExpr::parse(json.as_string());
  return bad("a size is neither integer nor text");
}

Result<std::vector<DimExpr>> exprs_from(const Json& json) {
  if (!json.is_array()) return bad("sizes are no array");
  std::vector<DimExpr> result;
  for (const Json& item : json.as_array()) {
    KILN_ASSIGN_OR_RETURN(DimExpr expr, expr_from(item));
    result.push_back(std::move(expr));
  }
  return result;
}

Result<DType> dtype_from(const Json& json, const char* key) {
  KILN_ASSIGN_OR_RETURN(const std::string name, json.string_at(key));
  if (const auto dtype = dtype_from_name(name)) return *dtype;
  return bad("unknown dtype");
}

template <size_t N>
Result<int> name_index(const char* const (&names)[N], const std::string& name) {
  for (size_t i = 0; i < N; ++i) {
    if (name == names[i]) return static_cast<int>(i);
  }
  return bad("unknown kind");
}

Json view_json(const PlanView& view) {
  return Json(Json::Array{Json(view.slot), exprs_json(view.dims), exprs_json(view.strides),
                          expr_json(view.offset)});
}

Result<PlanView> view_from(const Json& json) {
  if (!json.is_array() || json.size() != 4 || !json[0].is_int()) return bad("a view is malformed");
  PlanView view;
  const int64_t slot = json[0].as_int();
  if (slot < 0 || slot > INT32_MAX) return bad("a slot number is out of range");
  view.slot = static_cast<int>(slot);
  KILN_ASSIGN_OR_RETURN(view.dims, exprs_from(json[1]));
  KILN_ASSIGN_OR_RETURN(view.strides, exprs_from(json[2]));
  KILN_ASSIGN_OR_RETURN(view.offset, expr_from(json[3]));
  return view;
}

Json views_json(const std::vector<PlanView>& views) {
  Json::Array array;
  for (const PlanView& view : views) array.push_back(view_json(view));
  return Json(std::move(array));
}

Result<std::vector<PlanView>> views_from(const Json& json, const char* key) {
  KILN_ASSIGN_OR_RETURN(const Json::Array* array, json.array_at(key));
  std::vector<PlanView> views;
  for (const Json& item : *array) {
    KILN_ASSIGN_OR_RETURN(PlanView view, view_from(item));
    views.push_back(std::move(view));
  }
  return views;
}

Json plan_json(const Plan& plan) {
  Json::Array slots, steps;
  for (const Slot& slot : plan.slots) {
    Json entry = Json::object();
    entry.set("kind", kSlotKinds[static_cast<size_t>(slot.kind)]);
    entry.set("dtype", Json(dtype_name(slot.dtype)));
    entry.set("elements", expr_json(slot.num_elements));
    if (slot.index >= 0) entry.set("index", slot.index);
    if (slot.packed) entry.set("packed", true);
    slots.push_back(std::move(entry));
  }
  for (const StepDesc& step : plan.steps) {
    Json entry = Json::object();
    entry.set("kind", step.kind);
    entry.set("label", step.label);
    entry.set("origin", step.origin);
    entry.set("inputs", views_json(step.inputs));
    entry.set("outputs", views_json(step.outputs));
    entry.set("params", step.params.is_null() ? Json::object() : step.params);
    steps.push_back(std::move(entry));
  }
  Json json = Json::object();
  json.set("slots", std::move(slots));
  json.set("steps", std::move(steps));
  return json;
}

Result<Plan> plan_from(const Json& json) {
  Plan plan;
  KILN_ASSIGN_OR_RETURN(const Json::Array* slots, json.array_at("slots"));
  for (const Json& entry : *slots) {
    Slot slot;
    KILN_ASSIGN_OR_RETURN(const std::string kind, entry.string_at("kind"));
    KILN_ASSIGN_OR_RETURN(const int index, name_index(kSlotKinds, kind));
    slot.kind = static_cast<SlotKind>(index);
    KILN_ASSIGN_OR_RETURN(slot.dtype, dtype_from(entry, "dtype"));
    KILN_ASSIGN_OR_RETURN(const Json* elements, entry.member("elements"));
    KILN_ASSIGN_OR_RETURN(slot.num_elements, expr_from(*elements));
    if (entry.find("index") != nullptr) {
      KILN_ASSIGN_OR_RETURN(const int64_t position, entry.int_at("index", 0, INT32_MAX));
      slot.index = static_cast<int>(position);
    }
    if (entry.find("packed") != nullptr) {
      KILN_ASSIGN_OR_RETURN(slot.packed, entry.bool_at("packed"));
    }
    plan.slots.push_back(std::move(slot));
  }
  KILN_ASSIGN_OR_RETURN(const Json::Array* steps, json.array_at("steps"));
  for (const Json& entry : *steps) {
    StepDesc step;
    KILN_ASSIGN_OR_RETURN(step.kind, entry.string_at("kind"));
    KILN_ASSIGN_OR_RETURN(step.label, entry.string_at("label"));
    KILN_ASSIGN_OR_RETURN(step.origin, entry.string_at("origin"));
    KILN_ASSIGN_OR_RETURN(step.inputs, views_from(entry, "inputs"));
    KILN_ASSIGN_OR_RETURN(step.outputs, views_from(entry, "outputs"));
    KILN_ASSIGN_OR_RETURN(const Json* params, entry.member("params"));
    if (!params->is_object()) return bad("parameters of a step are no object");
    step.params = *params;
    plan.steps.push_back(std::move(step));
  }
  return plan;
}

Json order_json(const std::vector<int>& order) {
  return Json(Json::Array(order.begin(), order.end()));
}

Json signature_json(const TensorSignature& signature) {
  Json entry = Json::object();
  entry.set("name", signature.name);
  if (signature.is_object) {
    entry.set("object", true);
    if (!signature.dims.empty()) entry.set("dims", exprs_json(signature.dims));
    if (signature.number) entry.set("number", signature.number->to_string());
    if (signature.scalar) entry.set("scalar", Json(dtype_name(*signature.scalar)));
    return entry;
  }
  entry.set("dtype", Json(dtype_name(signature.dtype)));
  entry.set("dims", exprs_json(signature.dims));
  if (!signature.order.empty()) entry.set("order", order_json(signature.order));
  if (!signature.strides.empty()) entry.set("strides", exprs_json(signature.strides));
  if (signature.is_state) entry.set("state", true);
  if (signature.initial >= 0) entry.set("initial", signature.initial);
  return entry;
}

// [["slice", 0, 1, "s0", 1], ["permute", 1, 0]]
Json view_chain_json(const ViewChain& chain) {
  Json::Array ops;
  for (const ViewOp& op : chain) {
    Json::Array entry{Json(std::string(view_op_name(op.kind)))};
    for (const DimExpr& arg : op.args) entry.push_back(expr_json(arg));
    ops.emplace_back(std::move(entry));
  }
  return Json(std::move(ops));
}

Result<ViewChain> view_chain_from(const Json& json) {
  if (!json.is_array()) return bad("views of an output are no array");
  ViewChain chain;
  for (const Json& entry : json.as_array()) {
    ViewOp op;
    if (!entry.is_array() || entry.size() == 0 || !entry[0].is_string() ||
        !view_op_from_name(entry[0].as_string(), &op.kind)) {
      return bad("a view of an output is malformed");
    }
    for (size_t i = 1; i < entry.size(); ++i) {
      KILN_ASSIGN_OR_RETURN(DimExpr arg, expr_from(entry[i]));
      op.args.push_back(std::move(arg));
    }
    chain.push_back(std::move(op));
  }
  return chain;
}

Result<TensorSignature> signature_from(const Json& json) {
  TensorSignature signature;
  KILN_ASSIGN_OR_RETURN(signature.name, json.string_at("name"));
  if (json.find("object") != nullptr) {
    KILN_ASSIGN_OR_RETURN(signature.is_object, json.bool_at("object"));
    if (signature.is_object && json.find("number") != nullptr) {
      KILN_ASSIGN_OR_RETURN(const std::string number, json.string_at("number"));
      KILN_ASSIGN_OR_RETURN(signature.number, DimExpr::parse(number));
    }
    if (signature.is_object && json.find("scalar") != nullptr) {
      KILN_ASSIGN_OR_RETURN(signature.scalar, dtype_from(json, "scalar"));
    }
    if (signature.is_object) {
      if (const Json* dims = json.find("dims")) {
        KILN_ASSIGN_OR_RETURN(signature.dims, exprs_from(*dims));
      }
      return signature;
    }
  }
  KILN_ASSIGN_OR_RETURN(signature.dtype, dtype_from(json, "dtype"));
  KILN_ASSIGN_OR_RETURN(const Json* dims, json.member("dims"));
  KILN_ASSIGN_OR_RETURN(signature.dims, exprs_from(*dims));
  if (json.find("order") != nullptr) {
    KILN_ASSIGN_OR_RETURN(const std::vector<int64_t> order, json.ints_at("order"));
    for (int64_t dim : order) {
      if (dim < 0 || dim > 64) return bad("a memory order is out of range");
      signature.order.push_back(static_cast<int>(dim));
    }
  }
  if (const Json* strides = json.find("strides")) {
    KILN_ASSIGN_OR_RETURN(signature.strides, exprs_from(*strides));
  }
  if (json.find("state") != nullptr) {
    KILN_ASSIGN_OR_RETURN(signature.is_state, json.bool_at("state"));
  }
  if (json.find("initial") != nullptr) {
    KILN_ASSIGN_OR_RETURN(const int64_t weight, json.int_at("initial", 0, INT32_MAX));
    signature.initial = static_cast<int>(weight);
  }
  return signature;
}

}  // namespace

Json to_json(const EnginePlan& plan) {
  Json json = Json::object();
  json.set("target", plan.target);
  Json symbols = Json::object();
  for (const auto& [name, range] : plan.symbols) {
    symbols.set(name, Json(Json::Array{Json(static_cast<long>(range.min)),
                                       Json(static_cast<long>(range.max))}));
  }
  json.set("symbols", std::move(symbols));
  if (!plan.conditions.empty()) {
    Json::Array conditions;
    for (const SizeCondition& condition : plan.conditions) {
      Json entry = Json::object();
      entry.set("relation", Json(relation_name(condition.relation)));
      entry.set("left", expr_json(condition.left));
      entry.set("right", expr_json(condition.right));
      entry.set("text", condition.text);
      conditions.push_back(std::move(entry));
    }
    json.set("conditions", std::move(conditions));
  }
  Json::Array weights, inputs, outputs;
  for (const WeightSignature& weight : plan.weights) {
    Json entry = Json::object();
    entry.set("name", weight.name);
    entry.set("dtype", Json(dtype_name(weight.dtype)));
    Json::Array dims;
    for (int64_t dim : weight.dims) dims.emplace_back(static_cast<long>(dim));
    entry.set("dims", std::move(dims));
    if (!weight.fixed_hash.empty()) entry.set("fixed_hash", weight.fixed_hash);
    weights.push_back(std::move(entry));
  }
  for (const TensorSignature& input : plan.inputs) inputs.push_back(signature_json(input));
  for (const PlanOutput& output : plan.outputs) {
    Json entry = signature_json(output.signature);
    entry.set("kind", kOutputKinds[static_cast<size_t>(output.kind)]);
    if (output.target >= 0) entry.set("target", output.target);
    if (!output.view.empty()) entry.set("view", view_chain_json(output.view));
    outputs.push_back(std::move(entry));
  }
  json.set("weights", std::move(weights));
  json.set("inputs", std::move(inputs));
  json.set("outputs", std::move(outputs));
  json.set("constants", Json(Json::Array(plan.constants.begin(), plan.constants.end())));
  json.set("init", plan_json(plan.init));
  json.set("main", plan_json(plan.main));
  if (plan.kernels.empty()) return json;
  Json::Array kernels;
  for (const KernelDesc& kernel : plan.kernels) {
    Json entry = Json::object();
    entry.set("family", kernel.family);
    entry.set("params", kernel.params);
    kernels.push_back(std::move(entry));
  }
  json.set("kernels", std::move(kernels));
  return json;
}

Result<EnginePlan> engine_plan_from_json(const Json& json) {
  EnginePlan plan;
  KILN_ASSIGN_OR_RETURN(plan.target, json.string_at("target"));
  KILN_ASSIGN_OR_RETURN(const Json::Object* symbols, json.object_at("symbols"));
  for (const JsonMember& member : *symbols) {
    if (!member.value.is_array() || member.value.size() != 2 || !member.value[0].is_int() ||
        !member.value[1].is_int()) {
      return bad("range of a symbol is malformed");
    }
    plan.symbols[member.key] = {member.value[0].as_int(), member.value[1].as_int()};
  }
  if (json.find("conditions") != nullptr) {
    KILN_ASSIGN_OR_RETURN(const Json::Array* conditions, json.array_at("conditions"));
    for (const Json& entry : *conditions) {
      SizeCondition condition;
      KILN_ASSIGN_OR_RETURN(const std::string relation, entry.string_at("relation"));
      const auto known = relation_from_name(relation);
      if (!known) return bad("unknown relation of sizes");
      condition.relation = *known;
      KILN_ASSIGN_OR_RETURN(const Json* left, entry.member("left"));
      KILN_ASSIGN_OR_RETURN(condition.left, expr_from(*left));
      KILN_ASSIGN_OR_RETURN(const Json* right, entry.member("right"));
      KILN_ASSIGN_OR_RETURN(condition.right, expr_from(*right));
      KILN_ASSIGN_OR_RETURN(condition.text, entry.string_at("text"));
      plan.conditions.push_back(std::move(condition));
    }
  }
  KILN_ASSIGN_OR_RETURN(const Json::Array* weights, json.array_at("weights"));
  for (const Json& entry : *weights) {
    WeightSignature weight;
    KILN_ASSIGN_OR_RETURN(weight.name, entry.string_at("name"));
    KILN_ASSIGN_OR_RETURN(weight.dtype, dtype_from(entry, "dtype"));
    KILN_ASSIGN_OR_RETURN(weight.dims, entry.ints_at("dims"));
    if (entry.find("fixed_hash") != nullptr) {
      KILN_ASSIGN_OR_RETURN(weight.fixed_hash, entry.string_at("fixed_hash"));
    }
    plan.weights.push_back(std::move(weight));
  }
  KILN_ASSIGN_OR_RETURN(const Json::Array* inputs, json.array_at("inputs"));
  for (const Json& entry : *inputs) {
    KILN_ASSIGN_OR_RETURN(TensorSignature input, signature_from(entry));
    plan.inputs.push_back(std::move(input));
  }
  KILN_ASSIGN_OR_RETURN(const Json::Array* outputs, json.array_at("outputs"));
  for (const Json& entry : *outputs) {
    PlanOutput output;
    KILN_ASSIGN_OR_RETURN(output.signature, signature_from(entry));
    KILN_ASSIGN_OR_RETURN(const std::string kind, entry.string_at("kind"));
    KILN_ASSIGN_OR_RETURN(const int index, name_index(kOutputKinds, kind));
    output.kind = static_cast<PlanOutput::Kind>(index);
    if (entry.find("target") != nullptr) {
      KILN_ASSIGN_OR_RETURN(const int64_t target, entry.int_at("target", 0, INT32_MAX));
      output.target = static_cast<int>(target);
    }
    if (const Json* view = entry.find("view")) {
      KILN_ASSIGN_OR_RETURN(output.view, view_chain_from(*view));
    }
    plan.outputs.push_back(std::move(output));
  }
  KILN_ASSIGN_OR_RETURN(const std::vector<int64_t> constants, json.ints_at("constants"));
  for (int64_t slot : constants) {
    if (slot < 0 || slot > INT32_MAX) return bad("a constant's slot is out of range");
    plan.constants.push_back(static_cast<int>(slot));
  }
  KILN_ASSIGN_OR_RETURN(const Json* init, json.member("init"));
  KILN_ASSIGN_OR_RETURN(plan.init, plan_from(*init));
  KILN_ASSIGN_OR_RETURN(const Json* main, json.member("main"));
  KILN_ASSIGN_OR_RETURN(plan.main, plan_from(*main));
  if (json.find("kernels") == nullptr) return plan;
  KILN_ASSIGN_OR_RETURN(const Json::Array* kernels, json.array_at("kernels"));
  for (const Json& entry : *kernels) {
    KernelDesc kernel;
    KILN_ASSIGN_OR_RETURN(kernel.family, entry.string_at("family"));
    KILN_ASSIGN_OR_RETURN(const Json* params, entry.member("params"));
    kernel.params = *params;
    plan.kernels.push_back(std::move(kernel));
  }
  return plan;
}

}  // namespace kiln

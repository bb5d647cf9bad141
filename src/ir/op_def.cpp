#include "ir/op_def.h"

#include "base/check.h"

namespace kiln {
namespace {

Status check_operands(const OpContext& context) {
  const OpDef& op = *context.op;
  const int count = context.num_operands();
  if (count < op.min_operands || (op.max_operands >= 0 && count > op.max_operands)) {
    return Status::error(
        "K2201",
        "wrong number of operands: " + op.name + " got " + std::to_string(count) + ", wants " +
            std::to_string(op.min_operands) +
            (op.max_operands < 0                  ? " or more"
             : op.max_operands == op.min_operands ? ""
                                                  : " to " + std::to_string(op.max_operands)));
  }
  for (int i = 0; i < count; ++i) {
    const Type* type = context.operands[static_cast<size_t>(i)];
    if (type == nullptr) {
      if (i < op.min_operands) {
        return Status::error("K2201",
                             "operand is required: " + op.name + " operand " + std::to_string(i));
      }
    } else if (!op.takes_any_type && !type->is_tensor()) {
      return Status::error("K2213", "operand is no tensor: " + op.name + " operand " +
                                        std::to_string(i) + " is " + type->to_string());
    }
  }
  return {};
}

// The node's own view of itself; the vector of types is made of pointers into the operands.
OpContext context_of(Node& node) {
  OpContext context;
  context.op = node.op;
  for (Value* operand : node.operands()) {
    context.operands.push_back(operand != nullptr ? &operand->type : nullptr);
  }
  context.attrs = &node.attrs();
  context.bodies = &node.bodies;
  return context;
}

Status named(Status status, const OpDef& op) { return std::move(status).at("op " + op.name); }

}  // namespace

const Attr& OpContext::attr(std::string_view field) const {
  const int index = op->field_index(field);
  KILN_CHECK_MSG(index >= 0, op->name + " has no field " + std::string(field));
  return (*attrs)[static_cast<size_t>(index)];
}

Result<std::vector<int64_t>> ReferenceContext::dims(std::string_view field) const {
  return evaluate(node->get_dims(field), *symbols);
}

Result<int64_t> ReferenceContext::dim(std::string_view field) const {
  return node->get_dim(field).evaluate(*symbols);
}

int OpDef::field_index(std::string_view field) const {
  for (size_t i = 0; i < fields.size(); ++i) {
    if (fields[i].name == field) return static_cast<int>(i);
  }
  return -1;
}

Result<std::vector<Type>> infer_types(const OpContext& context) {
  const OpDef& op = *context.op;
  KILN_CHECK_MSG(op.infer != nullptr, op.name + " cannot infer its result types");
  if (Status status = check_operands(context); !status.ok()) return status;
  Result<std::vector<Type>> types = op.infer(context);
  if (!types.ok()) return named(std::move(types).status(), op);
  for (const Type* operand : context.operands) {
    if (operand == nullptr || !operand->is_tensor()) continue;
    const Device device = operand->tensor().device;
    for (Type& type : types.value()) {
      if (type.is_tensor() && type.tensor().device == Device{}) type.tensor().device = device;
    }
    break;
  }
  return types;
}

Result<std::vector<Type>> infer_types(Node& node) { return infer_types(context_of(node)); }

Status verify_op(Node& node) {
  const OpContext context = context_of(node);
  KILN_RETURN_IF_ERROR(check_operands(context));
  if (node.op->verify == nullptr) return {};
  return named(node.op->verify(context), *node.op);
}

OpRegistry& OpRegistry::global() {
  static OpRegistry registry;
  return registry;
}

void OpRegistry::add(OpDef def) {
  KILN_CHECK_MSG(!def.name.empty(), "an op needs a name");
  for (FieldDef& field : def.fields) {
    if (attr_kind(field.default_value) == field.kind) continue;
    // The default-constructed Attr is `false`: the author gave none.
    const bool* unset = std::get_if<bool>(&field.default_value);
    KILN_CHECK_MSG(unset != nullptr && !*unset,
                   def.name + "." + field.name + ": default is of another kind");
    field.default_value = zero_attr(field.kind);
  }
  const std::string name = def.name;
  const bool added = ops_.emplace(name, std::make_unique<OpDef>(std::move(def))).second;
  KILN_CHECK_MSG(added, "op registered twice: " + name);
}

const OpDef* OpRegistry::find(std::string_view name) const {
  const auto found = ops_.find(name);
  return found == ops_.end() ? nullptr : found->second.get();
}

const OpDef& OpRegistry::get(std::string_view name) const {
  const OpDef* op = find(name);
  KILN_CHECK_MSG(op != nullptr, "unknown op " + std::string(name));
  return *op;
}

std::vector<const OpDef*> OpRegistry::all() const {
  std::vector<const OpDef*> result;
  for (const auto& [name, op] : ops_) result.push_back(op.get());
  return result;
}

}  // namespace kiln

// aten.call: a call that PyTorch runs, kept as it was captured.
//
// The result types are given at creation (Graph::create_unchecked): only PyTorch knows what the
// call returns, so there is no infer().
#include "ops/effects.h"
#include "ops/fields.h"
#include "ops/operand_checks.h"

namespace kiln {
namespace {

// Marks the operands that an argument names.
Status mark_operands(const OpContext& c, const CallArg& arg, std::vector<bool>& used) {
  if (const auto* operand = arg.get<CallArg::Operand>()) {
    if (operand->index < 0 || operand->index >= c.num_operands() || !c.has(operand->index)) {
      return refuse(
          c, "K2205",
          "argument names an operand that is not there, index " + std::to_string(operand->index));
    }
    used[static_cast<size_t>(operand->index)] = true;
  } else if (const auto* list = arg.get<CallArg::List>()) {
    for (const CallArg& item : *list) KILN_RETURN_IF_ERROR(mark_operands(c, item, used));
  }
  return {};
}

Status verify(const OpContext& c) {
  const std::string& effect = c.get_string("effect");
  if (effect != "none" && effect != "random" && effect != "write" && effect != "unknown") {
    return refuse(c, "K2205", "unknown effect '" + effect + "'");
  }
  const Call& call = std::get<Call>(c.attr("call"));
  const size_t colons = call.name.find("::");
  if (colons == 0 || colons == std::string::npos || colons + 2 == call.name.size()) {
    return refuse(c, "K2205", "operator name has no namespace '" + call.name + "'");
  }
  std::vector<bool> used(static_cast<size_t>(c.num_operands()), false);
  for (const CallArg& arg : call.args) KILN_RETURN_IF_ERROR(mark_operands(c, arg, used));
  for (size_t i = 0; i < used.size(); ++i) {
    if (!used[i]) {
      return refuse(c, "K2205", "operand is in no argument, index " + std::to_string(i));
    }
  }
  return {};
}

Status reference(const ReferenceContext& c) {
  const Call& call = std::get<Call>(c.node->attr("call"));
  return Status::error("K2206", "aten.call: only PyTorch can run " + call.full_name());
}

Result<std::vector<Value*>> to_aten(Node& node, AtenEmitter&) {
  std::vector<Value*> results;
  for (int i = 0; i < node.num_results(); ++i) results.push_back(node.result(i));
  return results;
}

}  // namespace

bool has_effect(Node& node) {
  if (!node.op->has(kEffect)) return false;
  return node.op->field_index("effect") < 0 || node.get_string("effect") != "none";
}

KILN_OP(aten_call) {
  OpDef def;
  def.name = "aten.call";
  def.formula = "whatever PyTorch's operator computes";
  def.traits = kEffect;  // refined per node by has_effect()
  def.min_operands = 0;
  def.max_operands = -1;
  def.operand_names = {"operand"};
  def.takes_any_type = true;
  def.fields = {
      make_field(AttrKind::kCall, "call", Call{}, true,
                 "operator, overload and arguments in the schema's order, defaults filled in; "
                 "%i stands for operand i"),
      string_field("effect", "none",
                   "none: a function of its operands; random: draws numbers; write: changes an "
                   "operand or other state; unknown: treated as the worst"),
  };
  def.verify = verify;
  def.reference = reference;
  def.to_aten = to_aten;
  return def;
}

}  // namespace kiln

// fused: a group of ordinary ops that one kernel computes. It has no reference: its body is a graph
// over the operands, and the reference executor runs that.
#include "ops/fields.h"
#include "ops/operand_checks.h"

namespace kiln {
namespace {

Result<std::vector<Type>> infer(const OpContext& c) {
  if (c.bodies == nullptr || c.bodies->size() != 1) {
    return refuse(c, "K2205", "a fusion has exactly one body");
  }
  Graph& body = *c.bodies->front();
  if (!body.constants().empty()) {
    return refuse(c, "K2205", "the body of a fusion takes operands only, no constants");
  }
  if (static_cast<int>(body.inputs().size()) != c.num_operands()) {
    return refuse(c, "K2202",
                  "operands and body inputs differ in number: " + std::to_string(c.num_operands()) +
                      " and " + std::to_string(body.inputs().size()));
  }
  if (body.outputs().empty()) return refuse(c, "K2205", "the body of a fusion has no output");
  for (int i = 0; i < c.num_operands(); ++i) {
    const Type& inside = body.inputs()[static_cast<size_t>(i)]->type;
    if (!c.has(i) || !inside.is_tensor() || inside.tensor().dtype != c.tensor(i).dtype ||
        inside.tensor().shape != c.tensor(i).shape) {
      return refuse(c, "K2204",
                    "operand and body input differ in type: index " + std::to_string(i) +
                        ", body " + inside.to_string());
    }
  }
  std::vector<Type> types;
  for (Value* output : body.outputs()) types.push_back(output->type);
  return types;
}

Result<std::vector<Value*>> to_aten(Node&, AtenEmitter&) {
  return Status::error("K2206", "fused: no aten form: put the body in place of the node first");
}

}  // namespace

KILN_OP(fused) {
  OpDef def;
  def.formula = "the outputs of the body, whose inputs are the operands";
  def.min_operands = 0;
  def.max_operands = -1;
  def.operand_names = {"x"};
  def.fields = {
      string_field("anchor", "", "name of the op that the fusion formed around; empty: none"),
      string_field("kind", "", "what the fusion was formed as, for messages and providers"),
  };
  def.infer = infer;
  def.to_aten = to_aten;
  return def;
}

}  // namespace kiln

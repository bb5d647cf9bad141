// fused: a group of ordinary ops that one kernel computes. Its body is a graph over the operands,
// so the reference just runs it.
#include <map>

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

Status run_node(Node& node, const SymbolValues& symbols, std::map<Value*, HostTensor>& values) {
  if (node.op->reference == nullptr) {
    return Status::error("K2206", "fused: op has no reference: " + node.op->name);
  }
  std::vector<HostTensor> results;
  for (int i = 0; i < node.num_results(); ++i) {
    const Type& type = node.result(i)->type;
    if (!type.is_tensor()) {
      return Status::error("K2206", "fused: result is not a tensor, op " + node.op->name);
    }
    KILN_ASSIGN_OR_RETURN(std::vector<int64_t> shape, evaluate(type.tensor().shape, symbols));
    for (int64_t size : shape) {
      if (size < 0) {
        return Status::error(
            "K4203", node.op->name + ": size of a result is negative: " + std::to_string(size));
      }
    }
    results.emplace_back(type.tensor().dtype, std::move(shape));
  }
  ReferenceContext context;
  context.node = &node;
  for (Value* operand : node.operands()) {
    context.operands.push_back(operand == nullptr ? nullptr : &values.at(operand));
  }
  context.results = &results;
  context.symbols = &symbols;
  KILN_RETURN_IF_ERROR(node.op->reference(context));
  for (int i = 0; i < node.num_results(); ++i) {
    values[node.result(i)] = std::move(results[static_cast<size_t>(i)]);
  }
  return {};
}

Status reference(const ReferenceContext& c) {
  Graph& body = *c.node->bodies.front();
  std::map<Value*, HostTensor> values;
  for (size_t i = 0; i < body.inputs().size(); ++i) {
    values[body.inputs()[i]] = c.in(static_cast<int>(i));
  }
  for (const auto& node : body.nodes()) {
    KILN_RETURN_IF_ERROR(run_node(*node, *c.symbols, values));
  }
  for (size_t i = 0; i < body.outputs().size(); ++i) {
    c.out(static_cast<int>(i)) = values.at(body.outputs()[i]);
  }
  return {};
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
  def.reference = reference;
  def.to_aten = to_aten;
  return def;
}

}  // namespace kiln

#include <map>

#include "base/hash.h"
#include "ir/module.h"
#include "ir/op_def.h"

namespace kiln {
namespace {

void add_type(Hasher128& hasher, const Type& type) { hasher.add_text(type.to_string()); }

void add_attr(Hasher128& hasher, const Attr& attr) {
  hasher.add_int(static_cast<int64_t>(attr.index()));
  if (const auto* tensor = std::get_if<HostTensor>(&attr)) {  // text of a tensor may be long
    hasher.add_text(dtype_name(tensor->dtype())).add_int(tensor->rank());
    for (int64_t extent : tensor->shape()) hasher.add_int(extent);
    hasher.add_bytes(tensor->bytes(), tensor->num_bytes());
    return;
  }
  hasher.add_text(attr_to_text(attr));
}

// Values by number: inputs from 0, constants and results after them, absent operands as -1.
void add_graph(Hasher128& hasher, Graph& graph) {
  std::map<Value*, int64_t> numbers;
  hasher.add_int(static_cast<int64_t>(graph.inputs().size()));
  hasher.add_int(static_cast<int64_t>(graph.constants().size()));
  for (const auto* list : {&graph.inputs(), &graph.constants()}) {
    for (Value* value : *list) {
      numbers.emplace(value, static_cast<int64_t>(numbers.size()));
      add_type(hasher, value->type);
    }
  }
  hasher.add_int(static_cast<int64_t>(graph.nodes().size()));
  for (const auto& node : graph.nodes()) {
    hasher.add_text(node->op->name);
    hasher.add_int(node->num_operands());
    for (Value* operand : node->operands()) {
      hasher.add_int(operand == nullptr ? -1 : numbers.at(operand));
    }
    for (const Attr& attr : node->attrs()) add_attr(hasher, attr);
    hasher.add_int(static_cast<int64_t>(node->bodies.size()));
    for (const auto& body : node->bodies) add_graph(hasher, *body);
    hasher.add_int(node->num_results());
    for (int i = 0; i < node->num_results(); ++i) {
      numbers.emplace(node->result(i), static_cast<int64_t>(numbers.size()));
      add_type(hasher, node->result(i)->type);
    }
  }
  hasher.add_int(static_cast<int64_t>(graph.outputs().size()));
  for (Value* output : graph.outputs()) hasher.add_int(numbers.at(output));
}

void add_order(Hasher128& hasher, const std::vector<int>& order) {
  hasher.add_int(static_cast<int64_t>(order.size()));
  for (int dim : order) hasher.add_int(dim);
}

}  // namespace

std::string fingerprint(Graph& graph) {
  Hasher128 hasher;
  add_graph(hasher, graph);
  return hasher.finish().hex();
}

std::string fingerprint(Module& module) {
  Hasher128 hasher;
  hasher.add_int(static_cast<int64_t>(module.symbols.size()));
  for (const auto& [name, range] : module.symbols) {
    hasher.add_text(name).add_int(range.min).add_int(range.max);
  }
  hasher.add_int(static_cast<int64_t>(module.conditions.size()));
  for (const SizeCondition& condition : module.conditions) hasher.add_text(condition.to_string());
  hasher.add_int(static_cast<int64_t>(module.weights.size()));
  for (const Weight& weight : module.weights) {
    hasher.add_text(weight.name).add_int(static_cast<int64_t>(weight.kind));
    hasher.add_text(weight.content_hash);
  }
  add_graph(hasher, module.init);
  add_graph(hasher, module.main);
  for (const InputSpec& spec : module.inputs) {
    hasher.add_int(static_cast<int64_t>(spec.kind));
    add_order(hasher, spec.order);
    for (const Shape* dims : {&spec.strides, &spec.sizes}) {
      hasher.add_int(static_cast<int64_t>(dims->size()));
      for (const DimExpr& dim : *dims) hasher.add_text(dim.to_string());
    }
    if (spec.number) hasher.add_text(spec.number->to_string());
  }
  for (const OutputSpec& spec : module.outputs) {
    hasher.add_int(static_cast<int64_t>(spec.kind)).add_int(spec.target);
    add_order(hasher, spec.order);
  }
  return hasher.finish().hex();
}

}  // namespace kiln

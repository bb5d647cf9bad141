#include <algorithm>
#include <map>
#include <set>

#include "ir/module.h"
#include "ir/op_def.h"

namespace kiln {
namespace {

Status structure(std::string message) { return Status::error("K2401", std::move(message)); }

// A node as short text for messages; full text would need the numbering of the whole graph.
std::string describe(Node& node) {
  std::string text = node.op->name + "(";
  for (int i = 0; i < node.num_operands(); ++i) {
    Value* operand = node.operand(i);
    text += (i == 0 ? "" : ", ") + (operand == nullptr ? "_" : operand->type.to_string());
  }
  return text + ")";
}

Status at_node(Status status, Node& node) {
  if (status.ok()) return status;
  status = std::move(status).at(describe(node));
  return node.origin.empty() ? status : std::move(status).at(node.origin.to_string());
}

class GraphVerifier {
 public:
  GraphVerifier(Graph& graph, const SymbolRanges* symbols) : graph_(graph), symbols_(symbols) {}

  Status run() {
    KILN_RETURN_IF_ERROR(arguments(graph_.inputs(), false));
    KILN_RETURN_IF_ERROR(arguments(graph_.constants(), true));
    for (const auto& node : graph_.nodes()) {
      KILN_RETURN_IF_ERROR(at_node(check_node(*node), *node));
      for (int i = 0; i < node->num_results(); ++i) defined_.insert(node->result(i));
    }
    for (Value* output : graph_.outputs()) {
      if (output == nullptr || !defined_.contains(output)) {
        return structure("graph output is not defined in the graph");
      }
    }
    return use_counts();
  }

 private:
  Status arguments(const std::vector<Value*>& list, bool constant) {
    for (size_t i = 0; i < list.size(); ++i) {
      Value* value = list[i];
      if (value->graph() != &graph_ || value->producer() != nullptr ||
          value->index() != static_cast<int>(i) || value->is_constant_argument() != constant) {
        return structure("graph argument is inconsistent: " + std::to_string(i));
      }
      KILN_RETURN_IF_ERROR(check_symbols(value->type));
      defined_.insert(value);
    }
    return {};
  }

  Status check_symbols(const Type& type) {
    if (symbols_ == nullptr || !type.is_tensor()) return {};
    std::set<std::string> used;
    for (const DimExpr& dim : type.tensor().shape) dim.collect_symbols(used);
    for (const std::string& symbol : used) {
      if (!symbols_->contains(symbol)) {
        return Status::error("K2402", "size symbol is not declared: " + symbol);
      }
    }
    const Layout& layout = type.tensor().layout;
    if (!layout.order.empty() && static_cast<int>(layout.order.size()) != type.tensor().rank()) {
      return Status::error("K2402", "layout is of another rank: " + type.to_string());
    }
    return {};
  }

  Status check_node(Node& node) {
    if (node.graph() != &graph_) return structure("node belongs to another graph");
    if (node.attrs().size() != node.op->fields.size()) {
      return structure("node has another number of fields than its op");
    }
    for (size_t i = 0; i < node.attrs().size(); ++i) {
      if (attr_kind(node.attrs()[i]) != node.op->fields[i].kind) {
        return structure("field is of another kind: " + node.op->fields[i].name);
      }
    }
    for (int i = 0; i < node.num_operands(); ++i) {
      Value* operand = node.operand(i);
      if (operand == nullptr) continue;
      ++uses_[operand];
      if (operand->graph() != &graph_) return structure("operand belongs to another graph");
      if (!defined_.contains(operand)) {
        return structure("operand is used before it is computed: " + std::to_string(i));
      }
      const auto& uses = operand->uses();
      if (std::count(uses.begin(), uses.end(), Use{&node, i}) != 1) {
        return structure("use list does not hold the operand: " + std::to_string(i));
      }
    }
    for (int i = 0; i < node.num_results(); ++i) {
      Value* result = node.result(i);
      if (result->producer() != &node || result->graph() != &graph_ || result->index() != i) {
        return structure("result is inconsistent: " + std::to_string(i));
      }
      KILN_RETURN_IF_ERROR(check_symbols(result->type));
    }
    for (const auto& body : node.bodies) {
      if (!body->constants().empty()) return structure("body has constants");
      KILN_RETURN_IF_ERROR(GraphVerifier(*body, symbols_).run());
    }
    KILN_RETURN_IF_ERROR(check_types(node));
    return verify_op(node);
  }

  // An op whose results cannot be inferred (aten.call) has no infer(); what was captured stands.
  Status check_types(Node& node) {
    if (node.op->infer == nullptr) return {};
    KILN_ASSIGN_OR_RETURN(const std::vector<Type> types, infer_types(node));
    if (static_cast<int>(types.size()) != node.num_results()) {
      return Status::error("K2402", "node has another number of results than inferred: " +
                                        std::to_string(node.num_results()) + " vs " +
                                        std::to_string(types.size()));
    }
    for (int i = 0; i < node.num_results(); ++i) {
      Type inferred = types[static_cast<size_t>(i)];
      const Type& stated = node.result(i)->type;
      if (inferred.is_tensor() && stated.is_tensor()) {
        inferred.tensor().layout = stated.tensor().layout;
      }
      if (inferred != stated) {
        return Status::error("K2402", "result type is not what the op infers: " +
                                          stated.to_string() + " vs " + inferred.to_string());
      }
    }
    return {};
  }

  // Every entry of a use list must be one of the operands counted above.
  Status use_counts() {
    for (Value* value : defined_) {
      const auto found = uses_.find(value);
      const size_t expected = found == uses_.end() ? 0 : found->second;
      if (value->uses().size() != expected) {
        return structure("use list holds uses that do not exist: " + value->type.to_string());
      }
    }
    return {};
  }

  Graph& graph_;
  const SymbolRanges* symbols_;
  // Membership and counts only; the order of pointers never reaches an output.
  std::set<Value*> defined_;
  std::map<Value*, size_t> uses_;
};

Status signature(std::string message) { return Status::error("K2403", std::move(message)); }

bool is_order(const std::vector<int>& order, const Type& type) {
  if (order.empty()) return true;
  if (!type.is_tensor() || static_cast<int>(order.size()) != type.tensor().rank()) return false;
  std::vector<int> sorted = order;
  std::sort(sorted.begin(), sorted.end());
  for (size_t i = 0; i < sorted.size(); ++i) {
    if (sorted[i] != static_cast<int>(i)) return false;
  }
  return true;
}

Status check_init(Module& module) {
  if (!module.init.constants().empty()) return structure("init graph has constants");
  if (module.init.inputs().size() != module.weights.size()) {
    return signature("init graph has another number of inputs than there are weights: " +
                     std::to_string(module.init.inputs().size()) + " vs " +
                     std::to_string(module.weights.size()));
  }
  std::set<std::string> names;
  for (size_t i = 0; i < module.weights.size(); ++i) {
    const Weight& weight = module.weights[i];
    if (module.init.inputs()[i]->type != Type(weight.type)) {
      return signature("weight is of another type than its argument: " + weight.name);
    }
    for (const DimExpr& dim : weight.type.shape) {
      if (!dim.is_constant()) return signature("weight has a symbolic shape: " + weight.name);
    }
    if (!names.insert(weight.name).second) {
      return signature("two weights have one name: " + weight.name);
    }
  }
  const auto& constants = module.main.constants();
  if (module.init.outputs().size() != constants.size()) {
    return signature("init graph has another number of outputs than there are constants: " +
                     std::to_string(module.init.outputs().size()) + " vs " +
                     std::to_string(constants.size()));
  }
  for (size_t i = 0; i < constants.size(); ++i) {
    if (module.init.outputs()[i]->type != constants[i]->type) {
      return signature("constant is of another type than its init value: %c" + std::to_string(i));
    }
  }
  return {};
}

Status check_state(Module& module, size_t input) {
  const InputSpec& spec = module.inputs[input];
  if (spec.initial.empty()) return {};
  const Type& type = module.main.inputs()[input]->type;
  for (const Weight& weight : module.weights) {
    if (weight.name != spec.initial) continue;
    if (spec.kind == InputSpec::Kind::kState && type == Type(weight.type)) return {};
  }
  return signature("input has an initial value that does not fit it: " + spec.name);
}

Status check_view(const OutputSpec& spec, const Type& from, const Type& to) {
  const std::string name = "view of " + from.to_string() + " for an output of " + to.to_string();
  if (!from.is_tensor() || !to.is_tensor()) {
    return spec.view.empty() && from == to ? Status() : signature("objects differ: " + name);
  }
  auto dims = view_dims(spec.view, from.tensor().shape);
  if (!dims.ok() || from.tensor().dtype != to.tensor().dtype ||
      dims->size() != to.tensor().shape.size()) {
    return signature("output does not fit what it views: " + name);
  }
  for (size_t i = 0; i < dims->size(); ++i) {
    const DimExpr &a = (*dims)[i], &b = to.tensor().shape[i];
    if (a.is_constant() && b.is_constant() && !(a == b)) {
      return signature("output does not fit what it views: " + name);
    }
  }
  return {};
}

Status check_signature(Module& module) {
  const auto& inputs = module.main.inputs();
  const auto& outputs = module.main.outputs();
  if (inputs.size() != module.inputs.size() || outputs.size() != module.outputs.size()) {
    return signature("signature has another number of inputs or outputs than the main graph");
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!is_order(module.inputs[i].order, inputs[i]->type)) {
      return signature("order of an input does not fit its rank: " + module.inputs[i].name);
    }
    const Shape& strides = module.inputs[i].strides;
    if (!strides.empty() &&
        (!inputs[i]->type.is_tensor() || strides.size() != inputs[i]->type.tensor().shape.size())) {
      return signature("strides of an input do not fit its rank: " + module.inputs[i].name);
    }
    if (!module.inputs[i].sizes.empty() &&
        !std::holds_alternative<HostObjectType>(inputs[i]->type.value)) {
      return signature("input with sizes beside its type: " + module.inputs[i].name);
    }
    const auto* scalar = std::get_if<ScalarType>(&inputs[i]->type.value);
    if (module.inputs[i].number && (scalar == nullptr || *scalar != ScalarType::kI64)) {
      return signature("input with the value of a size is no integer: " + module.inputs[i].name);
    }
    KILN_RETURN_IF_ERROR(check_state(module, i));
  }
  std::set<int> written;
  for (size_t i = 0; i < outputs.size(); ++i) {
    const OutputSpec& spec = module.outputs[i];
    if (!is_order(spec.order, outputs[i]->type)) {
      return signature("order of an output does not fit its rank: " + std::to_string(i));
    }
    if (spec.kind == OutputSpec::Kind::kResult) {
      if (!spec.view.empty()) return signature("result has a view: " + std::to_string(i));
      continue;
    }
    if (spec.kind == OutputSpec::Kind::kViewOfOutput) {
      if (spec.target < 0 || spec.target >= static_cast<int>(outputs.size()) ||
          module.outputs[static_cast<size_t>(spec.target)].kind != OutputSpec::Kind::kResult) {
        return signature("output is a view of no result: " + std::to_string(i));
      }
      KILN_RETURN_IF_ERROR(
          check_view(spec, outputs[static_cast<size_t>(spec.target)]->type, outputs[i]->type));
      continue;
    }
    if (spec.target < 0 || spec.target >= static_cast<int>(inputs.size())) {
      return signature("output names an input that does not exist: " + std::to_string(spec.target));
    }
    if (spec.kind == OutputSpec::Kind::kViewOfInput) {
      KILN_RETURN_IF_ERROR(
          check_view(spec, inputs[static_cast<size_t>(spec.target)]->type, outputs[i]->type));
      continue;
    }
    if (!written.insert(spec.target).second) {
      return signature("input is written twice: " + std::to_string(spec.target));
    }
    const Type& from = outputs[i]->type;
    const Type& to = inputs[static_cast<size_t>(spec.target)]->type;
    if (!from.is_tensor() || !to.is_tensor() || from.tensor().dtype != to.tensor().dtype ||
        from.tensor().shape != to.tensor().shape) {
      return signature("written value is of another type than the input: " + from.to_string() +
                       " vs " + to.to_string());
    }
  }
  return {};
}

}  // namespace

Status verify(Graph& graph) { return GraphVerifier(graph, nullptr).run(); }

Status verify(Module& module) {
  for (const auto& [name, range] : module.symbols) {
    if (range.min > range.max) return Status::error("K2402", "range of a symbol is empty: " + name);
  }
  for (const SizeCondition& condition : module.conditions) {
    std::set<std::string> names;
    condition.collect_symbols(names);
    for (const std::string& name : names) {
      if (module.symbols.contains(name)) continue;
      return Status::error("K2402", "condition names an unknown symbol: " + name);
    }
  }
  KILN_RETURN_IF_ERROR(GraphVerifier(module.init, &module.symbols).run());
  KILN_RETURN_IF_ERROR(GraphVerifier(module.main, &module.symbols).run());
  KILN_RETURN_IF_ERROR(check_init(module));
  return check_signature(module);
}

}  // namespace kiln

#include "interp/interpreter.h"

#include <cstring>
#include <map>

#include "base/check.h"
#include "ir/op_def.h"

namespace kiln {
namespace {

// Elements of one tensor; a wrong shape must not take the machine down.
constexpr int64_t kMaxElements = int64_t{1} << 30;

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    text += (i == 0 ? "" : ",") + std::to_string(shape[i]);
  }
  return text + "]";
}

// A zero tensor of the type.
Result<HostTensor> allocate(const Type& type, const SymbolValues& symbols) {
  if (const auto* scalar = std::get_if<ScalarType>(&type.value)) {
    return HostTensor(scalar_dtype(*scalar), {});
  }
  if (!type.is_tensor()) {
    return Status::error("K2503", "value cannot be interpreted: " + type.to_string());
  }
  Result<std::vector<int64_t>> shape = evaluate(type.tensor().shape, symbols);
  if (!shape.ok()) {
    return Status::error("K2502", "sizes cannot be evaluated: " + shape.status().message());
  }
  int64_t count = 1;
  for (int64_t extent : *shape) {
    if (extent < 0) {
      return Status::error(
          "K2502", "size is negative: " + type.to_string() + " gives " + shape_text(*shape));
    }
    if (__builtin_mul_overflow(count, extent, &count) || count > kMaxElements) {
      return Status::error("K2504", "tensor is too large to interpret: " + shape_text(*shape));
    }
  }
  return HostTensor(type.tensor().dtype, std::move(shape).value());
}

Status check_fits(const HostTensor& tensor, const Type& type, const SymbolValues& symbols,
                  const std::string& what) {
  KILN_ASSIGN_OR_RETURN(const HostTensor expected, allocate(type, symbols));
  if (expected.dtype() == tensor.dtype() && expected.shape() == tensor.shape()) return {};
  return Status::error("K2501",
                       what + " does not fit its type: " + std::string(dtype_name(tensor.dtype())) +
                           shape_text(tensor.shape()) + " vs " + type.to_string());
}

Status at_node(Status status, Node& node) {
  status = std::move(status).at("op " + node.op->name);
  return node.origin.empty() ? status : std::move(status).at(node.origin.to_string());
}

}  // namespace

Result<std::vector<HostTensor>> interpret(Node& node,
                                          const std::vector<const HostTensor*>& operands,
                                          const SymbolValues& symbols) {
  KILN_CHECK_EQ(operands.size(), node.operands().size());
  if (node.op->reference == nullptr) {
    if (node.bodies.size() != 1) {
      return at_node(Status::error("K2503", "op has no reference"), node);
    }
    std::vector<HostTensor> inputs;
    for (const HostTensor* operand : operands) {
      if (operand != nullptr) inputs.push_back(*operand);
    }
    Result<std::vector<HostTensor>> results = interpret(*node.bodies[0], inputs, {}, symbols);
    if (!results.ok()) return at_node(std::move(results).status(), node);
    return results;
  }
  std::vector<HostTensor> results;
  for (int i = 0; i < node.num_results(); ++i) {
    Result<HostTensor> result = allocate(node.result(i)->type, symbols);
    if (!result.ok()) return at_node(std::move(result).status(), node);
    results.push_back(std::move(result).value());
  }
  ReferenceContext context;
  context.node = &node;
  context.operands = operands;
  context.results = &results;
  context.symbols = &symbols;
  if (Status status = node.op->reference(context); !status.ok()) {
    return at_node(std::move(status), node);
  }
  KILN_CHECK_EQ(results.size(), static_cast<size_t>(node.num_results()));
  for (int i = 0; i < node.num_results(); ++i) {
    // A reference that replaces a result must keep what infer() promised.
    if (Status status =
            check_fits(results[static_cast<size_t>(i)], node.result(i)->type, symbols, "result");
        !status.ok()) {
      return at_node(std::move(status), node);
    }
  }
  return results;
}

Result<std::vector<HostTensor>> interpret(Graph& graph, const std::vector<HostTensor>& inputs,
                                          const std::vector<HostTensor>& constants,
                                          const SymbolValues& symbols) {
  std::map<Value*, const HostTensor*> arguments;
  auto bind = [&](const std::vector<Value*>& values, const std::vector<HostTensor>& tensors,
                  const std::string& what) -> Status {
    if (values.size() != tensors.size()) {
      return Status::error("K2501", "wrong number of " + what +
                                        "s: " + std::to_string(tensors.size()) + " vs " +
                                        std::to_string(values.size()));
    }
    for (size_t i = 0; i < values.size(); ++i) {
      KILN_RETURN_IF_ERROR(
          check_fits(tensors[i], values[i]->type, symbols, what + " " + std::to_string(i)));
      arguments[values[i]] = &tensors[i];
    }
    return {};
  };
  KILN_RETURN_IF_ERROR(bind(graph.inputs(), inputs, "input"));
  KILN_RETURN_IF_ERROR(bind(graph.constants(), constants, "constant"));

  // Values die after their last use, so that whole models fit.
  std::map<Value*, HostTensor> computed;
  std::map<Value*, size_t> left;
  for (Value* output : graph.outputs()) ++left[output];
  for (const auto& node : graph.nodes()) {
    for (Value* operand : node->operands()) {
      if (operand != nullptr) ++left[operand];
    }
  }
  auto lookup = [&](Value* value) -> const HostTensor* {
    const auto argument = arguments.find(value);
    if (argument != arguments.end()) return argument->second;
    const auto found = computed.find(value);
    KILN_CHECK_MSG(found != computed.end(), "value is not computed before its use");
    return &found->second;
  };
  for (const auto& node : graph.nodes()) {
    std::vector<const HostTensor*> operands;
    for (Value* operand : node->operands()) {
      operands.push_back(operand == nullptr ? nullptr : lookup(operand));
    }
    KILN_ASSIGN_OR_RETURN(std::vector<HostTensor> results, interpret(*node, operands, symbols));
    for (int i = 0; i < node->num_results(); ++i) {
      if (left.contains(node->result(i))) {
        computed[node->result(i)] = std::move(results[static_cast<size_t>(i)]);
      }
    }
    for (Value* operand : node->operands()) {
      if (operand != nullptr && --left[operand] == 0) computed.erase(operand);
    }
  }
  std::vector<HostTensor> outputs;
  for (Value* output : graph.outputs()) outputs.push_back(*lookup(output));
  return outputs;
}

Result<std::vector<HostTensor>> interpret_init(Module& module,
                                               const std::vector<HostTensor>& weights) {
  return interpret(module.init, weights, {}, {});
}

Result<std::vector<HostTensor>> interpret(Module& module, const std::vector<HostTensor>& inputs,
                                          const std::vector<HostTensor>& weights) {
  KILN_ASSIGN_OR_RETURN(const SymbolValues symbols, bind_symbols(module, inputs));
  KILN_ASSIGN_OR_RETURN(const std::vector<HostTensor> constants, interpret_init(module, weights));
  return interpret(module.main, inputs, constants, symbols);
}

Result<std::vector<HostTensor>> read_weights(Module& module) {
  std::vector<HostTensor> result;
  for (const Weight& weight : module.weights) {
    KILN_ASSIGN_OR_RETURN(HostTensor tensor, allocate(Type(weight.type), {}));
    if (weight.data.data == nullptr && tensor.num_bytes() != 0) {
      return Status::error("K2505", "weight has no data: " + weight.name);
    }
    if (weight.data.bytes != tensor.num_bytes()) {
      return Status::error("K2501",
                           "weight has another number of bytes than its type: " + weight.name);
    }
    if (tensor.num_bytes() != 0) {
      std::memcpy(tensor.bytes(), weight.data.data, tensor.num_bytes());
    }
    result.push_back(std::move(tensor));
  }
  return result;
}

Result<SymbolValues> bind_symbols(Module& module, const std::vector<HostTensor>& inputs) {
  const auto& values = module.main.inputs();
  if (values.size() != inputs.size()) {
    return Status::error("K2501", "wrong number of inputs: " + std::to_string(inputs.size()) +
                                      " vs " + std::to_string(values.size()));
  }
  SymbolValues symbols;
  for (size_t i = 0; i < values.size(); ++i) {
    if (!values[i]->type.is_tensor()) continue;
    const Shape& shape = values[i]->shape();
    if (static_cast<int>(shape.size()) != inputs[i].rank()) {
      return Status::error("K2501", "input is of another rank: " + std::to_string(i));
    }
    for (size_t dim = 0; dim < shape.size(); ++dim) {
      if (shape[dim].is_symbol()) {
        symbols.emplace(shape[dim].symbol_name(), inputs[i].size(static_cast<int>(dim)));
      }
    }
  }
  for (const auto& [name, value] : symbols) {
    const auto range = module.symbols.find(name);
    if (range == module.symbols.end()) continue;
    if (value < range->second.min || value > range->second.max) {
      return Status::error("K2502", "size is out of the range of its symbol: " + name + " is " +
                                        std::to_string(value));
    }
  }
  for (size_t i = 0; i < values.size(); ++i) {
    KILN_RETURN_IF_ERROR(
        check_fits(inputs[i], values[i]->type, symbols, "input " + std::to_string(i)));
  }
  return symbols;
}

}  // namespace kiln

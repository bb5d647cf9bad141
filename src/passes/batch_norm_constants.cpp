#include "passes/batch_norm_constants.h"

#include "passes/rewriter.h"

namespace kiln {

bool has_constant_statistics(Node& node) {
  for (int i = 1; i < node.num_operands(); ++i) {
    if (node.operand(i) != nullptr && !node.operand(i)->is_constant_argument()) return false;
  }
  return true;
}

BatchNormConstants batch_norm_constants(Module& module, Node& node) {
  const auto emit = [&](std::string_view op, std::vector<Value*> operands, AttrList attrs = {}) {
    return create_node(module.init, op, std::move(operands), std::move(attrs), nullptr, node.origin)
        ->result();
  };
  const auto wide = [&](int i) {
    Value* value = module.init_value(node.operand(i));
    if (value->dtype() == DType::kF64) return value;
    return emit("cast", {value}, {{"dtype", DType::kF64}});
  };
  HostTensor eps(DType::kF64, {});
  eps.set_double(0, node.get_float("eps"));
  Value* variance = emit("add", {wide(2), emit("constant", {}, {{"value", std::move(eps)}})});
  Value* deviation = emit("sqrt", {variance});
  BatchNormConstants result;
  result.factor =
      node.has_operand(3) ? emit("div", {wide(3), deviation}) : emit("reciprocal", {deviation});
  Value* moved = emit("mul", {wide(1), result.factor});
  result.shift = node.has_operand(4) ? emit("sub", {wide(4), moved}) : emit("neg", {moved});
  return result;
}

}  // namespace kiln

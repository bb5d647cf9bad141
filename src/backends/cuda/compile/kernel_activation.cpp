#include "backends/cuda/compile/kernel_activation.h"

#include "backends/cuda/compile/kernel_text.h"
#include "base/check.h"
#include "ir/op_def.h"

namespace kiln::cuda {

using Kind = KernelActivation::Kind;

bool activation_of(Node& node, KernelActivation* out) {
  const std::string_view op = node.op_name();
  auto take = [&](Kind kind, double alpha = 0, double beta = 0) {
    *out = {kind, alpha, beta};
    return true;
  };
  if (op == "relu") return take(Kind::kRelu);
  if (op == "leaky_relu") return take(Kind::kLeakyRelu, node.get_float("slope"));
  if (op == "elu" && node.get_float("scale") == 1 && node.get_float("input_scale") == 1) {
    return take(Kind::kElu, node.get_float("alpha"));
  }
  if (op == "gelu") {
    return take(node.get_string("approximate") == "tanh" ? Kind::kGeluTanh : Kind::kGelu);
  }
  if (op == "silu") return take(Kind::kSilu);
  if (op == "sigmoid") return take(Kind::kSigmoid);
  if (op == "tanh") return take(Kind::kTanh);
  if (op == "hardsigmoid") return take(Kind::kHardsigmoid);
  if (op == "hardswish") return take(Kind::kHardswish);
  if (op == "clamp" && node.get_bool("has_min") && node.get_bool("has_max")) {
    const double low = node.get_float("min"), high = node.get_float("max");
    return low <= high && take(Kind::kClip, low, high);
  }
  return false;
}

bool only_activation(const std::vector<Node*>& epilogue, KernelActivation* out) {
  return epilogue.size() == static_cast<size_t>(activation_length(epilogue)) &&
         (epilogue.empty() || activation_of(*epilogue[0], out));
}

int activation_length(const std::vector<Node*>& epilogue) {
  KernelActivation any;
  return !epilogue.empty() && epilogue[0]->num_operands() == 1 && activation_of(*epilogue[0], &any)
             ? 1
             : 0;
}

std::string activation_text(const KernelActivation& activation, const std::string& number,
                            const std::string& value) {
  const auto constant = [&](double x) {
    return "static_cast<" + number + ">(" + double_literal(x) + ")";
  };
  switch (activation.kind) {
    case Kind::kNone: return value;
    case Kind::kRelu: return "fn::relu(" + value + ")";
    case Kind::kClip:
      return "fn::clamp(" + value + ", " + constant(activation.alpha) + ", " +
             constant(activation.beta) + ")";
    case Kind::kLeakyRelu:
      return "fn::leaky_relu(" + value + ", " + constant(activation.alpha) + ")";
    case Kind::kElu:
      return "fn::elu(" + value + ", " + constant(activation.alpha) + ", " + constant(1) + ", " +
             constant(1) + ")";
    case Kind::kSigmoid: return "fn::sigmoid(" + value + ")";
    case Kind::kTanh: return "fn::tanh(" + value + ")";
    case Kind::kSilu: return "fn::silu(" + value + ")";
    case Kind::kGelu: return "fn::gelu_erf(" + value + ")";
    case Kind::kGeluTanh: return "fn::gelu_tanh(" + value + ")";
    case Kind::kHardsigmoid: return "fn::hardsigmoid(" + value + ")";
    case Kind::kHardswish: return "fn::hardswish(" + value + ")";
  }
  KILN_CHECK_MSG(false, "an activation without text");
  return value;
}

}  // namespace kiln::cuda

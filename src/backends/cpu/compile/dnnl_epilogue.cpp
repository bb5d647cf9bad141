#include "backends/cpu/compile/dnnl_epilogue.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <optional>

#include "backends/cpu/compile/cpu_backend.h"
#include "backends/cpu/runtime/dnnl_api.h"
#include "ir/op_def.h"

namespace kiln {
namespace {

using Kind = DnnlPostOp::Kind;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr size_t kMaxSteps = 16;

DnnlBroadcast broadcast_of(Value* tensor, const Shape& result, size_t channel) {
  const Shape& shape = tensor->shape();
  if (shape == result) return DnnlBroadcast::kFull;
  if (shape.size() > result.size()) return DnnlBroadcast::kNone;
  if (is_one_element(tensor)) return DnnlBroadcast::kScalar;
  return is_per_channel(tensor, result, channel) ? DnnlBroadcast::kChannel : DnnlBroadcast::kNone;
}

std::optional<DnnlPostOpParams> unary(Node& node) {
  auto plain = [](Kind kind, double alpha = 0, double beta = 0) {
    return DnnlPostOpParams{kind, static_cast<float>(alpha), static_cast<float>(beta)};
  };
  const std::string_view op = node.op_name();
  if (op == "relu") return plain(Kind::kRelu);
  if (op == "leaky_relu") return plain(Kind::kLeakyRelu, node.get_float("slope"));
  if (op == "elu" && node.get_float("scale") == 1 && node.get_float("input_scale") == 1) {
    return plain(Kind::kElu, node.get_float("alpha"));
  }
  if (op == "gelu") {
    return plain(node.get_string("approximate") == "tanh" ? Kind::kGeluTanh : Kind::kGeluErf);
  }
  if (op == "silu") return plain(Kind::kSilu);
  if (op == "hardswish") return plain(Kind::kHardswish);
  if (op == "hardsigmoid") return plain(Kind::kHardsigmoid);
  if (op == "sigmoid") return plain(Kind::kSigmoid);
  if (op == "tanh") return plain(Kind::kTanh);
  if (op == "neg") return plain(Kind::kLinear, -1, 0);
  if (op == "clamp") {
    const double low = node.get_bool("has_min") ? node.get_float("min") : -kInfinity;
    const double high = node.get_bool("has_max") ? node.get_float("max") : kInfinity;
    if (low <= high) return plain(Kind::kClip, low, high);  // not so with NaN
  }
  return {};
}

// y op number, or number op y where `reversed`.
std::optional<DnnlPostOpParams> with_number(std::string_view op, double number, bool reversed) {
  auto linear = [](double alpha, double beta) {
    return DnnlPostOpParams{Kind::kLinear, static_cast<float>(alpha), static_cast<float>(beta)};
  };
  if (op == "add") return linear(1, number);
  if (op == "sub") return reversed ? linear(-1, number) : linear(1, -number);
  if (op == "mul") return linear(number, 0);
  if (op == "div" && !reversed) {
    if (const auto reciprocal = exact_reciprocal(number)) return linear(*reciprocal, 0);
  }
  if (std::isnan(number)) return {};
  if (op == "maximum") {
    return DnnlPostOpParams{Kind::kClip, static_cast<float>(number), kInfinity};
  }
  if (op == "minimum") {
    return DnnlPostOpParams{Kind::kClip, -kInfinity, static_cast<float>(number)};
  }
  return {};
}

std::optional<Kind> binary_kind(std::string_view op) {
  if (op == "add") return Kind::kAdd;
  if (op == "sub") return Kind::kSub;
  if (op == "mul") return Kind::kMul;
  if (op == "div") return Kind::kDiv;
  if (op == "maximum") return Kind::kMax;
  if (op == "minimum") return Kind::kMin;
  return {};
}

// The post-ops of one node that takes `y`; empty when there are none.
std::vector<DnnlEpilogueStep> steps_of(Node& node, Value* y, size_t channel) {
  if (node.num_results() != 1 || !(node.result()->shape() == y->shape()) ||
      node.result()->dtype() != y->dtype()) {
    return {};
  }
  if (node.num_operands() == 1 && node.operand(0) == y) {
    if (const auto op = unary(node)) return {{*op}};
    return {};
  }
  if (node.num_operands() != 2 || node.operand(0) == node.operand(1)) return {};
  const bool reversed = node.operand(1) == y;
  if (!reversed && node.operand(0) != y) return {};
  Value* other = node.operand(reversed ? 0 : 1);
  if (!other->type.is_tensor() || other->dtype() != y->dtype()) return {};
  if (const auto number = number_of(other)) {
    if (const auto op = with_number(node.op_name(), *number, reversed)) return {{*op}};
    return {};
  }
  const auto kind = binary_kind(node.op_name());
  const DnnlBroadcast broadcast = broadcast_of(other, y->shape(), channel);
  if (!kind || broadcast == DnnlBroadcast::kNone) return {};
  const DnnlEpilogueStep with_tensor{{*kind}, broadcast, other};
  if (!reversed || node.op->has(kCommutative)) return {with_tensor};
  if (*kind != Kind::kSub) return {};
  return {{{Kind::kLinear, -1.0f, 0.0f}}, {{Kind::kAdd}, broadcast, other}};
}

}  // namespace

std::vector<DnnlEpilogueStep> map_dnnl_epilogue(Node& anchor, const std::vector<Node*>& epilogue,
                                                size_t channel) {
  std::vector<DnnlEpilogueStep> result;
  Value* y = anchor.result();
  for (size_t i = 0; i < epilogue.size(); ++i) {
    std::vector<DnnlEpilogueStep> steps = steps_of(*epilogue[i], y, channel);
    if (steps.empty() || result.size() + steps.size() > kMaxSteps) break;
    for (DnnlEpilogueStep& step : steps) {
      step.node = static_cast<int>(i);
      result.push_back(std::move(step));
    }
    y = epilogue[i]->result();
  }
  return result;
}

std::vector<DnnlPostOpParams> post_op_params(const std::vector<DnnlEpilogueStep>& steps) {
  std::vector<DnnlPostOpParams> params;
  for (const DnnlEpilogueStep& step : steps) params.push_back(step.op);
  return params;
}

std::vector<DnnlEpilogueStep> first_dnnl_steps(const std::vector<DnnlEpilogueStep>& steps,
                                               int nodes) {
  std::vector<DnnlEpilogueStep> result;
  for (const DnnlEpilogueStep& step : steps) {
    if (step.node < nodes) result.push_back(step);
  }
  return result;
}

Status check_dnnl_serves(DType dtype) {
  if (dtype != DType::kF32 && dtype != DType::kBF16 && dtype != DType::kF16) {
    return Status::error("K2411", "dtype " + std::string(dtype_name(dtype)));
  }
  return dnnl_api().status();
}

int dnnl_epilogue_length(Node& anchor, const std::vector<Node*>& epilogue) {
  if (anchor.is("conv") || anchor.is("conv_transpose")) {
    return dnnl_conv_epilogue_length(anchor, epilogue);
  }
  if (anchor.is("linear") || anchor.is("matmul")) {
    return dnnl_matmul_epilogue_length(anchor, epilogue);
  }
  return 0;
}

}  // namespace kiln

#include "fusion/anchor.h"

#include <algorithm>
#include <cmath>
#include <variant>

#include "base/check.h"
#include "core/host_tensor.h"
#include "ir/op_def.h"

namespace kiln {

Value* Anchor::outer(Value* value) const {
  if (value == nullptr || node == anchor) return value;
  const std::vector<Value*>& inputs = node->bodies[0]->inputs();
  const auto found = std::find(inputs.begin(), inputs.end(), value);
  KILN_CHECK_MSG(found != inputs.end(), "operand of an epilogue comes from inside");
  return node->operand(static_cast<int>(found - inputs.begin()));
}

std::string Anchor::label() const {
  std::string label(anchor->op_name());
  for (Node* next : epilogue) label += "+" + std::string(next->op_name());
  return label;
}

bool find_anchor(Node& node, std::initializer_list<std::string_view> ops, Anchor* out) {
  auto listed = [&](Node* candidate) {
    return std::find(ops.begin(), ops.end(), candidate->op_name()) != ops.end();
  };
  *out = {};
  out->node = &node;
  if (listed(&node)) {
    out->anchor = &node;
    return true;
  }
  if (!node.is("fused") || node.get_string("kind") != "epilogue") return false;
  for (Node* inner : node.bodies[0]->snapshot()) {
    if (inner->op->has(kSource)) continue;
    if (out->anchor == nullptr) {
      if (!listed(inner)) return false;
      out->anchor = inner;
    } else {
      out->epilogue.push_back(inner);
    }
  }
  return out->anchor != nullptr && node.num_results() == 1;
}

bool is_one_element(Value* value) {
  const Shape& shape = value->shape();
  return std::all_of(shape.begin(), shape.end(), [](const DimExpr& d) { return d.is_value(1); });
}

std::optional<double> number_of(Value* value) {
  Node* producer = value->producer();
  if (producer == nullptr || !is_one_element(value) || !is_float(value->dtype())) return {};
  if (producer->is("full")) return producer->get_float("value");
  if (!producer->is("constant")) return {};
  return std::get<HostTensor>(producer->attr("value")).get_double(0);
}

std::optional<double> exact_reciprocal(double x) {
  int exponent = 0;
  if (!std::isfinite(x) || std::fabs(std::frexp(x, &exponent)) != 0.5) return {};
  if (exponent < -100 || exponent > 100) return {};
  return 1.0 / x;
}

bool is_per_channel(Value* tensor, const Shape& result, size_t channel) {
  const Shape& shape = tensor->shape();
  if (shape.size() > result.size()) return false;
  const size_t missing = result.size() - shape.size();
  if (channel < missing) return false;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i + missing == channel ? !(shape[i] == result[channel]) : !shape[i].is_value(1)) {
      return false;
    }
  }
  return true;
}

}  // namespace kiln

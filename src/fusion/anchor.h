// A heavy node with what follows it, as kernels with epilogues see it: a bare node, or the body of
// a fusion of kind "epilogue".
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ir/graph.h"

namespace kiln {

struct Anchor {
  Node* node = nullptr;    // bare or fused: what is lowered
  Node* anchor = nullptr;  // the heavy one
  std::vector<Node*> epilogue;

  // The value outside that `value`, an operand inside, stands for; null for null.
  Value* outer(Value* value) const;
  std::string label() const;  // "conv+add+relu"
};

// True when `node` is one of `ops`, or an epilogue fusion around one.
bool find_anchor(Node& node, std::initializer_list<std::string_view> ops, Anchor* out);

bool is_one_element(Value* value);
// The number that the value is, where outlining takes it along.
std::optional<double> number_of(Value* value);
// 1 / x, where that loses nothing.
std::optional<double> exact_reciprocal(double x);
// One element per channel of a result of shape `result`, whose channels are dim `channel`?
bool is_per_channel(Value* tensor, const Shape& result, size_t channel);

}  // namespace kiln

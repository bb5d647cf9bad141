// Questions about values that several passes ask.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "ir/module.h"

namespace kiln {

// One number that all elements of a value share.
struct Splat {
  DType dtype = DType::kF32;
  double number = 0;                               // floats; integers too, rounded beyond 2^53
  int64_t integer = 0;                             // integers and bool
  bool is(double n) const { return number == n; }  // -0 is 0
  bool is_true() const { return dtype == DType::kBool && integer != 0; }
  bool is_false() const { return dtype == DType::kBool && integer == 0; }
};

// The number when the graph says that all elements are equal: `full`, an even `constant`, views of
// them, and constants of main whose init value is one of these. Values without elements have none.
std::optional<Splat> splat_of(Module& module, Value* value);

// Known before the first run: a constant of main, or a source (constant, full, iota) without
// symbols.
bool is_known(Value* value);

// Every dim is the constant 1 (rank 0 included).
bool has_one_element(Value* value);

// The producer when it is a node of this op, else null.
Node* producer_of(Value* value, std::string_view op);

// Equal trailing dims of two shapes, counted from the end.
int common_suffix(const Shape& a, const Shape& b);

// All dims are constants and their product is at most `limit`; the product.
std::optional<int64_t> static_elements(const Shape& shape, int64_t limit);

}  // namespace kiln

// What the normalisations share: the rule for their parameters, and the fp64 core.
#pragma once

#include <vector>

#include "ir/op_def.h"

namespace kiln {

// Operands [first, last], where present, have `shape` (K2204) and all one dtype (K2203): that of x,
// or f32 beside a 16-bit x, as torch's mixed mode has it.
Status check_parameters(const OpContext& ctx, int first, int last, const Shape& shape);

// K2205 unless eps is finite and not negative.
Status check_eps(const OpContext& ctx);

// Mean and 1 / sqrt(population variance + eps) of x[begin, begin + count), in fp64.
struct Moments {
  double mean = 0, inverse_deviation = 0;
};
Moments moments_of(const HostTensor& x, int64_t begin, int64_t count, double eps);

// Element of an optional parameter, or `absent`.
inline double parameter_or(const ReferenceContext& ctx, int operand, int64_t i, double absent) {
  return ctx.has(operand) ? ctx.in(operand).get_double(i) : absent;
}

}  // namespace kiln

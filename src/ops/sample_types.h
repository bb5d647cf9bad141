// Pieces that the samples() functions of ops share.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "ir/op_def.h"

namespace kiln {

// Relative to the rms of the reference: a few units in the last place of a result that was computed
// in fp32 (fp64 for f64) and rounded once. 0 for dtypes without rounding.
inline double default_tolerance(DType dtype) {
  switch (dtype) {
    case DType::kF64: return 1e-12;
    case DType::kF32: return 1e-5;
    case DType::kF16: return 2e-3;
    case DType::kBF16: return 1.6e-2;
    default: return 0;
  }
}

// A sample whose tolerance follows from the dtype of its first operand.
inline OpSample make_sample(std::string why, std::vector<std::optional<Type>> operands,
                            AttrList attrs = {}, std::vector<OpSample::Fill> fill = {}) {
  OpSample sample;
  sample.why = std::move(why);
  if (!operands.empty() && operands[0] && operands[0]->is_tensor())
    sample.tolerance = default_tolerance(operands[0]->tensor().dtype);
  sample.operands = std::move(operands);
  sample.attrs = std::move(attrs);
  sample.fill = std::move(fill);
  return sample;
}

inline std::optional<Type> tensor_of(DType dtype, Shape shape) {
  return Type(dtype, std::move(shape));
}

}  // namespace kiln

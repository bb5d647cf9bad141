// A product of strided matrices in the terms of cuBLASLt: column-major matrices with one batch
// stride each.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include <kiln/status.h>

#include "runtime/step.h"

namespace kiln::cuda {

// The operands of d = a b + c, by position in arrays.
enum MatmulOperand : int { kMatmulA, kMatmulB, kMatmulC, kMatmulD };

struct ColumnMajorMatrix {
  int64_t rows = 0, columns = 0;  // as stored
  int64_t leading = 0;            // elements from one column to the next
  int64_t batch_stride = 0;       // elements
  bool transposed = false;        // used as its transpose (a and b only)
};

// d [m, n] = op(a) [m, k] op(b) [k, n] + c, column-major: what is row-major outside is the
// transpose here, so that usually `swapped` holds and a is the second operand outside.
struct CublasLtProblem {
  int64_t m = 0, n = 0, k = 0;
  int64_t batch = 1;
  bool swapped = true;
  std::array<ColumnMajorMatrix, 4> matrices;  // by MatmulOperand, c like d
  // One call each, with these offsets (elements) added to the operands: batch dims that one stride
  // cannot walk. At least one, unless the result is empty.
  std::vector<std::array<int64_t, 4>> calls;

  std::string to_string() const;
};

// Of views a [batch..., m, k], b [batch..., k, n], d [batch..., m, n] of one rank, batch dims of a
// and b d's or 1; `c` as d, or null. K3212 when they do not fit, when an operand has no unit stride
// in its last two dims, overlaps itself, or needs more than kMaxCalls calls. With `bias` (one
// element a column of d) the rows of d must lie dense.
constexpr size_t kMaxMatmulCalls = 4096;
Result<CublasLtProblem> describe_matmul(const ConcreteView& a, const ConcreteView& b,
                                        const ConcreteView* c, const ConcreteView& d, bool bias);

}  // namespace kiln::cuda

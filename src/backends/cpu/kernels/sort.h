// sort, argsort and topk along one dim.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backends/cpu/kernels/dims.h"
#include "base/status.h"
#include "core/dtype.h"

namespace kiln::cpu {

// Order of torch: NaN is larger than every number. Equal values keep their order (stable), also in
// topk, where the first of equal values comes first.
struct SortParams {
  DType dtype = DType::kF32;
  int rank = 1;  // a 0-d tensor is given as rank 1, size 1
  int dim = 0;
  Dims sizes{}, src_strides{};            // elements
  Dims value_strides{}, index_strides{};  // of the results
  bool descending = false;                // topk: the largest
  // topk: how many along dim, in [0, size of dim]; -1 sorts all.
  int64_t k = -1;
  bool sorted = true;  // topk: false leaves the chosen ones in order of their position

  Status validate() const;  // K4311: sizes, dim; K4314: k out of range
};

// Bytes for `threads` >= 1.
size_t sort_scratch_bytes(const SortParams& params, int threads);

// Values and i64 positions along dim; either may be null.
void sort(const SortParams& params, const void* src, void* values, int64_t* indices, void* scratch,
          int threads);

}  // namespace kiln::cpu

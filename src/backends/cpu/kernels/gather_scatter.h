// torch.gather and the scatter family: an index tensor picks the position along one dim.
//
// For every position of the index tensor, place(position) is that position with its coordinate
// along `dim` replaced by the index: gather reads table[place], scatter writes it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backends/cpu/kernels/dims.h"
#include "backends/cpu/kernels/index.h"
#include "base/status.h"
#include "core/dtype.h"

namespace kiln::cpu {

struct GatherParams {
  const char* op = "gather";  // for messages
  DType dtype = DType::kF32;
  IndexType index_type = IndexType::kI64;
  int rank = 0;  // of all three tensors, as torch demands; a 0-d tensor is given as rank 1, size 1
  int dim = 0;
  int64_t dim_size = 0;                                    // of the table along dim
  Dims sizes{};                                            // of the index tensor
  Dims index_strides{}, table_strides{}, dense_strides{};  // elements

  Status validate() const;  // K4311
};

// dense[position] = table[place]. K4312 names the first index outside [0, dim_size); dense is then
// unchanged.
Status gather(const GatherParams& params, const void* table, const void* index, void* dense);

enum class ScatterReduce : uint8_t { kReplace, kSum, kProd, kMean, kMax, kMin };

// Bytes for `threads` >= 1; only kMean needs any.
size_t scatter_scratch_bytes(const GatherParams& params, ScatterReduce reduce, int threads);

// table[place] = dense[position], or their sum, product, ... in the order of the positions along
// dim, so the result does not depend on threads. Without include_self the old values of the places
// that are hit do not take part (scatter_reduce); places that are not hit always keep theirs. Dense
// strides may be 0 (scatter of one value). A mean of integers rounds down. K4312 as above, with
// table unchanged.
Status scatter(const GatherParams& params, ScatterReduce reduce, bool include_self,
               const void* dense, const void* index, void* table, void* scratch, int threads);

}  // namespace kiln::cpu

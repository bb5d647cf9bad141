// Reading and writing at positions that tensors of indices give: embedding, index_select,
// x[i0, :, i1], index_put.
//
// The indexed tensor ("table") has `index_count` dims that are indexed, by integer tensors of one
// common broadcast shape, and slice dims that are taken whole. The other tensor ("dense": the
// result of a gather, the values of a put) has the index dims and the slice dims, in any order that
// its strides say. embedding: one index, the rows as slice. index_select along d: one index of
// rank 1.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backends/cpu/kernels/dims.h"
#include "base/status.h"
#include "core/dtype.h"

namespace kiln::cpu {

enum class IndexType : uint8_t { kI32, kI64 };

struct IndexParams {
  const char* op = "index";  // for messages, as the user knows it: "embedding", "index_select"
  int element_bytes = 4;     // of table and dense
  IndexType index_type = IndexType::kI64;
  bool allow_negative = false;  // -1 is the last (advanced indexing; not embedding, index_select)

  int index_count = 1;                         // indexed dims of the table
  Dims table_sizes{}, table_strides{};         // of those dims
  int index_rank = 0;                          // common shape of the index tensors
  Dims index_sizes{}, index_dense_strides{};   //
  std::array<Dims, kMaxRank> index_strides{};  // of each index tensor; 0 broadcasts

  int slice_rank = 0;
  Dims slice_sizes{}, slice_table_strides{}, slice_dense_strides{};

  Status validate() const;  // K4311
};

// For the checked table offsets, one for each index position.
size_t index_scratch_bytes(const IndexParams& params);

// dense[position, slice] = table[indices at position, slice]. K4312 names the index that is out of
// range; `dense` is then unchanged. `indices` has index_count pointers.
Status index_gather(const IndexParams& params, const void* table, const void* const* indices,
                    void* dense, void* scratch);

// table[indices at position, slice] = dense[position, slice], or += with `accumulate`, in the order
// of the positions, so that of equal indices the last one wins. `dtype` (of element_bytes) is
// needed to accumulate; bool adds as logical or. Dense strides may be 0 (broadcast values). K4312
// as above, with `table` unchanged.
Status index_put(const IndexParams& params, DType dtype, bool accumulate, const void* dense,
                 const void* const* indices, void* table, void* scratch);

}  // namespace kiln::cpu

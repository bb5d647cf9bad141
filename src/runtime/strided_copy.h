// Copies between two strided tensors of one shape: for inputs and outputs whose strides differ from
// the program's. Steps inside programs use the backend's kernels instead.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kiln {

inline constexpr int kMaxRank = 16;

// Strides in elements, `element` bytes each (1, 2, 4, 8 or 16). Source and target do not overlap.
// rank <= kMaxRank.
void strided_copy(const void* source, const int64_t* source_strides, void* target,
                  const int64_t* target_strides, const int64_t* dims, int rank, size_t element);

}  // namespace kiln

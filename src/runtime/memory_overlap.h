// Whether tensors of a caller share memory.
#pragma once

#include <cstdint>

#include <kiln/tensor.h>

namespace kiln {

// Bytes [low, high) that a caller's view touches; empty for a tensor without elements.
struct MemorySpan {
  uintptr_t low = 0, high = 0;
  bool overlaps(const MemorySpan& other) const {
    return low < high && other.low < other.high && low < other.high && other.low < high;
  }
};
MemorySpan span_of(const TensorView& view);

// Do they have a byte in common? Exact; walks the elements of both when their spans overlap.
bool share_memory(const TensorView& a, const TensorView& b);

// The first dim along which all elements are one (stride 0 and more than one of them); -1: none.
// Like torch's check before it writes a tensor, this does not see windows that overlap in part.
int repeated_dim(const TensorView& view);

}  // namespace kiln

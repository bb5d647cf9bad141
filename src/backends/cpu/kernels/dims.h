// Sizes and strides of the movement kernels, and the walk over an index space that they share.
#pragma once

#include <array>
#include <cstdint>

namespace kiln::cpu {

inline constexpr int kMaxRank = 16;
using Dims = std::array<int64_t, kMaxRank>;  // only the first `rank` entries count

inline int64_t element_count(int rank, const Dims& sizes) {
  int64_t count = 1;
  for (int i = 0; i < rank; ++i) count *= sizes[i];
  return count;
}

// Stable sort of a few things; std::stable_sort would allocate.
template <class T, class Less>
void insertion_sort(T* items, int count, Less&& less) {
  for (int i = 1; i < count; ++i) {
    const T item = items[i];
    int at = i;
    for (; at > 0 && less(item, items[at - 1]); --at) items[at] = items[at - 1];
    items[at] = item;
  }
}

// Visits a row-major index space in order from any position on and keeps, for each of N operands,
// the sum of index * stride. No size may be 0.
template <int N>
class OffsetWalk {
 public:
  OffsetWalk(int rank, const Dims& sizes, const std::array<const Dims*, N>& strides,
             int64_t position)
      : rank_(rank), sizes_(sizes), strides_(strides) {
    for (int d = rank - 1; d >= 0; --d) {
      index_[d] = position % sizes[d];
      position /= sizes[d];
      for (int k = 0; k < N; ++k) offsets_[k] += index_[d] * (*strides[k])[d];
    }
  }

  int64_t offset(int k) const { return offsets_[k]; }
  int64_t index(int d) const { return index_[d]; }

  void next() {
    for (int d = rank_ - 1; d >= 0; --d) {
      if (++index_[d] < sizes_[d]) {
        for (int k = 0; k < N; ++k) offsets_[k] += (*strides_[k])[d];
        return;
      }
      for (int k = 0; k < N; ++k) offsets_[k] -= (*strides_[k])[d] * (sizes_[d] - 1);
      index_[d] = 0;
    }
  }

 private:
  int rank_;
  const Dims& sizes_;
  std::array<const Dims*, N> strides_;
  Dims index_{};
  std::array<int64_t, N> offsets_{};
};

}  // namespace kiln::cpu

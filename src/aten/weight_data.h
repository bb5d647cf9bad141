// Bytes of a captured weight: borrowed when contiguous, copied otherwise.
#pragma once

#include <kiln/capture.h>

#include <cstdint>
#include <map>
#include <vector>

#include "ir/module.h"

namespace kiln {

bool is_contiguous(const CaptureWeight& weight);

// Bytes [low, high) between the first and the last element.
struct MemorySpan {
  uintptr_t low = 0, high = 0;
  bool overlaps(const MemorySpan& other) const { return low < other.high && other.low < high; }
};
MemorySpan span_of(const CaptureWeight& weight);

// Finds which of many spans have memory in common.
class MemorySpans {
 public:
  // Adds the next span; returns the numbers of earlier ones that overlap it, ascending.
  std::vector<int32_t> add(const MemorySpan& span);

 private:
  struct Region {
    uintptr_t high = 0;
    std::vector<int32_t> members;
  };
  std::vector<MemorySpan> spans_;
  std::map<uintptr_t, Region> regions_;  // unions of spans, disjoint, by their low ends
};

// `bytes` is the size of the contiguous tensor. Rank is at most 16.
WeightData borrow_or_copy(const CaptureWeight& weight, size_t bytes);

}  // namespace kiln

#include "aten/weight_data.h"

#include <gtest/gtest.h>

#include <random>

namespace kiln {
namespace {

TEST(MemorySpans, FindsWhatComparingAllPairsFinds) {
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    MemorySpans spans;
    std::vector<MemorySpan> all;
    // From few long spans, which run together, to many short ones that touch.
    const uintptr_t space = round % 2 == 0 ? 64 : 4096, longest = 1 + round % 23;
    for (int i = 0; i < 60; ++i) {
      const uintptr_t low = 16 + random() % space;
      const MemorySpan span{low, low + random() % (longest + 1)};
      std::vector<int32_t> expected;
      for (size_t k = 0; k < all.size(); ++k) {
        const bool empty = span.low == span.high || all[k].low == all[k].high;
        if (!empty && span.overlaps(all[k])) expected.push_back(static_cast<int32_t>(k));
      }
      ASSERT_EQ(spans.add(span), expected) << "round " << round << " span " << i;
      all.push_back(span);
    }
  }
}

}  // namespace
}  // namespace kiln

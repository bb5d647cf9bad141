#include "runtime/arena.h"

#include <gtest/gtest.h>

#include <random>

namespace kiln {
namespace {

void expect_valid(const std::vector<ArenaRequest>& requests, const ArenaLayout& layout) {
  ASSERT_EQ(layout.offsets.size(), requests.size());
  int64_t end = 0;
  for (size_t i = 0; i < requests.size(); ++i) {
    ASSERT_GE(layout.offsets[i], 0);
    ASSERT_EQ(layout.offsets[i] % 64, 0);
    ASSERT_LE(layout.offsets[i] + requests[i].bytes, layout.bytes);
    end = std::max(end, layout.offsets[i] + requests[i].bytes);
    for (size_t j = 0; j < i; ++j) {
      const bool alive_together =
          requests[i].first <= requests[j].last && requests[j].first <= requests[i].last;
      const bool overlap = layout.offsets[i] < layout.offsets[j] + requests[j].bytes &&
                           layout.offsets[j] < layout.offsets[i] + requests[i].bytes;
      ASSERT_FALSE(alive_together && overlap) << i << " and " << j;
    }
  }
  EXPECT_LE(layout.bytes - end, 63);
}

// No layout is smaller than the most that is alive at once.
int64_t lower_bound(const std::vector<ArenaRequest>& requests) {
  int64_t most = 0;
  for (const ArenaRequest& at : requests) {
    int64_t alive = 0;
    for (const ArenaRequest& r : requests) {
      if (r.first <= at.first && at.first <= r.last) alive += (r.bytes + 63) / 64 * 64;
    }
    most = std::max(most, alive);
  }
  return most;
}

TEST(Arena, Empty) {
  EXPECT_EQ(plan_arena({}).bytes, 0);
  expect_valid({{0, 0, 5}, {0, 1, 2}}, plan_arena({{0, 0, 5}, {0, 1, 2}}));
}

TEST(Arena, ChainUsesTwoBuffers) {
  std::vector<ArenaRequest> requests;
  for (int i = 0; i < 20; ++i) requests.push_back({1000, i, i + 1});
  const ArenaLayout layout = plan_arena(requests);
  expect_valid(requests, layout);
  EXPECT_EQ(layout.bytes, 2 * 1024);
}

TEST(Arena, TouchingLifetimesAreAliveTogether) {
  // The second is written in the step that reads the first.
  const std::vector<ArenaRequest> requests = {{64, 0, 1}, {64, 1, 2}, {64, 2, 3}};
  const ArenaLayout layout = plan_arena(requests);
  expect_valid(requests, layout);
  EXPECT_EQ(layout.bytes, 128);
}

TEST(Arena, RandomLifetimes) {
  std::mt19937 random(1);
  double waste = 0;
  for (int round = 0; round < 300; ++round) {
    std::vector<ArenaRequest> requests(1 + random() % 60);
    for (ArenaRequest& r : requests) {
      r.first = static_cast<int>(random() % 40);
      r.last = r.first + static_cast<int>(random() % (1 + random() % 20));
      r.bytes = static_cast<int64_t>(random() % (1 + random() % 5000));
    }
    const ArenaLayout layout = plan_arena(requests);
    expect_valid(requests, layout);
    const int64_t bound = lower_bound(requests);
    ASSERT_GE(layout.bytes, bound - 63);
    waste += bound == 0 ? 0 : static_cast<double>(layout.bytes) / static_cast<double>(bound) - 1;
  }
  EXPECT_LT(waste / 300, 0.10);  // the greedy rule is good on average
}

}  // namespace
}  // namespace kiln

#include "base/parallel_for.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

namespace kiln {
namespace {

// Every index exactly once, parts of at least the grain, no more than the threads allow.
void check_cover(int64_t n, int64_t grain, int threads) {
  ScopedNumThreads scope(threads);
  std::vector<int> touched(static_cast<size_t>(n), 0);
  std::atomic<int> parts{0};
  std::atomic<int64_t> smallest{n};
  parallel_for(n, grain, [&](int64_t begin, int64_t end) {
    ++parts;
    int64_t seen = smallest.load();
    while (end - begin < seen && !smallest.compare_exchange_weak(seen, end - begin)) {
    }
    for (int64_t i = begin; i < end; ++i) ++touched[static_cast<size_t>(i)];
  });
  EXPECT_EQ(std::count(touched.begin(), touched.end(), 1), n) << n << ' ' << grain;
  EXPECT_LE(parts, threads);
  EXPECT_GE(smallest, std::min(n, std::max<int64_t>(1, grain)));
  // Work that can be split is split.
  EXPECT_EQ(parts,
            std::min<int64_t>(threads, std::max<int64_t>(1, n / std::max<int64_t>(1, grain))));
}

TEST(ParallelFor, CoversEveryIndexOnce) {
  for (int threads : {1, 2, 3, 4, 7}) {
    for (int64_t n : {1, 2, 3, 5, 8, 100, 1001}) {
      for (int64_t grain : {-1, 0, 1, 2, 7, 64, 5000}) check_cover(n, grain, threads);
    }
  }
}

TEST(ParallelFor, NothingToDo) {
  bool called = false;
  parallel_for(0, 1, [&](int64_t, int64_t) { called = true; });
  parallel_for(-5, 1, [&](int64_t, int64_t) { called = true; });
  EXPECT_FALSE(called);
}

TEST(ParallelFor, LimitNestsAndReturns) {
  const int before = num_threads();
  EXPECT_GE(before, 1);
  {
    ScopedNumThreads outer(3);
    EXPECT_EQ(num_threads(), 3);
    {
      ScopedNumThreads inner(2);
      EXPECT_EQ(num_threads(), 2);
      ScopedNumThreads none(0);
      EXPECT_EQ(num_threads(), 2);
    }
    EXPECT_EQ(num_threads(), 3);
    std::thread([&] { EXPECT_EQ(num_threads(), before); }).join();
  }
  EXPECT_EQ(num_threads(), before);
}

TEST(ParallelFor, NestedCallsRunOnTheSameThread) {
  ScopedNumThreads scope(4);
  std::atomic<int> inner_calls{0};
  parallel_for(4, 1, [&](int64_t, int64_t) {
    EXPECT_EQ(num_threads(), 1);
    const int index = thread_index();
    const auto self = std::this_thread::get_id();
    parallel_for(100, 1, [&](int64_t begin, int64_t end) {
      EXPECT_EQ(std::this_thread::get_id(), self);
      EXPECT_EQ(thread_index(), index);
      EXPECT_EQ(begin, 0);
      EXPECT_EQ(end, 100);
      ++inner_calls;
    });
  });
  EXPECT_EQ(inner_calls, 4);
}

TEST(ParallelFor, ThreadIndexIsUniqueAmongParts) {
  ScopedNumThreads scope(4);
  EXPECT_EQ(thread_index(), 0);
  for (int round = 0; round < 50; ++round) {
    std::vector<int> scratch(4, 0);  // written without a lock, as kernels write theirs
    parallel_for(1000, 1, [&](int64_t begin, int64_t end) {
      const int index = thread_index();
      ASSERT_GE(index, 0);
      ASSERT_LT(index, 4);
      for (int64_t i = begin; i < end; ++i) ++scratch[static_cast<size_t>(index)];
    });
    for (int count : scratch) EXPECT_EQ(count, 250);
  }
  EXPECT_EQ(thread_index(), 0);
}

TEST(ParallelFor, ExceptionsArriveAfterAllParts) {
  ScopedNumThreads scope(4);
  for (int round = 0; round < 20; ++round) {
    std::atomic<int> parts{0};
    EXPECT_THROW(parallel_for(4, 1,
                              [&](int64_t begin, int64_t) {
                                ++parts;
                                if (begin % 2 == 1) throw std::runtime_error("odd");
                              }),
                 std::runtime_error);
    EXPECT_EQ(parts, 4);
    EXPECT_GT(num_threads(), 1);
    EXPECT_EQ(thread_index(), 0);
  }
}

TEST(ParallelFor, WritesAreSeenByTheCaller) {
  ScopedNumThreads scope(3);
  std::vector<int64_t> values(300, 0);
  for (int64_t round = 1; round <= 200; ++round) {
    parallel_for(300, 1, [&](int64_t begin, int64_t end) {
      // Reads what another thread may have written in the round before.
      for (int64_t i = begin; i < end; ++i) values[static_cast<size_t>(299 - i)] += round;
    });
  }
  for (int64_t value : values) EXPECT_EQ(value, 200 * 201 / 2);
}

TEST(ParallelFor, SeveralCallersAtOnce) {
  constexpr int kCallers = 8;
  std::vector<int64_t> sums(kCallers, 0);
  std::vector<std::thread> callers;
  for (int caller = 0; caller < kCallers; ++caller) {
    callers.emplace_back([&, caller] {
      ScopedNumThreads scope(1 + caller % 4);
      for (int round = 0; round < 100; ++round) {
        std::atomic<int64_t> sum{0};
        parallel_for(64, 1, [&](int64_t begin, int64_t end) {
          int64_t part = 0;
          for (int64_t i = begin; i < end; ++i) part += i;
          sum += part;
        });
        sums[static_cast<size_t>(caller)] += sum;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  for (int64_t sum : sums) EXPECT_EQ(sum, 100 * 64 * 63 / 2);
}

TEST(ParallelFor, MoreThreadsThanCpus) { check_cover(1000, 1, 32); }

TEST(FunctionRef, TakesLambdasPointersAndConstObjects) {
  int64_t total = 0;
  const auto add = [&total](int64_t n) { return total += n; };
  const FunctionRef<int64_t(int64_t)> ref = add;
  ref(3);
  EXPECT_EQ(ref(4), 7);
  int (*const function)(int) = std::abs;
  const FunctionRef<int(int)> absolute = function;
  EXPECT_EQ(absolute(-5), 5);
  auto owner = std::make_unique<int>(9);
  const auto take = [](std::unique_ptr<int> p) { return *p; };
  const FunctionRef<int(std::unique_ptr<int>)> consume = take;
  EXPECT_EQ(consume(std::move(owner)), 9);
}

}  // namespace
}  // namespace kiln

// The pool of constants: by content, weak, shared by threads.
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "runtime/constant_pool.h"
#include "runtime/memory.h"

namespace kiln {
namespace {

ConstantData constant(size_t bytes, char value, const std::string& format = "") {
  const std::shared_ptr<void> owner = allocate_block(bytes);
  std::memset(owner.get(), value, bytes);
  return {owner.get(), bytes, format, owner};
}

TEST(ConstantPool, ByContentSizeAndFormat) {
  ConstantPool pool;
  const ConstantData a = pool.intern(constant(100'000, 1));
  EXPECT_EQ(pool.intern(constant(100'000, 1)).data, a.data);
  EXPECT_EQ(pool.intern(a).data, a.data);
  const ConstantData other_size = pool.intern(constant(99'999, 1));
  const ConstantData other_format = pool.intern(constant(100'000, 1, "blocked"));
  EXPECT_NE(other_size.data, a.data);
  EXPECT_NE(other_format.data, a.data);
  EXPECT_EQ(other_format.format, "blocked");
  EXPECT_EQ(pool.size(), 3u);
}

// Bytes that the sample does not look at count as well.
TEST(ConstantPool, EveryByteCounts) {
  ConstantPool pool;
  const ConstantData a = pool.intern(constant(20'000, 1));
  for (size_t i = 0; i < 20'000; i += 7) {
    ConstantData b = constant(20'000, 1);
    static_cast<char*>(b.data)[i] = 2;
    ASSERT_EQ(pool.intern(b).data, b.data) << i;
  }
  EXPECT_EQ(pool.size(), 1u);
}

TEST(ConstantPool, WhatNobodyHoldsIsFreed) {
  ConstantPool pool;
  std::weak_ptr<void> watched;
  {
    const ConstantData a = pool.intern(constant(5000, 1));
    watched = a.owner;
    EXPECT_EQ(pool.size(), 1u);
  }
  EXPECT_TRUE(watched.expired());
  EXPECT_EQ(pool.size(), 0u);
  // Without anybody asking for the size, dead entries do not pile up either: see sweep().
  for (int i = 0; i < 1000; ++i) pool.intern(constant(64, static_cast<char>(i)));
  const ConstantData b = pool.intern(constant(5000, 1));
  EXPECT_EQ(pool.size(), 1u);
}

TEST(ConstantPool, FromManyThreads) {
  ConstantPool pool;
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int round = 0; round < 300; ++round) {
        const auto value = static_cast<char>(round % 5);
        const ConstantData got = pool.intern(constant(3000, value));
        for (size_t i = 0; i < got.bytes; ++i) wrong += static_cast<char*>(got.data)[i] != value;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(pool.size(), 0u);
}

}  // namespace
}  // namespace kiln

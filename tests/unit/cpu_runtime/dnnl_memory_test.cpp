#include "backends/cpu/runtime/dnnl_memory.h"

#include "backends/cpu/runtime/dnnl_reorder.h"
#include "dnnl_test_support.h"

namespace kiln {
namespace {

using namespace dnnl_test;
using DnnlMemoryTest = DnnlTest;

TEST(DnnlTensorTest, Strides) {
  EXPECT_EQ(DnnlTensor::dense({2, 3, 4, 5}).strides, (std::vector<int64_t>{60, 20, 5, 1}));
  EXPECT_EQ(DnnlTensor::channels_last({2, 3, 4, 5}).strides, (std::vector<int64_t>{60, 1, 15, 3}));
  EXPECT_EQ(DnnlTensor::channels_last({2, 3}).strides, (std::vector<int64_t>{3, 1}));
}

TEST(DnnlTensorTest, CanonicalStridesTouchOnlyDimsOfSizeOne) {
  const DnnlTensor odd{DType::kF32, {1, 8, 1, 5}, {3, 1, 99, 8}};
  EXPECT_EQ(dnnl_canonical_strides(odd, {0, 2, 3, 1}), (std::vector<int64_t>{40, 1, 40, 8}));
  const DnnlTensor gaps{DType::kF32, {2, 8, 3, 5}, {1000, 1, 100, 16}};
  EXPECT_EQ(dnnl_canonical_strides(gaps, {0, 2, 3, 1}), gaps.strides);
}

TEST_F(DnnlMemoryTest, LayoutsCompareAndPrint) {
  const auto a = DnnlLayout::strided(DnnlTensor::channels_last({2, 3, 4, 5}));
  const auto b = DnnlLayout::strided(DnnlTensor::channels_last({2, 3, 4, 5}));
  const auto c = DnnlLayout::strided(DnnlTensor::dense({2, 3, 4, 5}));
  ASSERT_TRUE(a.ok() && b.ok() && c.ok());
  EXPECT_EQ(*a, *b);
  EXPECT_FALSE(*a == *c);
  EXPECT_FALSE(*a == DnnlLayout());
  EXPECT_EQ(DnnlLayout(), DnnlLayout());
  EXPECT_EQ(a->bytes(), 480u);
  EXPECT_EQ(a->to_string(), "f32[2,3,4,5] acdb");
  EXPECT_EQ(c->to_string(), "f32[2,3,4,5] abcd");
  const auto any = DnnlLayout::chosen_by_library({2, 3}, DType::kF32);
  ASSERT_TRUE(any.ok());
  EXPECT_EQ(any->to_string(), "f32[2,3] any");
}

TEST_F(DnnlMemoryTest, WhatOneDnnCannotTakeIsRefused) {
  EXPECT_EQ(DnnlLayout::strided(DnnlTensor::dense({2, 3}, DType::kI64)).status().code(), "K4601");
  EXPECT_EQ(DnnlLayout::strided(DnnlTensor::dense({})).status().code(), "K4601");
  EXPECT_EQ(DnnlLayout::strided(with_strides({2, 3}, {-3, 1})).status().code(), "K4601");
  EXPECT_EQ(DnnlLayout::strided(with_strides({2, 3}, {0, 1})).status().code(), "K4601");
  EXPECT_EQ(DnnlLayout::strided(DnnlTensor::dense({2, 0})).status().code(), "K4601");
  EXPECT_TRUE(DnnlLayout::strided(with_strides({1, 3}, {0, 1})).ok());
}

TEST_F(DnnlMemoryTest, ReorderMovesEveryElementAndNothingElse) {
  const std::pair<DnnlTensor, DnnlTensor> cases[] = {
      {DnnlTensor::dense({2, 19, 5, 7}), DnnlTensor::channels_last({2, 19, 5, 7})},
      {DnnlTensor::channels_last({2, 19, 5, 7}), DnnlTensor::dense({2, 19, 5, 7})},
      {DnnlTensor::dense({33, 17}), with_strides({33, 17}, {1, 40})},
      {with_strides({3, 4, 5}, {100, 20, 2}), DnnlTensor::dense({3, 4, 5})},
  };
  for (const auto& [from, to] : cases) {
    const auto from_layout = DnnlLayout::strided(from), to_layout = DnnlLayout::strided(to);
    ASSERT_TRUE(from_layout.ok() && to_layout.ok());
    Tensor x(from), y(to), z(to);
    x.fill_integers(7, -1000, 1000);
    const Status copied = dnnl_copy(*from_layout, x.data(), *to_layout, z.data());
    ASSERT_TRUE(copied.ok()) << copied.to_string();
    const auto reorder = DnnlReorder::create(*from_layout, *to_layout);
    ASSERT_TRUE(reorder.ok()) << reorder.status().to_string();
    SCOPED_TRACE((*reorder)->implementation());
    Scratch scratch((*reorder)->scratchpad_bytes());
    ASSERT_TRUE((*reorder)->run(x.data(), y.data(), scratch.data()).ok());
    for_each_index(from.dims, [&](const Index& i) {
      ASSERT_EQ(y[i], x[i]);
      ASSERT_EQ(z[i], x[i]);
    });
    y.expect_guards_intact();
    z.expect_guards_intact();
  }
}

TEST_F(DnnlMemoryTest, CopyBetweenDtypesRounds) {
  const auto f32 = DnnlLayout::strided(DnnlTensor::dense({4}));
  const auto bf16 = DnnlLayout::strided(DnnlTensor::dense({4}, DType::kBF16));
  ASSERT_TRUE(f32.ok() && bf16.ok());
  EXPECT_EQ(bf16->bytes(), 8u);
  const float x[4] = {1.0f, -2.5f, 3.14159f, 1e30f};
  uint16_t half[4] = {};
  const Status copied = dnnl_copy(*f32, x, *bf16, half);
  ASSERT_TRUE(copied.ok()) << copied.to_string();
  for (int i = 0; i < 4; ++i) EXPECT_EQ(half[i], f32_to_bf16(x[i])) << i;
}

TEST_F(DnnlMemoryTest, DifferentDimsDoNotCopy) {
  const auto a = DnnlLayout::strided(DnnlTensor::dense({4}));
  const auto b = DnnlLayout::strided(DnnlTensor::dense({5}));
  float buffer[5] = {};
  EXPECT_EQ(dnnl_copy(*a, buffer, *b, buffer).code(), "K4601");
}

}  // namespace
}  // namespace kiln

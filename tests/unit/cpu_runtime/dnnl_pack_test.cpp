// Packing by Kiln's own copies against oneDNN's reorders, byte for byte.
#include "backends/cpu/runtime/dnnl_pack.h"

#include <cstring>

#include "backends/cpu/runtime/dnnl_conv.h"
#include "backends/cpu/runtime/dnnl_matmul.h"
#include "backends/cpu/runtime/dnnl_reorder.h"
#include "backends/cpu/runtime/dnnl_table.h"
#include "dnnl_test_support.h"
#include "unit/cpu_kernels/simd_targets.h"

namespace kiln {
namespace {

using namespace dnnl_test;
using DnnlPackTest = DnnlTest;

DnnlLayout tagged(const std::vector<int64_t>& dims, dnnl_format_tag_t tag) {
  dnnl_dims_t c_dims{};
  std::copy(dims.begin(), dims.end(), c_dims);
  dnnl_memory_desc_t desc = nullptr;
  const DnnlApi* api = *dnnl_api();
  EXPECT_EQ(api->dnnl_memory_desc_create_with_tag(&desc, static_cast<int>(dims.size()), c_dims,
                                                  dnnl_f32, tag),
            dnnl_success);
  DnnlLayout layout = DnnlLayout::copy_of(desc).value();
  api->dnnl_memory_desc_destroy(desc);
  return layout;
}

bool packs_as_onednn_here(const DnnlTensor& from, const DnnlLayout& to) {
  const auto pack = DnnlPack::make(from, to);
  if (!pack) return false;
  Tensor w(from);
  w.fill_integers(5, -1000, 1000);
  Scratch mine(to.bytes()), theirs(to.bytes());
  std::memset(mine.data(), 0x5a, to.bytes());
  std::memset(theirs.data(), 0xa5, to.bytes());
  const auto plain = DnnlLayout::strided(from);
  EXPECT_TRUE(plain.ok() && dnnl_copy(*plain, w.data(), to, theirs.data()).ok());
  pack->run(w.data(), mine.data());
  EXPECT_EQ(std::memcmp(mine.data(), theirs.data(), to.bytes()), 0);
  mine.expect_guard_intact();
  w.expect_guards_intact();
  return true;
}

// Packs both ways and compares all bytes. False when the layout is left to oneDNN.
bool packs_as_onednn(const DnnlTensor& from, const DnnlLayout& to) {
  SCOPED_TRACE(to.to_string());
  bool packed = false;
  cpu::for_each_simd_target([&] { packed = packs_as_onednn_here(from, to); });
  return packed;
}

DnnlTensor transposed(int64_t k, int64_t n) { return with_strides({k, n}, {1, k}); }

TEST_F(DnnlPackTest, MatricesInBlocks) {
  const dnnl_format_tag_t tags[] = {dnnl_BA16a16b, dnnl_BA16a32b, dnnl_BA16a48b, dnnl_BA16a64b,
                                    dnnl_AB16b16a, dnnl_ab,       dnnl_ba};
  const std::pair<int64_t, int64_t> sizes[] = {{64, 128}, {16, 64},  {1, 1},   {5, 7},    {15, 63},
                                               {17, 65},  {33, 1},   {100, 96}, {300, 250}};
  for (const dnnl_format_tag_t tag : tags) {
    for (const auto& [k, n] : sizes) {
      const DnnlLayout layout = tagged({k, n}, tag);
      EXPECT_TRUE(packs_as_onednn(DnnlTensor::dense({k, n}), layout));
      EXPECT_TRUE(packs_as_onednn(transposed(k, n), layout));
      EXPECT_TRUE(packs_as_onednn(with_strides({k, n}, {2 * n + 3, 2}), layout));
    }
  }
}

TEST_F(DnnlPackTest, ConvolutionsInBlocks) {
  const dnnl_format_tag_t tags[] = {dnnl_Acdb16a, dnnl_Acdb32a, dnnl_Acdb48a, dnnl_Acdb64a,
                                    dnnl_ABcd16b16a, dnnl_acdb};
  for (const dnnl_format_tag_t tag : tags) {
    for (const std::vector<int64_t>& dims : std::vector<std::vector<int64_t>>{
             {64, 32, 3, 3}, {64, 64, 1, 1}, {50, 3, 7, 7}, {1, 1, 1, 1}, {49, 17, 3, 1}}) {
      EXPECT_TRUE(packs_as_onednn(DnnlTensor::dense(dims), tagged(dims, tag)));
      EXPECT_TRUE(packs_as_onednn(DnnlTensor::channels_last(dims), tagged(dims, tag)));
    }
  }
  const std::vector<int64_t> grouped = {4, 20, 5, 3, 3}, depthwise = {37, 1, 1, 3, 3};
  EXPECT_TRUE(packs_as_onednn(DnnlTensor::dense(grouped), tagged(grouped, dnnl_aBdec16b)));
  EXPECT_TRUE(packs_as_onednn(DnnlTensor::dense(depthwise), tagged(depthwise, dnnl_Abcde16a)));
}

// What is chosen here is what programs on this machine use: it should not need oneDNN.
TEST_F(DnnlPackTest, LayoutsThatOneDnnChooses) {
  for (const auto& [k, n] : {std::pair<int64_t, int64_t>{768, 768}, {64, 1000}, {30, 10}}) {
    DnnlMatmulParams p;
    p.src = DnnlTensor::dense({8, k});
    p.weights = transposed(k, n);
    p.dst = DnnlTensor::dense({8, n});
    const auto layout = DnnlMatmul::choose_weights_layout(p);
    ASSERT_TRUE(layout.ok()) << layout.status().to_string();
    EXPECT_TRUE(packs_as_onednn(p.weights, *layout));
  }
  for (const auto& [in, out, kernel] :
       {std::tuple<int64_t, int64_t, int64_t>{3, 64, 7}, {64, 64, 3}, {256, 512, 1}, {24, 72, 1}}) {
    DnnlConvParams p;
    p.src = DnnlTensor::channels_last({1, in, 14, 14});
    p.weights = DnnlTensor::dense({out, in, kernel, kernel});
    p.dst = DnnlTensor::channels_last({1, out, 15 - kernel, 15 - kernel});
    p.stride = p.dilation = {1, 1};
    p.padding_begin = p.padding_end = {0, 0};
    const auto layout = DnnlConv::choose_weights_layout(p);
    ASSERT_TRUE(layout.ok()) << layout.status().to_string();
    EXPECT_TRUE(packs_as_onednn(p.weights, *layout));
  }
}

// Packing with factors against multiplying first, byte for byte.
void expect_scaled(const DnnlTensor& from, const DnnlLayout& to, size_t scaled_dims,
                   bool on_the_way) {
  SCOPED_TRACE(to.to_string());
  const DnnlWeightsPacker packer(from, to, scaled_dims);
  EXPECT_EQ(packer.scratch_bytes() == 0, on_the_way) << packer.implementation();
  int64_t rows = 1, columns = 1;
  for (size_t d = 0; d < from.dims.size(); ++d) {
    (d < scaled_dims ? rows : columns) *= from.dims[d];
  }
  std::vector<float> scale(static_cast<size_t>(rows));
  for (size_t r = 0; r < scale.size(); ++r) scale[r] = 0.37f + 0.11f * static_cast<float>(r);
  const DnnlTensor dense = DnnlTensor::dense(from.dims);
  Tensor w(from), multiplied(dense);
  w.fill_integers(7, -1000, 1000);
  ASSERT_TRUE(dnnl_copy(*DnnlLayout::strided(from), w.data(), *DnnlLayout::strided(dense),
                        multiplied.data()).ok());
  for (int64_t i = 0; i < rows * columns; ++i) {
    multiplied.data()[i] *= scale[static_cast<size_t>(i / columns)];
  }
  Scratch expected(to.bytes());
  ASSERT_TRUE(DnnlWeightsPacker(dense, to).run(multiplied.data(), expected.data()).ok());
  cpu::for_each_simd_target([&] {
    Scratch packed(to.bytes()), scratch(packer.scratch_bytes());
    std::memset(packed.data(), 0x5a, to.bytes());
    ASSERT_TRUE(packer.run(w.data(), packed.data(), scale.data(), scratch.data()).ok());
    EXPECT_EQ(std::memcmp(packed.data(), expected.data(), to.bytes()), 0);
    packed.expect_guard_intact();
    scratch.expect_guard_intact();
  });
  w.expect_guards_intact();
}

TEST_F(DnnlPackTest, FactorsOfOutputChannels) {
  for (const std::vector<int64_t>& dims : std::vector<std::vector<int64_t>>{
           {64, 32, 3, 3}, {256, 512, 1, 1}, {50, 3, 7, 7}, {1, 1, 1, 1}, {49, 17, 3, 1}}) {
    const DnnlTensor w = DnnlTensor::dense(dims);
    for (const dnnl_format_tag_t tag : {dnnl_Acdb16a, dnnl_Acdb64a, dnnl_ABcd16b16a}) {
      expect_scaled(w, tagged(dims, tag), 1, true);
    }
    // Other blocks, no blocks, rows that do not lie together, and what only oneDNN can pack.
    expect_scaled(w, tagged(dims, dnnl_Acdb8a), 1, false);
    expect_scaled(w, tagged(dims, dnnl_acdb), 1, false);
    expect_scaled(DnnlTensor::channels_last(dims), tagged(dims, dnnl_acdb), 1, false);
    expect_scaled(w, tagged(dims, dnnl_ABcd8b16a2b), 1, false);
  }
  const std::vector<int64_t> grouped = {4, 20, 5, 3, 3}, depthwise = {37, 1, 1, 3, 3};
  expect_scaled(DnnlTensor::dense(grouped), tagged(grouped, dnnl_aBdec16b), 2, false);
  expect_scaled(DnnlTensor::dense(depthwise), tagged(depthwise, dnnl_Abcde16a), 2, true);
}

TEST_F(DnnlPackTest, WhatItDoesNotUnderstandIsLeftToOneDnn) {
  const DnnlTensor w = DnnlTensor::dense({32, 64, 3, 3});
  const DnnlLayout twice = tagged(w.dims, dnnl_ABcd8b16a2b);  // cut twice along b
  EXPECT_FALSE(DnnlPack::make(w, twice).has_value());
  EXPECT_FALSE(DnnlPack::make(w, DnnlLayout()).has_value());
  EXPECT_FALSE(DnnlPack::make(w, *DnnlLayout::chosen_by_library(w.dims, DType::kF32)).has_value());
  EXPECT_FALSE(DnnlPack::make(DnnlTensor::dense({32, 64, 3, 2}), twice).has_value());
  const DnnlTensor half = DnnlTensor::dense(w.dims, DType::kBF16);
  EXPECT_FALSE(DnnlPack::make(half, tagged(w.dims, dnnl_abcd)).has_value());
  EXPECT_FALSE(DnnlPack::make(DnnlTensor::dense({4, 5}),
                              *DnnlLayout::strided(with_strides({4, 5}, {7, 1}))).has_value());
  const DnnlWeightsPacker packer(w, twice);
  EXPECT_TRUE(packer.can_fail());
  Tensor from(w);
  from.fill_integers(3);
  Scratch packed(twice.bytes()), expected(twice.bytes());
  ASSERT_TRUE(packer.run(from.data(), packed.data()).ok());
  ASSERT_TRUE(dnnl_copy(*DnnlLayout::strided(w), from.data(), twice, expected.data()).ok());
  EXPECT_EQ(std::memcmp(packed.data(), expected.data(), twice.bytes()), 0);
}

}  // namespace
}  // namespace kiln

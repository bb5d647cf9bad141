// Attention by matrix instructions, by warps (device/matrix_attention.h) and by warpgroups
// (device/warpgroup_attention.h), against sums in double: every tiling, edges, masks.
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "attention_case.h"

namespace kiln::emulator {
namespace {

using cuda::AttentionKernel;
using cuda::AttentionTiling;

using Problem = AttentionProblem;
using Mask = MaskOf;

// "" or what is wrong.
std::string check(const Problem& problem, const AttentionKernel& kernel) {
  const AttentionCase attention(problem, kernel);
  const auto source = attention.source();
  if (!source.ok()) return source.status().to_string();
  use_device();
  auto loaded = LoadedKernel::load(*source);
  if (!loaded.ok()) return loaded.status().to_string() + "\n" + source->text;
  return attention.run(**loaded);
}

AttentionKernel tiled(const AttentionTiling& tiling) {
  AttentionKernel kernel;
  kernel.dtype = DType::kF16;
  kernel.mask_dtype = DType::kF16;
  kernel.scale = 0.125;
  kernel.tiling = tiling;
  return kernel;
}

TEST(Attention, TilingsAtTheirEdges) {
  // All keys at once: in as many parts as there can be.
  for (const AttentionTiling& tiling : {AttentionTiling{true, 64, 16},
                                        {true, 128, 112},
                                        {true, 64, 240},
                                        {true, 128, 208},
                                        {false, 64, 208},
                                        {false, 128, 48}}) {
    for (const int64_t rows : {tiling.rows + 3, tiling.rows - 59}) {
      EXPECT_EQ(check({rows, tiling.keys - 11}, tiled(tiling)), "") << tiling.to_string();
    }
  }
  for (const AttentionTiling& tiling :
       {AttentionTiling{true, 64, 64}, {true, 128, 128}, {false, 64, 128}, {false, 128, 64}}) {
    EXPECT_EQ(check({tiling.rows + 3, tiling.keys + 5}, tiled(tiling)), "") << tiling.to_string();
  }
}

constexpr AttentionTiling kByWarps{false, 64, 64}, kByWarpgroups{true, 64, 64};
constexpr AttentionTiling kAll[] = {kByWarps, kByWarpgroups, {true, 128, 128}};

TEST(Attention, HeadsOfAnySize) {
  for (const AttentionTiling& tiling : kAll) {
    for (const auto& [head, value] : {std::pair{8, 40}, {72, 64}, {64, 128}}) {
      const int64_t columns = value == 64 ? 50 : 135;
      EXPECT_EQ(check({70, columns, head, value}, tiled(tiling)), "")
          << tiling.to_string() << " " << head << " " << value;
    }
  }
  for (const auto& [head, value] : {std::pair{12, 7}, {5, 64}, {64, 9}}) {
    EXPECT_EQ(check({20, 70, head, value}, tiled(kByWarps)), "") << head << " " << value;
    EXPECT_EQ(check({20, 60, head, value}, tiled(kByWarps)), "") << head << " " << value;
  }
}

TEST(Attention, Causal) {
  for (const AttentionTiling& tiling : kAll) {
    AttentionKernel kernel = tiled(tiling);
    kernel.causal = true;
    for (const auto& [rows, columns] : {std::pair{64, 64}, {200, 200}, {70, 150}, {150, 70}}) {
      EXPECT_EQ(check({rows, columns}, kernel), "")
          << tiling.to_string() << " " << rows << " " << columns;
    }
    EXPECT_EQ(check({150, 150, 64, 64, Mask::kColumns, false}, kernel), "");
  }
}

TEST(Attention, Masks) {
  for (const AttentionTiling& tiling : kAll) {
    for (const Mask mask : {Mask::kColumns, Mask::kRows}) {
      for (const DType dtype : {DType::kF16, DType::kBool, DType::kF32}) {
        AttentionKernel kernel = tiled(tiling);
        kernel.mask_dtype = dtype;
        // All keys at once, or sizes as arguments and two times of keys.
        const bool once = (mask == Mask::kRows) == (dtype == DType::kF16);
        EXPECT_EQ(check({70, once ? 52 : 141, 16, 16, mask, once, 2}, kernel), "")
            << tiling.to_string() << " " << dtype_name(dtype) << " " << once;
      }
    }
  }
}

TEST(Attention, OtherNumbers) {
  for (const AttentionTiling& tiling : kAll) {
    AttentionKernel kernel = tiled(tiling);
    kernel.dtype = kernel.mask_dtype = DType::kBF16;
    EXPECT_EQ(check({70, 60, 64, 64, Mask::kNone, false}, kernel), "") << tiling.to_string();
    // Without any key, zeros.
    EXPECT_EQ(check({70, 0, 64, 64, Mask::kNone, false}, kernel), "") << tiling.to_string();
    kernel.wide = false;
    kernel.scale = -0.5;  // the largest product is not the largest score
    EXPECT_EQ(check({70, 60}, kernel), "") << tiling.to_string();
    EXPECT_EQ(check({70, 260, 64, 64, Mask::kNone, true, 2, 4, 2}, kernel), "")
        << tiling.to_string();
  }
}

TEST(Attention, ParametersThatDoNotFitAreRefused) {
  AttentionKernel good = tiled(kByWarpgroups);
  good.matrix = true;
  good.head_dim = good.value_dim = 64;
  good.q_eight = good.k_eight = good.v_eight = good.o_eight = true;
  EXPECT_TRUE(AttentionKernel::from_json(good.to_json()).ok());
  const auto refused = [&](auto&& change) {
    AttentionKernel kernel = good;
    change(kernel);
    return AttentionKernel::from_json(kernel.to_json()).status().code() == "K3212";
  };
  EXPECT_TRUE(refused([](auto& k) { k.tiling.rows = 96; }));
  EXPECT_TRUE(refused([](auto& k) { k.tiling.keys = 40; }));
  EXPECT_TRUE(refused([](auto& k) { k.tiling.keys = 256; }));
  EXPECT_TRUE(refused([](auto& k) { k.head_dim = 136; }));
  EXPECT_TRUE(refused([](auto& k) { k.q_eight = false; }));
  EXPECT_TRUE(refused([](auto& k) { k.once = true; }));  // the number of keys is not known
  EXPECT_TRUE(refused([](auto& k) { k.mask = k.mask_of_columns = true; }));
  EXPECT_TRUE(refused([](auto& k) { k.mask = k.mask_pairs = true; }));
  EXPECT_TRUE(refused([](auto& k) { k.tiling = {false, 64, 192}; }));
  // One family's description is not the other's.
  EXPECT_FALSE(cuda::print_kernel({AttentionKernel::kFamily, good.to_json()}).ok());
}

}  // namespace
}  // namespace kiln::emulator

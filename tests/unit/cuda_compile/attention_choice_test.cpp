// Which kernels attention gets.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "backends/cuda/compile/attention_choice.h"

namespace kiln::cuda_test {
namespace {

using cuda::AttentionProblem;
using cuda::AttentionTiling;

// Heads of 64.
AttentionProblem problem(int64_t rows, int64_t columns) {
  return {rows, columns, 64, 64, false, true};
}

std::vector<std::string> names(const AttentionProblem& p, int sm = 90) {
  std::vector<std::string> result;
  for (const AttentionTiling& tiling : cuda::attention_tilings(p, DeviceSpec::gpu(sm).value())) {
    result.push_back(tiling.to_string());
  }
  return result;
}
bool contains(const std::vector<std::string>& list, const std::string& name) {
  return std::find(list.begin(), list.end(), name) != list.end();
}
bool any_by_warpgroups(const std::vector<std::string>& list) {
  return std::any_of(list.begin(), list.end(),
                     [](const std::string& name) { return name.starts_with('w'); });
}

TEST(AttentionChoice, AsManyKeysAtOnceAsThereAre) {
  EXPECT_EQ(names(problem(128, 128))[0], "w64x128");
  EXPECT_EQ(names(problem(197, 197))[0], "w64x208");
  EXPECT_EQ(names(problem(64, 5))[0], "w64x16");
  EXPECT_EQ(names(problem(512, 512))[0], "w64x64");
  EXPECT_EQ(names(problem(1024, 1024))[0], "w64x128");
  EXPECT_EQ(names(problem(0, 0))[0], "w64x64");  // sizes that are not known
  EXPECT_EQ(names(problem(128, 100), 80)[0], "64x112");
  EXPECT_EQ(names(problem(512, 512), 80)[0], "64x64");
  // No more queries than there are.
  EXPECT_FALSE(contains(names(problem(64, 128)), "w128x128"));
}

TEST(AttentionChoice, WarpgroupsWhereThereAreSuchAndOperandsSuitThem) {
  for (const int sm : {80, 89, 100, 120}) {
    EXPECT_FALSE(any_by_warpgroups(names(problem(128, 128), sm))) << sm;
  }
  AttentionProblem unaligned = problem(128, 128);
  unaligned.all_eight = false;
  EXPECT_FALSE(any_by_warpgroups(names(unaligned)));
  EXPECT_FALSE(names(unaligned).empty());
  for (const int64_t head : {8, 64, 128}) {
    for (const int64_t keys : {0, 1, 128, 256, 257}) {
      AttentionProblem p = problem(128, keys);
      p.head_dim = p.value_dim = head;
      const std::vector<std::string> list = names(p);
      EXPECT_TRUE(any_by_warpgroups(list)) << head << " " << keys;
      // One for every GPU.
      EXPECT_TRUE(std::any_of(list.begin(), list.end(),
                              [](const std::string& name) { return !name.starts_with('w'); }))
          << head << " " << keys;
    }
  }
}

TEST(AttentionChoice, WhatIsExpectedToBeFasterThanCudnn) {
  AttentionProblem p = problem(512, 512);
  EXPECT_GE(cuda::preferred_attention_keys(p, {true, 64, 64}), 512);
  EXPECT_EQ(cuda::preferred_attention_keys(p, {false, 64, 64}), 0);
  p.mask_of_rows = true;
  EXPECT_EQ(cuda::preferred_attention_keys(p, {true, 64, 64}), 0);
}

TEST(AttentionChoice, NamesAreRead) {
  for (const char* text : {"64x64", "128x48", "w64x208", "w128x128"}) {
    const auto tiling = cuda::parse_attention_tiling(text);
    ASSERT_TRUE(tiling.ok()) << text;
    EXPECT_EQ(tiling->to_string(), text);
  }
  for (const char* text : {"", "w", "64", "64x", "64x64/", "w64x64x", "w96x64", "64x72"}) {
    EXPECT_EQ(cuda::parse_attention_tiling(text).status().code(), "K1002") << text;
  }
}

}  // namespace
}  // namespace kiln::cuda_test

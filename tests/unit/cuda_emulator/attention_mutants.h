// The kernels of attention by matrix instructions. Their tests are problems with edges, with masks
// and with more keys than of one time.
#pragma once

#include <utility>
#include <vector>

#include "attention_case.h"
#include "launched_mutants.h"

namespace kiln::emulator {

inline Subject attention_subject(const cuda::AttentionKernel& kernel,
                                 const std::vector<AttentionProblem>& problems,
                                 std::vector<JudgedEquivalent> judged) {
  std::vector<AttentionCase> cases;
  for (const AttentionProblem& problem : problems) cases.emplace_back(problem, kernel);
  return subject_of_cases(std::move(cases), std::move(judged));
}

inline std::vector<Subject> attention_subjects() {
  const std::vector<JudgedEquivalent> judged = {
      {"row + r * 8 < rows", "row + r * (8 + 1) < rows", "the last row either way"},
      {"if (first == 0) load_queries(own);", "if (true)", "the same once more"},
      {"if (part > 0) warp_barrier();", "if (true)", "one more"},
      {"part * 64 + 64 <= kValue ||", "part + 64 * 64", "the other condition includes it"},
      {"part * 64 + piece * 8 < kValue)", "< kValue - 1)", "a multiple of 8"},
      {"part * 64 + piece * 8 < kColumns)", "< kColumns - 1)", "a multiple of 8"},
      {"if (end_key > first_row", "if (!(end_key > first_row", "further keys are masked"},
      {"if (!kPart || n * 8 < limit) {", "if (true)", "further keys are masked"},
      {"n * 8 < limit", "n * 8 <= limit", "further keys are masked"},
      {"if (!Tile::kOnce && limit >= kKeys) {", "if (true)", "further keys are masked"},
      {"if (!Tile::kOnce && limit >= kKeys) {", "if (!(", "the same in other code"},
      {"if (!Tile::kOnce && limit >= kKeys) {", "limit > kKeys", "the same in other code"},
      {"limit < kKeys || (Scores", "limit <= kKeys", "looks for edges where there are none"},
      {"first + (n * 8 + 8) > columns &&", "n * (8 + 1) + 8", "the other condition counts"},
      {"n * 8 >= limit", "n * 8 > limit", "further keys are masked"}};
  std::vector<Subject> result;
  cuda::AttentionKernel kernel;
  kernel.dtype = kernel.mask_dtype = DType::kF16;
  kernel.scale = 0.125;
  // By warps. Causal, with sizes as arguments: queries behind the last key, keys behind the last
  // query, one query more than a block has, no key at all.
  kernel.tiling = {false, 64, 64};
  kernel.causal = true;
  result.push_back(attention_subject(kernel,
                                     {{65, 141, 16, 24, MaskOf::kRows, false, 2, 2, 1},
                                      {150, 75, 16, 24, MaskOf::kRows, false},
                                      {20, 0, 16, 24, MaskOf::kRows, false}},
                                     judged));
  // By warpgroups, likewise.
  kernel.tiling = {true, 128, 64};
  result.push_back(attention_subject(kernel,
                                     {{70, 141, 16, 72, MaskOf::kColumns, false, 2, 2, 1},
                                      {129, 75, 16, 72, MaskOf::kColumns, false},
                                      {20, 0, 16, 72, MaskOf::kColumns, false}},
                                     judged));
  // All keys at once; rows that are read element by element.
  kernel.causal = false;
  kernel.scale = -0.5;
  kernel.tiling = {false, 64, 48};
  kernel.mask_dtype = DType::kBool;
  result.push_back(attention_subject(
      kernel, {{65, 44, 20, 12, MaskOf::kRows, true, 2, 4, 2}},
      joined(judged, {{"own.copies.", "", "there are no copies"},
                      {"barrier();  // values are there", ";", "since the barrier before"},
                      {"e < kOut / 8;", "e <= kOut / 8;", "not in the result", "finish"}})));
  kernel.tiling = {true, 64, 112};
  kernel.dtype = DType::kBF16;
  kernel.wide = false;
  result.push_back(attention_subject(
      kernel, {{65, 101, 72, 40, MaskOf::kNone, true, 2}},
      joined(judged, {{"if (part > 0) warp_barrier();", "if (!(part > 0))", "one part"}})));
  // The same without a mask, key by key of two times.
  kernel.scale = 0.125;
  kernel.tiling = {false, 64, 64};
  result.push_back(attention_subject(
      kernel, {{65, 141, 64, 32, MaskOf::kNone, true}},
      joined(judged, {{"own.copies.template wait<0>();", "", "the loop did so", "run"},
                      {"barrier();", ";", "the loop did so", "run"}})));
  return result;
}

}  // namespace kiln::emulator

// The kernels of products of 16-bit matrices; no op sample is large enough for them. Their tests
// are problems with edges, with more stages than fit and with several tiles for a block.
#pragma once

#include <utility>
#include <vector>

#include "launched_mutants.h"
#include "product_case.h"

namespace kiln::emulator {

template <class Kernel>
Subject product_subject(const Kernel& kernel, const std::vector<ProductProblem>& problems,
                        std::vector<JudgedEquivalent> judged) {
  std::vector<ProductCase<Kernel>> cases;
  for (const ProductProblem& problem : problems) cases.emplace_back(problem, kernel);
  return subject_of_cases(std::move(cases), std::move(judged));
}

inline const std::vector<JudgedEquivalent> kEightsAlongDepth = {
    {"(kDepth - 1)) / kDepth", "(kDepth - (1 + 1))", "the depth is a multiple of 8"},
    {"(Tile::kDepth - 1)) / Tile::kDepth", "(Tile::kDepth - (1 + 1))", "as before"},
    {"depth_left > 0", "depth_left > (0 + 1)", "as before"},
    {"- piece * 8;", "- piece * (8 + 1);", "eights before the end are within, as before"},
    {"x < static_cast<T>(0)", "x <= static_cast<T>(0)", "0 is 0"},
};

inline std::vector<Subject> multistage_subjects() {
  using Kind = cuda::KernelActivation::Kind;
  const std::vector<JudgedEquivalent> judged =
      joined(kEightsAlongDepth,
             {{"if (i >= kEarly) late", "if (true) late", "loads what is not used"},
              {"if (s + kStages - 1 < count) {", "< count + 1", "one more, which is waited for"},
              {"if (step == 0) {", "if (step == (0 + 1)) {", "copies start a little later"},
              {"left[2][kStripes]", "left[(2 + 1)][kStripes]", "one more buffer"},
              {"right[2][kBands / 2]", "right[(2 + 1)][kBands / 2]", "one more buffer"}});
  // Copies of a stage behind the last one: they are waited for, or go to where no sums will lie.
  const std::vector<JudgedEquivalent> sums_in_one_stage =
      joined(judged, {{"if (s < count) {", "if (s <= count) {", "see above"},
                      {"if (s < count) {", "if (true) {", "see above"},
                      {"if (i >= kEarly) late", "if (!(i >= kEarly)) late", "all are early"}});
  const std::vector<JudgedEquivalent> alone = joined(
      judged, {{"if constexpr (kParts > 1)", "if constexpr (kParts >= 1)", "a cluster of one"},
               {"if (s < count) {", "if (true) {", "always, here"},
               {"if (s < count) {", "if (s < count - 1) {", "always, here"},
               {"if (count > 0)", "if (true)", "always, here"},
               {"if (s + 1 < count) product.load", "if (true)", "loads what is not used"},
               {"if (s + 1 < count) product.load", "s + 1 <= count", "loads what is not used"},
               {"(first + i * kAtOnce) % kAcross", "(first + i + kAtOnce)", "another order"},
               {"depth_left = ", ";", "is not used: the depth has whole stages"}});
  std::vector<Subject> result;
  cuda::MultistageGemm kernel;
  // A cluster shares the depth; fours of columns. Depths that end inside of a stage, or that some
  // blocks have nothing of.
  kernel.tiling = {32, 64, 16, 32, 64, 3, 2};
  kernel.four = kernel.bias = kernel.add = true;
  kernel.alpha = 0.5;
  kernel.activation = {Kind::kClip, -0.75, 1.5};
  result.push_back(product_subject(
      kernel, {{40, 72, 136, false, 8}, {33, 8, 456, false, 0}, {5, 132, 8, false, 8}},
      sums_in_one_stage));
  // Any columns, four blocks.
  kernel.tiling = {64, 128, 32, 64, 32, 4, 4};
  kernel.four = kernel.bias = false;
  kernel.activation.kind = Kind::kNone;
  result.push_back(product_subject(
      kernel, {{70, 131, 648, false, 8}, {65, 3, 136, false, 0}, {7, 128, 64, false, 0}}, judged));
  // Sizes in the source, a depth of whole stages, many results of a thread.
  kernel.tiling = {64, 128, 32, 64, 32, 4, 1};
  kernel.dtype = DType::kBF16;
  kernel.wide = false;
  kernel.four = kernel.bias = true;
  kernel.activation.kind = Kind::kRelu;
  result.push_back(product_subject(kernel, {{70, 136, 224, true, 8}}, alone));
  return result;
}

inline std::vector<Subject> warpgroup_subjects() {
  using Kind = cuda::KernelActivation::Kind;
  const std::vector<JudgedEquivalent> judged = joined(
      kEightsAlongDepth,
      {{"if (thread_x() == 0) {", "if (thread_x() == (0 + 1)) {", "any thread makes the barriers"},
       {"lane() == 0) empty", "lane() == (0 + 1)) empty", "any lane speaks for its warp"},
       {"shuffle(thread_x() / 32, 0)", "shuffle(thread_x() / 32, (0 + 1))", "all have the same"},
       {"(Tile::kColumns - 1)", "(Tile::kColumns - (1 + 1))", "columns are a multiple of 8"},
       {"column + u * 8 < n", "column + u * 8 < n - 1", "as before"},
       {"column + u * 8 < n", "column + u * (8 + 1) < n", "as before"},
       {"if (quarter == 0) {", "if (true) {", "waits for what is there"},
       {"inside ? column + u * 8 : Index(0)", "(0 + 1)", "a place that is not read"},
       {"inside ? row + r : Index(0)", "(0 + 1)", "a place that is not read"},
       {"inside ? column + i : Index(0)", "(0 + 1)", "a place that is not read"},
       {"kBufferBytes = 16 * 128", "kBufferBytes = 16 * (128 + 1)", "there is room"}});
  const std::vector<JudgedEquivalent> at_the_end = {
      {"wait<0>();", "release(own.last);", "of the last tile: nobody waits for it", "finish"},
      {"release(own.last);", "", "as before", "finish"}};
  const std::vector<JudgedEquivalent> in_turns = {
      {"if (tile >= tiles()) return;", "if (false)", "the loop asks again"},
      {"if (tile >= tiles()) return;", "if (tile > tiles())", "the loop asks again"}};
  std::vector<Subject> result;
  cuda::WarpgroupGemm kernel;
  // Finishes a tile while the next one is multiplied. More blocks than tiles; several tiles for a
  // block, the last of them with one row.
  kernel.tiling = {1, 64, 2, true, 2};
  kernel.bias = kernel.add = true;
  kernel.alpha = 0.5;
  kernel.activation.kind = Kind::kGelu;
  result.push_back(product_subject(
      kernel,
      {{100, 72, 136, false, 8, 3}, {300, 136, 200, false, 0, 2}, {257, 136, 328, false, 8, 1}},
      joined(judged, at_the_end)));
  // One tile after the other; a band of tiles that is not full, and more than one band.
  kernel.tiling = {1, 128, 2, false, 3};
  kernel.dtype = DType::kBF16;
  kernel.wide = kernel.add = false;
  kernel.activation.kind = Kind::kRelu;
  result.push_back(product_subject(
      kernel,
      {{140, 72, 136, false, 8, 1}, {800, 136, 264, false, 0, 3}, {1030, 136, 8, false, 0, 1}},
      joined(judged, in_turns)));
  // Sizes in the source; two blocks of 64 rows for a warpgroup.
  kernel.tiling = {2, 64, 2, false, 3};
  kernel.dtype = DType::kF16;
  kernel.add = true;
  result.push_back(product_subject(kernel, {{300, 136, 456, true, 8, 2}},
                                   joined(judged, in_turns)));
  return result;
}

}  // namespace kiln::emulator

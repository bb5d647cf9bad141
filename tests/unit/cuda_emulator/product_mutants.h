// The kernels of products of 16-bit matrices; no op sample is large enough for them. Their tests
// are problems with edges, with more stages than fit and with several tiles for a block.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "mutants.h"
#include "product_case.h"

namespace kiln::emulator {

template <class Kernel>
Subject product_subject(const Kernel& kernel, const std::vector<ProductProblem>& problems) {
  auto cases = std::make_shared<std::vector<ProductCase<Kernel>>>();
  for (const ProductProblem& problem : problems) cases->emplace_back(problem, kernel);
  Result<cuda::KernelSource> source = cases->front().source();
  KILN_CHECK_MSG(source.ok(), source.status().to_string());
  for (const auto& each : *cases) {
    const Result<cuda::KernelSource> own = each.source();
    KILN_CHECK(own.ok() && own->text == source->text);
  }
  const auto passes = [cases](const cuda::CompiledKernel& code) {
    use_device();
    auto loaded = LoadedKernel::load(code);
    KILN_CHECK_MSG(loaded.ok(), loaded.status().to_string());
    for (const auto& each : *cases) {
      if (!each.run(**loaded).empty()) return false;
    }
    return true;
  };
  return {*source, passes, [] { return std::nullopt; }};
}

inline std::vector<Subject> multistage_subjects() {
  using Kind = cuda::KernelActivation::Kind;
  std::vector<Subject> result;
  cuda::MultistageGemm kernel;
  // A cluster shares the depth; fours of columns. Depths that end inside of a stage, or that some
  // blocks have nothing of.
  kernel.tiling = {32, 64, 16, 32, 64, 3, 2};
  kernel.four = kernel.bias = kernel.add = true;
  kernel.alpha = 0.5;
  kernel.activation = {Kind::kClip, -0.75, 1.5};
  result.push_back(product_subject(
      kernel, {{40, 72, 136, false, 8}, {33, 8, 456, false, 0}, {5, 132, 8, false, 8}}));
  // Any columns, four blocks.
  kernel.tiling = {64, 128, 32, 64, 32, 4, 4};
  kernel.four = kernel.bias = false;
  kernel.activation.kind = Kind::kNone;
  result.push_back(product_subject(
      kernel, {{70, 131, 648, false, 8}, {65, 3, 136, false, 0}, {7, 128, 64, false, 0}}));
  // Sizes in the source, a depth of whole stages, many results of a thread.
  kernel.tiling = {64, 128, 32, 64, 32, 4, 1};
  kernel.dtype = DType::kBF16;
  kernel.wide = kernel.add = false;
  kernel.four = kernel.bias = true;
  kernel.activation.kind = Kind::kRelu;
  result.push_back(product_subject(kernel, {{70, 136, 224, true, 8}}));
  return result;
}

inline std::vector<Subject> warpgroup_subjects() {
  using Kind = cuda::KernelActivation::Kind;
  std::vector<Subject> result;
  cuda::WarpgroupGemm kernel;
  // Finishes a tile while the next one is multiplied. More blocks than tiles; several tiles for a
  // block, the last of them with one row.
  kernel.tiling = {1, 64, 2, true, 2};
  kernel.bias = kernel.add = true;
  kernel.alpha = 0.5;
  kernel.activation.kind = Kind::kGelu;
  result.push_back(product_subject(kernel, {{100, 72, 136, false, 8, 3},
                                            {300, 136, 200, false, 0, 2},
                                            {257, 200, 328, false, 8, 1}}));
  // One tile after the other; a band of tiles that is not full, and more than one band.
  kernel.tiling = {1, 128, 2, false, 3};
  kernel.dtype = DType::kBF16;
  kernel.wide = kernel.add = false;
  kernel.activation.kind = Kind::kRelu;
  result.push_back(product_subject(kernel, {{140, 72, 136, false, 8, 1},
                                            {800, 136, 264, false, 0, 3},
                                            {1030, 136, 8, false, 0, 1}}));
  // Sizes in the source; two blocks of 64 rows for a warpgroup.
  kernel.tiling = {2, 64, 2, false, 3};
  kernel.dtype = DType::kF16;
  kernel.bias = false;
  kernel.add = true;
  result.push_back(product_subject(kernel, {{300, 136, 456, true, 8, 2}}));
  return result;
}

}  // namespace kiln::emulator

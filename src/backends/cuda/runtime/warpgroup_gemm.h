// "warpgroup_gemm": what "multistage_gemm" computes (multistage_gemm.h), of the same views, for
// many tiles, by device/warpgroup_product.h: on GPUs of compute capability 9.0 and no others. All
// rows begin at multiples of 16 bytes, and c, bias and d are read and written by eights.
#pragma once

#include <string>
#include <vector>

#include "backends/cuda/runtime/product_kernel.h"

namespace kiln::cuda {

// As WarpgroupTile of the device header.
struct WarpgroupTiling {
  int64_t row_blocks = 1;  // of 64 rows, of a consumer
  int64_t columns = 192;
  int64_t consumers = 2;  // warpgroups
  bool overlap = true;    // a tile is finished while the next one is multiplied
  int64_t stages = 5;

  bool operator==(const WarpgroupTiling&) const = default;
  int64_t rows() const { return 64 * row_blocks * consumers; }
  int64_t threads() const { return 128 * (consumers + 1); }
  int64_t shared_bytes(bool add) const;  // dynamic; add: something is added to each result
  std::string to_string() const;  // "128x192 stages 5 overlap"
};

struct WarpgroupGemm : ProductKernel {
  static constexpr const char* kFamily = "warpgroup_gemm";
  static constexpr int kComputeCapability = 90;
  static constexpr int64_t kDepth = 64;  // of a stage

  WarpgroupTiling tiling;

  Json to_json() const;
  static Result<WarpgroupGemm> from_json(const Json& params);  // K3212
};

// The tilings that there are kernels for, the one for most problems first. What is added to
// results takes room, so that there are fewer stages then.
std::vector<WarpgroupTiling> warpgroup_tilings(bool add);

// Of one kernel, on views that the step has checked as far as `multistage_gemm` needs it.
Result<std::unique_ptr<BoundStep>> bind_warpgroup_gemm(const StepKernel& kernel,
                                                       const WarpgroupGemm& params,
                                                       const BindContext& context,
                                                       int64_t multiprocessors);

}  // namespace kiln::cuda

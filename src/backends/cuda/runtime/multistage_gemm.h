// "multistage_gemm": C = activation(alpha A B + bias + D) for 16-bit floats, A and B with rows
// along the depth, by device/multistage_gemm.h. Made for results of few tiles.
//
// Views are a [m, k] and b [k, n], both with neighbours along k in memory, perhaps bias [n] and
// d [m, n], and c [m, n]. Sums are f32 and rounded once.
#pragma once

#include <string>
#include <vector>

#include "backends/cuda/runtime/product_kernel.h"

namespace kiln::cuda {

// How the work is divided.
struct GemmTiling {
  int64_t rows = 64, columns = 64;            // of a block's tile
  int64_t warp_rows = 32, warp_columns = 32;  // of a warp's part of it
  int64_t depth = 64, stages = 4;  // in shared memory: `stages` parts of the depth, one of `depth`
  // Blocks that share a tile's depth: a cluster, where the device has such (sm_90), else 1.
  int64_t split = 1;

  bool operator==(const GemmTiling&) const = default;
  int64_t threads() const { return rows / warp_rows * (columns / warp_columns) * 32; }
  int64_t shared_bytes() const;  // dynamic
  std::string to_string() const;  // "64x64x64 stages 4 split 2"
};

struct MultistageGemm : ProductKernel {
  static constexpr const char* kFamily = "multistage_gemm";
  static constexpr int64_t kMaxSplit = 8;  // blocks of a cluster that every device can have

  GemmTiling tiling;
  // Whether four columns of c, and of bias and d, may be read or written as one.
  bool four = false;

  Json to_json() const;
  static Result<MultistageGemm> from_json(const Json& params);  // K3212
};

// The tiles that there are kernels for; depth, stages and split are free. Smallest first.
const std::vector<GemmTiling>& gemm_tiles();
// Tiling with a tile of the list, two stages or more, and shared memory that some GPU has.
bool is_valid(const GemmTiling& tiling);
// The tiling for GPUs whose blocks may have `shared_bytes` of shared memory: as many stages as fit,
// two at least. All tiles of the list fit on all GPUs of compute capability 8.0 and later.
GemmTiling with_fitting_stages(GemmTiling tiling, int64_t shared_bytes);

// Step "cuda.multistage_gemm": the kernels "kernel0" .. of the same product and, perhaps, some of
// family "warpgroup_gemm", "warpgroup0" .., and a step that computes it, too. The first kernel is
// taken, on GPUs of compute capability 9.0 the first by warpgroups, or with `tune` what is fastest.
struct MultistageGemmStepParams {
  int64_t kernels = 1, warpgroup_kernels = 0;
  bool tune = false;
  std::string otherwise_kind;  // "cuda.cublaslt"; empty: none
  Json otherwise_params;

  static constexpr int64_t kMaxKernels = 256;
  static std::string kernel_key(int64_t i) { return "kernel" + std::to_string(i); }
  static std::string warpgroup_key(int64_t i) { return "warpgroup" + std::to_string(i); }
  void add_to(Json& params) const;
  static Result<MultistageGemmStepParams> from_json(const Json& params);  // K3212
};

// K3245 where shapes do not fit. `bias`, `d`: null without.
template <class View>
Result<NamedSizes<SizeOf<View>>> multistage_gemm_sizes(const View& a, const View& b,
                                                       const View* bias, const View* d,
                                                       const View& c) {
  const auto mismatch = [] { return Status::error("K3245", "gemm: sizes do not fit"); };
  if (a.dims.size() != 2 || b.dims.size() != 2 || c.dims.size() != 2 ||
      !(a.dims[0] == c.dims[0]) || !(b.dims[0] == a.dims[1]) || !(b.dims[1] == c.dims[1]) ||
      (bias != nullptr && (bias->dims.size() != 1 || !(bias->dims[0] == c.dims[1]))) ||
      (d != nullptr && !(d->dims == c.dims))) {
    return mismatch();
  }
  NamedSizes<SizeOf<View>> sizes;
  sizes.add("m", c.dims[0]);
  sizes.add("n", c.dims[1]);
  sizes.add("k", a.dims[1]);
  sizes.add("am", a.strides[0], is_one(a.dims[0]));
  sizes.add("bn", b.strides[1], is_one(b.dims[1]));
  sizes.add("cm", c.strides[0], is_one(c.dims[0]));
  sizes.add("cn", c.strides[1], is_one(c.dims[1]));
  if (bias != nullptr) sizes.add("h", bias->strides[0], is_one(bias->dims[0]));
  if (d != nullptr) {
    sizes.add("dm", d->strides[0], is_one(d->dims[0]));
    sizes.add("dn", d->strides[1], is_one(d->dims[1]));
  }
  return sizes;
}

}  // namespace kiln::cuda

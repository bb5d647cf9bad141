// "attention": scaled dot product attention without the full score matrix, on strided operands.
//
// Views are q [batch, heads, q_len, head_dim], k and v [batch, kv_heads, kv_len, ...], perhaps a
// mask [batch or 1, heads or 1, q_len or 1, kv_len or 1] (bool, or additive, of the dtype of q or
// f32), and the result [batch, heads, q_len, value_dim].
#pragma once

#include <string>
#include <vector>

#include "backends/cuda/runtime/kernel_sizes.h"
#include "core/dtype.h"

namespace kiln::cuda {

// How the work of matrix instructions is divided.
struct AttentionTiling {
  bool warpgroup = false;  // by warpgroups: on GPUs of compute capability 9.0 and no others
  int64_t rows = 64;       // queries of a block, 16 of a warp
  int64_t keys = 64;       // at a time

  bool operator==(const AttentionTiling&) const = default;
  int64_t threads() const { return rows * 2; }
  std::string to_string() const;  // "64x64", "w128x64"
};

struct AttentionKernel {
  static constexpr const char* kFamily = "attention";
  static constexpr const char* kWarpgroupFamily = "warpgroup_attention";
  static constexpr int kWarpgroupCapability = 90;
  static constexpr int64_t kSimtRows = 16;

  DType dtype = DType::kF32;
  bool matrix = false;  // by matrix instructions; 16-bit floats with heads of up to 128
  int64_t head_dim = 0, value_dim = 0;
  AttentionTiling tiling;  // without matrix instructions only `keys` means something
  bool once = false;       // there are no more keys than of one time; with matrix instructions
  bool causal = false;
  double scale = 1;
  bool mask = false;
  DType mask_dtype = DType::kBool;
  bool mask_of_columns = false;  // all rows have the same; with matrix instructions
  bool mask_pairs = false;       // two neighbours of a row may be read as one; else
  // Whether eight elements of a row of q, k, v, the result may be read or written as one.
  bool q_eight = false, k_eight = false, v_eight = false, o_eight = false;
  bool wide = true;
  KernelSizes sizes;

  // Keys at a time that shared memory has room for without matrix instructions; 0 when heads are
  // too large.
  static int64_t simt_keys(DType dtype, int64_t head_dim, int64_t value_dim);
  // Whether matrix instructions compute it.
  static bool takes_matrix(DType dtype, int64_t head_dim, int64_t value_dim);
  const char* family() const { return tiling.warpgroup ? kWarpgroupFamily : kFamily; }
  bool all_eight() const { return q_eight && k_eight && v_eight && o_eight; }
  int64_t rows() const { return matrix ? tiling.rows : kSimtRows; }
  int64_t threads() const { return matrix ? tiling.threads() : 128; }
  int64_t shared_bytes() const;  // dynamic shared memory of a block
  Json to_json() const;
  static Result<AttentionKernel> from_json(const Json& params);  // K3212
};

// Whether there are kernels of this tiling, for small heads at least; `once`: for all keys at once.
bool is_valid(const AttentionTiling& tiling, bool once);

// Step "cuda.attention": kernels of the same attention, the first one "kernel", then "kernel1" ..;
// one at least is for every GPU. The first one that the GPU has is taken, or with `tune` what is
// fastest.
struct AttentionStepParams {
  int64_t kernels = 1;
  bool tune = false;
  // With no more keys than these the first kernel, where the GPU has it, is expected to be faster
  // than a library's.
  int64_t preferred_keys = 0;

  static constexpr int64_t kMaxKernels = 64;
  static std::string kernel_key(int64_t i) {
    return i == 0 ? "kernel" : "kernel" + std::to_string(i);
  }
  void add_to(Json& params) const;
  static Result<AttentionStepParams> from_json(const Json& params);  // K3212
};

// K3240 where shapes do not fit. `mask`: null without one.
template <class View>
Result<NamedSizes<SizeOf<View>>> attention_sizes(const View& q, const View& k, const View& v,
                                                 const View* mask, const View& out) {
  const auto mismatch = [](const char* what) {
    return Status::error("K3240", std::string("attention: ") + what);
  };
  for (const View* view : {&q, &k, &v, &out}) {
    if (view->dims.size() != 4) return mismatch("operands need four dims");
  }
  if (!(q.dims[0] == k.dims[0]) || !(q.dims[0] == v.dims[0]) || !(q.dims[0] == out.dims[0]) ||
      !(k.dims[1] == v.dims[1]) || !(q.dims[1] == out.dims[1]) || !(q.dims[2] == out.dims[2]) ||
      !(k.dims[2] == v.dims[2]) || !(q.dims[3] == k.dims[3]) || !(v.dims[3] == out.dims[3])) {
    return mismatch("sizes of the operands do not fit");
  }
  NamedSizes<SizeOf<View>> sizes;
  sizes.add("batch", q.dims[0]);
  sizes.add("heads", q.dims[1]);
  sizes.add("kv_heads", k.dims[1]);
  sizes.add("rows", q.dims[2]);
  sizes.add("columns", k.dims[2]);
  sizes.add_each("q", q.strides);
  sizes.add_each("k", k.strides);
  sizes.add_each("v", v.strides);
  sizes.add_each("o", out.strides);
  if (mask != nullptr) {
    if (mask->dims.size() != 4) return mismatch("the mask needs four dims");
    const SizeOf<View> scores[] = {q.dims[0], q.dims[1], q.dims[2], k.dims[2]};
    for (size_t i = 0; i < 4; ++i) {
      const bool full = mask->dims[i] == scores[i];
      if (!full && !is_one(mask->dims[i])) return mismatch("the mask does not broadcast");
      sizes.add("m" + std::to_string(i), full ? mask->strides[i] : SizeOf<View>(0),
                is_one(scores[i]));
    }
  }
  return sizes;
}

}  // namespace kiln::cuda

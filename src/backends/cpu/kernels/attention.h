// Scaled dot product attention without the full score matrix.
//
// out[b,h,i,:] = softmax_j(scale * q[b,h,i,:] . k[b,g,j,:] + mask[b,h,i,j]) .
// v[b,g,j,:], with g = h / (heads / kv_heads). Blocks of keys are visited with
// a running maximum and sum (online softmax: Milakov and Gimelshein 2018, arXiv
// 1805.02867; blocked as in FlashAttention, Dao et al. 2022, arXiv 2205.14135).
// A row whose keys are all masked gives zeros, as torch 2.11 does. Results do
// not depend on the thread count, except for few query rows over many keys,
// where the keys are split among the threads.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/status.h"
#include "core/dtype.h"

namespace kiln::cpu {

enum class AttentionMask : uint8_t { kNone, kAdditive, kBool };

// Strides are in elements and may have any value (0 broadcasts, negative is
// allowed on inputs). Inner strides of 1 are fast.
struct AttentionParams {
  // Of q, k, v and out. 16-bit floats are computed with in f32.
  DType dtype = DType::kF32;
  int64_t batch = 0, heads = 0, kv_heads = 0;
  int64_t q_len = 0, kv_len = 0;
  int64_t head_dim = 0, value_dim = 0;
  std::array<int64_t, 4> q_strides{};    // [batch, heads, q_len, head_dim]
  std::array<int64_t, 4> k_strides{};    // [batch, kv_heads, kv_len, head_dim]
  std::array<int64_t, 4> v_strides{};    // [batch, kv_heads, kv_len, value_dim]
  std::array<int64_t, 4> out_strides{};  // [batch, heads, q_len, value_dim]; no two equal places
  AttentionMask mask = AttentionMask::kNone;
  DType mask_dtype = DType::kF32;  // of an additive mask: dtype, or f32 beside 16 bits
  std::array<int64_t, 4> mask_strides{};  // [batch, heads, q_len, kv_len]
  bool causal = false;                    // key j counts only if j <= i (aligned at the top left)
  double scale = 1.0;

  // K4321: sizes, dtype. Every other function here requires an OK answer.
  Status validate() const;
};

struct AttentionBuffers {
  const void* q = nullptr;
  const void* k = nullptr;
  const void* v = nullptr;
  const void* mask = nullptr;  // mask_dtype elements (kAdditive), or bytes: nonzero
                               // takes part (kBool)
  void* out = nullptr;
};

// Bytes of scratch for `threads` >= 1, the number of parts the work is cut
// into.
size_t attention_scratch_bytes(const AttentionParams& params, int threads);

// `scratch` is 64-byte aligned and has attention_scratch_bytes(params, threads)
// bytes.
void attention(const AttentionParams& params, const AttentionBuffers& buffers, void* scratch,
               int threads);

}  // namespace kiln::cpu

// causal attention by warps with a mask of rows, operands that lie anyhow
// | attention {"dtype": "bf16", "matrix": true, "warpgroup": false, "rows": 128, "once": false,
// |  "keys": 64, "head_dim": 40, "value_dim": 20, "causal": true, "scale": 0.125, "mask": true,
// |  "mask_dtype": "bool", "mask_of_columns": false, "mask_pairs": false, "q_eight": true,
// |  "k_eight": true, "v_eight": false, "o_eight": false, "wide": true, "sizes": {"batch": null,
// |  "heads": 12, "kv_heads": 4, "rows": null, "columns": null, "q0": null, "q1": null, "q2": 40,
// |  "q3": 1, "k0": null, "k1": null, "k2": 40, "k3": 1, "v0": null, "v1": null, "v2": 20, "v3": 1,
// |  "o0": null, "o1": null, "o2": 20, "o3": 1, "m0": null, "m1": null, "m2": null, "m3": 1}}

// ---- attention: attention_mma_bf16
#include "device/matrix_attention.h"

using Index = int64;

constexpr Index heads = 12LL;
constexpr Index kv_heads = 4LL;
constexpr Index q2 = 40LL;
constexpr Index q3 = 1LL;
constexpr Index k2 = 40LL;
constexpr Index k3 = 1LL;
constexpr Index v2 = 20LL;
constexpr Index v3 = 1LL;
constexpr Index o2 = 20LL;
constexpr Index o3 = 1LL;
constexpr Index m3 = 1LL;

struct Scores {
  static constexpr MaskKind kMask = MaskKind::kOfRows;
  static constexpr bool kCausal = true, kPairs = false;
  static constexpr float kScale = static_cast<float>(0.18033688011112042);
  using Mask = bool;
  In<bool> base;
  Index m2;
  KILN_DEVICE In<Mask> mask_at([[maybe_unused]] Index i, Index j) const {
    return base + (i * m2 + j * m3);
  }
  KILN_DEVICE float addend(Mask mask) const {
    return mask ? 0.0f : -infinity_of(0.0f);
  }
  KILN_DEVICE float masked(float product, float addend) const {
    return addend == 0.0f ? product * kScale : addend;
  }
};

struct Result {
  Out<bf16> base;
  Index rows;
  template <class Number>
  KILN_DEVICE void put(Index i, Index e, Number value) const {
    if (i < rows) base[i * o2 + e * o3] = narrow<bf16>(value);
  }
};

// A block has 128 queries of a head.
KILN_KERNEL(256) void attention_mma_bf16(In<bf16> q, In<bf16> k, In<bf16> v, In<bool> mask, Out<bf16> out, int64 batch_given, int64 rows_given, int64 columns_given, int64 q0_given, int64 q1_given, int64 k0_given, int64 k1_given, int64 v0_given, int64 v1_given, int64 o0_given, int64 o1_given, int64 m0_given, int64 m1_given, int64 m2_given) {
  const Index batch = static_cast<Index>(batch_given);
  const Index rows = static_cast<Index>(rows_given);
  const Index columns = static_cast<Index>(columns_given);
  const Index q0 = static_cast<Index>(q0_given);
  const Index q1 = static_cast<Index>(q1_given);
  const Index k0 = static_cast<Index>(k0_given);
  const Index k1 = static_cast<Index>(k1_given);
  const Index v0 = static_cast<Index>(v0_given);
  const Index v1 = static_cast<Index>(v1_given);
  const Index o0 = static_cast<Index>(o0_given);
  const Index o1 = static_cast<Index>(o1_given);
  const Index m0 = static_cast<Index>(m0_given);
  const Index m1 = static_cast<Index>(m1_given);
  const Index m2 = static_cast<Index>(m2_given);
  wait_for_previous(q, k, v, mask, out);
  const int64 row_blocks = (static_cast<int64>(rows) + 127) / 128;
  const int64 all_heads = static_cast<int64>(batch) * heads;
  const int64 block = row_blocks - 1 - block_x() / all_heads;
  const int64 head = block_x() % all_heads;
  const Index first_row = static_cast<Index>(block * 128);
  const Index h = static_cast<Index>(head % heads), b = static_cast<Index>(head / heads);
  const Index kv_h = h / (heads / kv_heads);
  Index end_key = columns;
  if (end_key > first_row + 128) end_key = first_row + 128;
  const Rows<bf16, Index> of_q{q + b * q0 + h * q1, rows, q2, q3};
  const Rows<bf16, Index> of_k{k + b * k0 + kv_h * k1, columns, k2, k3};
  const Rows<bf16, Index> of_v{v + b * v0 + kv_h * v1, columns, v2, v3};
  const Scores scores{mask + b * m0 + h * m1, m2};
  const Result result{out + b * o0 + h * o1, rows};
  using Tile = MatrixAttentionTile<128, 64, false, true, true, false, false>;
  MatrixAttention<bf16, 40, 20, Tile, Index, Scores, Result>{
      of_q, of_k, of_v, scores, result, first_row, end_key}.run();
}

// all keys at once, a mask of keys, rows that are not known
// | warpgroup_attention {"dtype": "f16", "matrix": true, "warpgroup": true, "rows": 64, "once": true, "keys": 112,
// |  "head_dim": 64, "value_dim": 64, "causal": false, "scale": 0.125, "mask": true,
// |  "mask_dtype": "f16", "mask_of_columns": true, "mask_pairs": false, "q_eight": true,
// |  "k_eight": true, "v_eight": true, "o_eight": true, "wide": false, "sizes": {"batch": null,
// |  "heads": 12, "kv_heads": 12, "rows": null, "columns": 100, "q0": 230400, "q1": 64, "q2": 2304,
// |  "q3": 1, "k0": 230400, "k1": 64, "k2": 2304, "k3": 1, "v0": 230400, "v1": 64, "v2": 2304, "v3": 1,
// |  "o0": null, "o1": 64, "o2": 768, "o3": 1, "m0": 100, "m1": 0, "m2": 0, "m3": 1}}

// ---- warpgroup_attention: warpgroup_attention_f16
#include "device/warpgroup_attention.h"

using Index = int32;

constexpr Index heads = 12;
constexpr Index kv_heads = 12;
constexpr Index columns = 100;
constexpr Index q0 = 230400;
constexpr Index q1 = 64;
constexpr Index q2 = 2304;
constexpr Index q3 = 1;
constexpr Index k0 = 230400;
constexpr Index k1 = 64;
constexpr Index k2 = 2304;
constexpr Index k3 = 1;
constexpr Index v0 = 230400;
constexpr Index v1 = 64;
constexpr Index v2 = 2304;
constexpr Index v3 = 1;
constexpr Index o1 = 64;
constexpr Index o2 = 768;
constexpr Index o3 = 1;
constexpr Index m0 = 100;
constexpr Index m1 = 0;
constexpr Index m2 = 0;
constexpr Index m3 = 1;

struct Scores {
  static constexpr MaskKind kMask = MaskKind::kOfColumns;
  static constexpr bool kCausal = false, kPairs = false;
  static constexpr float kScale = static_cast<float>(0.18033688011112042);
  using Mask = f16;
  In<f16> base;
  KILN_DEVICE In<Mask> mask_at([[maybe_unused]] Index i, Index j) const {
    return base + (i * m2 + j * m3);
  }
  KILN_DEVICE float addend(Mask mask) const {
    const float given = static_cast<float>(widen(mask));
    const float more = given * static_cast<float>(1.4426950408889634);
    return more == -infinity_of(0.0f) && given > more ? -3.402823466e+38f : more;
  }
  KILN_DEVICE float masked(float product, float addend) const {
    return multiply_add(product, kScale, addend);
  }
};

struct Result {
  Out<f16> base;
  Index rows;
  template <class Number>
  KILN_DEVICE void put(Index i, Index e, Number value) const {
    if (i < rows) base[i * o2 + e * o3] = narrow<f16>(value);
  }
  KILN_DEVICE void put_eight(Index i, Index e,
                             const Pack<f16, 8>& values) const {
    if (i < rows) store<8>(base + (i * o2 + e), values);
  }
};

// A block has 64 queries of a head.
KILN_KERNEL(128) void warpgroup_attention_f16(In<f16> q, In<f16> k, In<f16> v, In<f16> mask, Out<f16> out, int64 batch_given, int64 rows_given, int64 o0_given) {
  const Index batch = static_cast<Index>(batch_given);
  const Index rows = static_cast<Index>(rows_given);
  const Index o0 = static_cast<Index>(o0_given);
  wait_for_previous(q, k, v, mask, out);
  const int64 row_blocks = (static_cast<int64>(rows) + 63) / 64;
  const int64 block = block_x() % row_blocks;
  const int64 head = block_x() / row_blocks;
  const Index first_row = static_cast<Index>(block * 64);
  const Index h = static_cast<Index>(head % heads), b = static_cast<Index>(head / heads);
  const Index kv_h = h / (heads / kv_heads);
  Index end_key = columns;
  const Rows<f16, Index> of_q{q + b * q0 + h * q1, rows, q2, q3};
  const Rows<f16, Index> of_k{k + b * k0 + kv_h * k1, columns, k2, k3};
  const Rows<f16, Index> of_v{v + b * v0 + kv_h * v1, columns, v2, v3};
  const Scores scores{mask + b * m0 + h * m1};
  const Result result{out + b * o0 + h * o1, rows};
  using Tile = WarpgroupAttentionTile<1, 112, true>;
  WarpgroupAttention<f16, 64, 64, Tile, Index, Scores, Result>{
      of_q, of_k, of_v, scores, result, first_row, end_key, 0}.run();
}

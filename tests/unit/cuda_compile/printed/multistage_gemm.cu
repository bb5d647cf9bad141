// a product of few tiles, a split depth and what follows it
// | multistage_gemm {"dtype": "f16", "rows": 64, "columns": 96, "warp_rows": 32, "warp_columns": 48,
// | "depth": 64, "stages": 3, "split": 2, "factor": 0.5, "bias": true, "add": true,
// | "activation": "gelu", "alpha": 0, "beta": 0, "four": true, "wide": false, "sizes": {"m": null,
// | "n": 3072, "k": 768, "am": 768, "bn": 768, "cm": 3072, "cn": 1, "h": 1, "dm": 3072, "dn": 1}}

// ---- multistage_gemm: multistage_gemm_f16
#include "device/multistage_gemm.h"
#include "device/math.h"

using Index = int32;

constexpr Index n = 3072;
constexpr Index k = 768;
constexpr Index am = 768;
constexpr Index bn = 768;
constexpr Index cm = 3072;
constexpr Index cn = 1;
constexpr Index h = 1;
constexpr Index dm = 3072;
constexpr Index dn = 1;

struct Result {
  Out<f16> base;
  In<f16> bias;
  In<f16> d;
  Index m;
  struct Extra {
    Pack<f16, 4> bias;
    Pack<f16, 4> d;
  };
  KILN_DEVICE Extra extra([[maybe_unused]] Index row, [[maybe_unused]] Index column) const {
    Extra result{};
    if (column < n) result.bias = load<4>(bias + (column));
    if (row < m && column < n) result.d = load<4>(d + (row * dm + column));
    return result;
  }
  KILN_DEVICE void put(Index row, Index column,
                       [[maybe_unused]] const Extra& extra,
                       const float (&sums)[4]) const {
    if (row >= m || column >= n) return;
    Pack<f16, 4> results;
    KILN_UNROLL
    for (int32 e = 0; e < 4; ++e) {
      float value = sums[e];
      value = value * static_cast<float>(0.5);
      value = value + widen(extra.bias.at[e]);
      value = value + widen(extra.d.at[e]);
      value = fn::gelu_erf(value);
      results.at[e] = narrow<f16>(value);
    }
    store<4>(base + (row * cm + column), results);
  }
};

// A cluster a tile of 64 x 96: 64x96x64 stages 3 split 2.
KILN_CLUSTER_KERNEL(128, 2) void multistage_gemm_f16(In<f16> a, In<f16> b, In<f16> bias, In<f16> d, Out<f16> c, int64 m_given) {
  const Index m = static_cast<Index>(m_given);
  using Tile = GemmTile<64, 96, 32, 48, 64, 3>;
  constexpr int32 kParts = cluster_blocks(2);
  const int64 tile = block_x() / kParts;
  const int64 rows = (static_cast<int64>(m) + (Tile::kRows - 1)) / Tile::kRows;
  const Index row = static_cast<Index>(tile % rows * Tile::kRows);
  const Index column = static_cast<Index>(tile / rows * Tile::kColumns);
  const int32 part = static_cast<int32>(block_x() % kParts);
  prefetch_rows<Tile, kParts, Tile::kColumns>(DepthRows<f16, Index>{b, n, bn, k}, column, part);
  wait_for_previous(a, b, bias, d, c);
  multistage_gemm<f16, Tile, kParts, true>(DepthRows<f16, Index>{a, m, am, k},
      DepthRows<f16, Index>{b, n, bn, k}, Result{c, bias, d, m}, row, column, part);
}

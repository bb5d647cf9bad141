// a product of few tiles with what follows it
// | main(%x: f16[128,768], %w: f16[3072,768], %b: f16[3072]) {
// |   %0 = linear(%x, %w, %b) : f16[128,3072]
// |   %1 = gelu(%0) {approximate="none"} : f16[128,3072]
// |   return %1 {name="y"}
// | }

// ---- multistage_gemm: multistage_gemm_f16
#include "device/multistage_gemm.h"
#include "device/math.h"

using Index = int32;

constexpr Index m = 128;
constexpr Index n = 3072;
constexpr Index k = 768;
constexpr Index am = 768;
constexpr Index bn = 768;
constexpr Index cm = 3072;
constexpr Index cn = 1;
constexpr Index h = 1;

struct Result {
  Out<f16> base;
  In<f16> bias;
  struct Extra {
    Pack<f16, 8> bias;
  };
  KILN_DEVICE Extra extra([[maybe_unused]] Index row, [[maybe_unused]] Index column) const {
    Extra result{};
    if (column < n) result.bias = load<8>(bias + (column));
    return result;
  }
  KILN_DEVICE void put(Index row, Index column,
                       [[maybe_unused]] const Extra& extra,
                       const float (&sums)[8]) const {
    if (row >= m || column >= n) return;
    Pack<f16, 8> results;
    KILN_UNROLL
    for (int32 e = 0; e < 8; ++e) {
      float value = sums[e];
      value = value + widen(extra.bias.at[e]);
      value = fn::gelu_erf(value);
      results.at[e] = narrow<f16>(value);
    }
    store<8>(base + (row * cm + column), results);
  }
};

// A cluster a tile of 64 x 96: 64x96x64 stages 3 split 2.
KILN_CLUSTER_KERNEL(128, 2) void multistage_gemm_f16(In<f16> a, In<f16> b, In<f16> bias, Out<f16> c) {
  wait_for_previous(a, b, bias, c);
  using Tile = GemmTile<64, 96, 32, 48, 64, 3>;
  constexpr int32 kParts = cluster_blocks(2);
  const int64 tile = block_x() / kParts;
  const int64 rows = (static_cast<int64>(m) + (Tile::kRows - 1)) / Tile::kRows;
  const Index row = static_cast<Index>(tile % rows * Tile::kRows);
  const Index column = static_cast<Index>(tile / rows * Tile::kColumns);
  multistage_gemm<f16, Tile, kParts, true>(DepthRows<f16, Index>{a, m, am, k},
      DepthRows<f16, Index>{b, n, bn, k}, Result{c, bias}, row, column,
      static_cast<int32>(block_x() % kParts));
}

// a product of many tiles with what follows it
// | main(%x: bf16[4096,768], %w: bf16[3072,768], %b: bf16[3072]) {
// |   %0 = linear(%x, %w, %b) : bf16[4096,3072]
// |   %1 = gelu(%0) {approximate="none"} : bf16[4096,3072]
// |   return %1 {name="y"}
// | }

// ---- multistage_gemm: multistage_gemm_bf16
#include "device/multistage_gemm.h"
#include "device/math.h"

using Index = int32;

constexpr Index m = 4096;
constexpr Index n = 3072;
constexpr Index k = 768;
constexpr Index am = 768;
constexpr Index bn = 768;
constexpr Index cm = 3072;
constexpr Index cn = 1;
constexpr Index h = 1;

struct Result {
  Out<bf16> base;
  In<bf16> bias;
  struct Extra {
    Pack<bf16, 8> bias;
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
    Pack<bf16, 8> results;
    KILN_UNROLL
    for (int32 e = 0; e < 8; ++e) {
      float value = sums[e];
      value = value + widen(extra.bias.at[e]);
      value = fn::gelu_erf(value);
      results.at[e] = narrow<bf16>(value);
    }
    store<8>(base + (row * cm + column), results);
  }
};

// A cluster a tile of 128 x 128: 128x128x64 stages 3 split 1.
KILN_KERNEL(256) void multistage_gemm_bf16(In<bf16> a, In<bf16> b, In<bf16> bias, Out<bf16> c) {
  using Tile = GemmTile<128, 128, 64, 32, 64, 3>;
  constexpr int32 kParts = cluster_blocks(1);
  const int64 tile = block_x() / kParts;
  const int64 rows = (static_cast<int64>(m) + (Tile::kRows - 1)) / Tile::kRows;
  const Index row = static_cast<Index>(tile % rows * Tile::kRows);
  const Index column = static_cast<Index>(tile / rows * Tile::kColumns);
  multistage_gemm<bf16, Tile, kParts, true>(DepthRows<bf16, Index>{a, m, am, k},
      DepthRows<bf16, Index>{b, n, bn, k}, Result{c, bias}, row, column,
      static_cast<int32>(block_x() % kParts));
}

// ---- warpgroup_gemm: warpgroup_gemm_bf16
#include "device/warpgroup_product.h"
#include "device/math.h"

using Index = int32;


struct Result {
  static constexpr bool kBias = true, kAdd = false;
  Out<bf16> base;
  In<bf16> bias;
  Index cm;
  KILN_DEVICE In<bf16> bias_at([[maybe_unused]] Index column) const { return bias + column; }
  KILN_DEVICE In<bf16> add_at([[maybe_unused]] Index row, [[maybe_unused]] Index column) const {
    return {};
  }
  KILN_DEVICE Out<bf16> at(Index row, Index column) const { return base + (row * cm + column); }
  KILN_DEVICE float value(float value, [[maybe_unused]] float of_column,
                          [[maybe_unused]] float of_result) const {
    value = value + of_column;
    return fn::gelu_erf_of_16_bits(value);
  }
};

// Tiles of 128x192 stages 5 overlap, by turns over all blocks.
KILN_SOLE_KERNEL(384) void warpgroup_gemm_bf16(KILN_TENSOR_MAP(a), KILN_TENSOR_MAP(b), In<bf16> bias, Out<bf16> c, int64 m_given, int64 n_given, int64 k_given, int64 am_given, int64 bn_given, int64 cm_given, int64 cn_given, int64 h_given) {
  const Index m = static_cast<Index>(m_given);
  const Index n = static_cast<Index>(n_given);
  const Index k = static_cast<Index>(k_given);
  const Index am = static_cast<Index>(am_given);
  const Index bn = static_cast<Index>(bn_given);
  const Index cm = static_cast<Index>(cm_given);
  const Index cn = static_cast<Index>(cn_given);
  const Index h = static_cast<Index>(h_given);
  using Tile = WarpgroupTile<1, 192, 2, true, 5>;
  const Result result{c, bias, cm};
  WarpgroupProduct<bf16, Tile, Index, Result>{a, b, result, m, n, k, 0, 0, 0, 0}.run();
}

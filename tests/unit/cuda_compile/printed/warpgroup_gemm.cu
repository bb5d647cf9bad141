// a product of many tiles and what follows it
// | warpgroup_gemm {"dtype": "bf16", "row_blocks": 1, "columns": 192, "consumers": 2, "overlap": true,
// |  "stages": 4, "factor": 0.5, "bias": true, "add": true, "activation": "gelu", "alpha": 0, "beta": 0,
// |  "wide": false, "sizes": {"m": null, "n": null, "k": null, "am": null, "bn": null, "cm": null,
// |  "cn": null, "h": null, "dm": null, "dn": null}}

// ---- warpgroup_gemm: warpgroup_gemm_bf16
#include "device/warpgroup_product.h"
#include "device/math.h"

using Index = int32;


struct Result {
  static constexpr bool kBias = true;
  Out<bf16> base;
  In<bf16> bias;
  In<bf16> d;
  Index cm;
  Index dm;
  KILN_DEVICE In<bf16> bias_at([[maybe_unused]] Index column) const { return bias + column; }
  KILN_DEVICE In<bf16> add_at([[maybe_unused]] Index row, [[maybe_unused]] Index column) const {
    return d + (row * dm + column);
  }
  KILN_DEVICE Out<bf16> at(Index row, Index column) const { return base + (row * cm + column); }
  KILN_DEVICE float value(float value, [[maybe_unused]] float of_column,
                          [[maybe_unused]] float of_result) const {
    value = value * static_cast<float>(0.5);
    value = value + of_column;
    value = value + of_result;
    return fn::gelu_erf_of_16_bits(value);
  }
};

// Tiles of 128x192 stages 4 overlap, by turns over all blocks.
KILN_SOLE_KERNEL(384) void warpgroup_gemm_bf16(KILN_TENSOR_MAP(a), KILN_TENSOR_MAP(b), In<bf16> bias, In<bf16> d, Out<bf16> c, int64 m_given, int64 n_given, int64 k_given, int64 am_given, int64 bn_given, int64 cm_given, int64 cn_given, int64 h_given, int64 dm_given, int64 dn_given) {
  const Index m = static_cast<Index>(m_given);
  const Index n = static_cast<Index>(n_given);
  const Index k = static_cast<Index>(k_given);
  const Index am = static_cast<Index>(am_given);
  const Index bn = static_cast<Index>(bn_given);
  const Index cm = static_cast<Index>(cm_given);
  const Index cn = static_cast<Index>(cn_given);
  const Index h = static_cast<Index>(h_given);
  const Index dm = static_cast<Index>(dm_given);
  const Index dn = static_cast<Index>(dn_given);
  using Tile = WarpgroupTile<1, 192, 2, true, 4, true>;
  const WarpgroupProblem<bf16, Tile, Index> problem(a, b, m, n, k);
  problem.prepare();
  wait_for_previous(bias, d, c);
  const Result result{c, bias, d, cm, dm};
  WarpgroupProduct<bf16, Tile, Index, Result>(problem, result).run();
}

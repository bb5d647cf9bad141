// "multistage_gemm": what device/multistage_gemm.h is asked for, and what becomes of its sums.
#include "backends/cuda/compile/kernel_activation.h"
#include "backends/cuda/compile/kernel_text.h"
#include "backends/cuda/runtime/multistage_gemm.h"

namespace kiln::cuda {
namespace {

constexpr const char* kExtra = R"(  struct Extra {
$declares  };
  KILN_DEVICE Extra extra([[maybe_unused]] Index row, [[maybe_unused]] Index column) const {
    Extra result{};
$loads    return result;
  }
)";

bool divides_baked(const KernelSizes& sizes, std::string_view name, int64_t count) {
  for (const KernelSizes::Entry& entry : sizes.entries()) {
    if (entry.name == name) return entry.baked && *entry.baked % count == 0;
  }
  return false;
}

// The struct Result: where sums go.
std::string result_text(const MultistageGemm& p, const std::string& type,
                        const std::vector<std::string>& of_c) {
  // What is loaded ahead, in fours.
  std::string declares, loads, ahead, here;
  const auto operand = [&](const char* name, const std::string& at, bool row_too) {
    declares += "    Pack<" + type + ", 4> " + name + ";\n";
    loads += std::string("    if (") + (row_too ? "row < m && " : "") + "column < n) result." +
             name + " = load<4>(" + name + " + (" + at + "));\n";
    ahead += std::string("      value = value + widen(extra.") + name + ".at[e]);\n";
  };
  const auto single = [&](const char* name, const std::string& at) {
    here += "      const " + type + " " + name + "_here = " + name + "[" + at +
            "];\n      value = value + widen(" + name + "_here);\n";
  };
  if (p.bias) {
    if (p.four) operand("bias", "column", false);
    single("bias", "(column + e) * h");
  }
  if (p.add) {
    if (p.four) operand("d", "row * dm + column", true);
    single("d", "row * dm + (column + e) * dn");
  }
  const std::string finish =
      (p.alpha == 1 ? std::string()
                    : "      value = value * static_cast<float>(" + double_literal(p.alpha) +
                          ");\n") +
      (p.four ? ahead : here) +
      (p.activation.kind == KernelActivation::Kind::kNone
           ? std::string()
           : "      value = " + activation_text(p.activation, "float", "value") + ";\n");
  const std::string body =
      p.four ? fill(R"(    if (row >= m || column >= n) return;
    Pack<$type, 4> results;
    KILN_UNROLL
    for (int32 e = 0; e < 4; ++e) {
      float value = sums[e];
$finish      results.at[e] = narrow<$type>(value);
    }
    store<4>(base + (row * cm + column), results);
)",
                     {{"type", type}, {"finish", finish}})
              : fill(R"(    if (row >= m) return;
    KILN_UNROLL
    for (int32 e = 0; e < 4; ++e) {
      if (column + e >= n) return;
      float value = sums[e];
$finish      base[row * cm + (column + e) * cn] = narrow<$type>(value);
    }
)",
                     {{"type", type}, {"finish", finish}});
  return fill(R"(struct Result {
  Out<$type> base;
$pointers$members$extra  KILN_DEVICE void put(Index row, Index column,
                       [[maybe_unused]] const Extra& extra,
                       const float (&sums)[4]) const {
$body  }
};
)",
              {{"type", type},
               {"pointers", (p.bias ? "  In<" + type + "> bias;\n" : "") +
                                (p.add ? "  In<" + type + "> d;\n" : "")},
               {"members", size_members(p.sizes, of_c)},
               {"extra", fill(kExtra, {{"declares", declares}, {"loads", loads}})},
               {"body", body}});
}

Result<KernelSource> print_multistage_gemm(const Json& json) {
  KILN_ASSIGN_OR_RETURN(const MultistageGemm p, MultistageGemm::from_json(json));
  const GemmTiling& t = p.tiling;
  const std::string type(device_type(p.dtype));
  const std::vector<std::string> of_c{"m", "n", "cm", "cn", "h", "dm", "dn"};
  KernelParts parts;
  parts.headers = {"device/multistage_gemm.h", "device/math.h"};
  parts.wide = p.wide;
  parts.threads = static_cast<int>(t.threads());
  parts.cluster = static_cast<int>(t.split);
  parts.before = result_text(p, type, of_c);
  parts.pointers = {"In<" + type + "> a", "In<" + type + "> b"};
  if (p.bias) parts.pointers.push_back("In<" + type + "> bias");
  if (p.add) parts.pointers.push_back("In<" + type + "> d");
  parts.pointers.push_back("Out<" + type + "> c");
  parts.entry = "multistage_gemm_" + std::string(dtype_name(p.dtype));
  parts.comment = fill("// A cluster a tile of $rows x $columns: $tiling.\n",
                       {{"rows", std::to_string(t.rows)},
                        {"columns", std::to_string(t.columns)},
                        {"tiling", t.to_string()}});
  // Blocks beside each other have different rows: they share the columns' part of B, the weights.
  parts.early =
      fill(R"(  using Tile = GemmTile<$tile>;
  constexpr int32 kParts = cluster_blocks($split);
  const int64 tile = block_x() / kParts;
  const int64 rows = (static_cast<int64>(m) + (Tile::kRows - 1)) / Tile::kRows;
  const Index row = static_cast<Index>(tile % rows * Tile::kRows);
  const Index column = static_cast<Index>(tile / rows * Tile::kColumns);
  const int32 part = static_cast<int32>(block_x() % kParts);
  prefetch_rows<Tile, kParts, Tile::kColumns>(DepthRows<$type, Index>{b, n, bn, k}, column, part);
)",
           {{"tile", std::to_string(t.rows) + ", " + std::to_string(t.columns) + ", " +
                         std::to_string(t.warp_rows) + ", " + std::to_string(t.warp_columns) +
                         ", " + std::to_string(t.depth) + ", " + std::to_string(t.stages)},
            {"split", std::to_string(t.split)},
            {"type", type}});
  parts.body =
      fill(R"(  multistage_gemm<$type, Tile, kParts, $whole>(DepthRows<$type, Index>{a, m, am, k},
      DepthRows<$type, Index>{b, n, bn, k}, Result{c$bias$add$of_c}, row, column, part);
)",
           {{"type", type},
            {"whole", divides_baked(p.sizes, "k", t.depth) ? "true" : "false"},
            {"bias", p.bias ? ", bias" : ""},
            {"add", p.add ? ", d" : ""},
            {"of_c", size_values(p.sizes, of_c)}});
  return assemble(parts, p.sizes);
}

KILN_CUDA_KERNEL_FAMILY(multistage_gemm, MultistageGemm::kFamily, print_multistage_gemm);

}  // namespace
}  // namespace kiln::cuda

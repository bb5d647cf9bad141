// "warpgroup_gemm": what device/warpgroup_product.h is asked for, and what becomes of its sums.
#include "backends/cuda/runtime/warpgroup_gemm.h"

#include "backends/cuda/compile/kernel_activation.h"
#include "backends/cuda/compile/kernel_text.h"

namespace kiln::cuda {
namespace {

// The result is rounded to 16 bits: what is more exact than that is lost.
std::string activation(const KernelActivation& activation) {
  if (activation.kind == KernelActivation::Kind::kGelu) return "fn::gelu_erf_of_16_bits(value)";
  return activation_text(activation, "float", "value");
}

std::string result_text(const WarpgroupGemm& p, const std::string& type,
                        const std::vector<std::string>& of_c) {
  const auto either = [](bool there, const char* yes, const char* no) {
    return std::string(there ? yes : no);
  };
  std::string value;
  if (p.alpha != 1) {
    value += "    value = value * static_cast<float>(" + double_literal(p.alpha) + ");\n";
  }
  if (p.bias) value += "    value = value + of_column;\n";
  if (p.add) value += "    value = value + of_result;\n";
  return fill(R"(struct Result {
  static constexpr bool kBias = $has_bias;
  Out<$type> base;
$pointers$members  KILN_DEVICE In<$type> bias_at([[maybe_unused]] Index column) const { return $bias; }
  KILN_DEVICE In<$type> add_at([[maybe_unused]] Index row, [[maybe_unused]] Index column) const {
    return $add;
  }
  KILN_DEVICE Out<$type> at(Index row, Index column) const { return base + (row * cm + column); }
  KILN_DEVICE float value(float value, [[maybe_unused]] float of_column,
                          [[maybe_unused]] float of_result) const {
$value    return $activation;
  }
};
)",
              {{"type", type},
               {"has_bias", either(p.bias, "true", "false")},
               {"pointers", (p.bias ? "  In<" + type + "> bias;\n" : "") +
                                (p.add ? "  In<" + type + "> d;\n" : "")},
               {"members", size_members(p.sizes, of_c)},
               {"bias", either(p.bias, "bias + column", "{}")},
               {"add", either(p.add, "d + (row * dm + column)", "{}")},
               {"value", value},
               {"activation", activation(p.activation)}});
}

Result<KernelSource> print_warpgroup_gemm(const Json& json) {
  KILN_ASSIGN_OR_RETURN(const WarpgroupGemm p, WarpgroupGemm::from_json(json));
  const WarpgroupTiling& t = p.tiling;
  const std::string type(device_type(p.dtype));
  const std::vector<std::string> of_c{"cm", "dm"};
  KernelParts parts;
  parts.headers = {"device/warpgroup_product.h", "device/math.h"};
  parts.wide = p.wide;
  parts.threads = static_cast<int>(t.threads());
  parts.alone = true;
  parts.before = result_text(p, type, of_c);
  parts.pointers = {"KILN_TENSOR_MAP(a)", "KILN_TENSOR_MAP(b)"};
  if (p.bias) parts.pointers.push_back("In<" + type + "> bias");
  if (p.add) parts.pointers.push_back("In<" + type + "> d");
  parts.pointers.push_back("Out<" + type + "> c");
  parts.entry = "warpgroup_gemm_" + std::string(dtype_name(p.dtype));
  parts.comment = "// Tiles of " + t.to_string() + ", by turns over all blocks.\n";
  const std::string operands = std::string("c") + (p.bias ? ", bias" : "") +
                               (p.add ? ", d" : "") + size_values(p.sizes, of_c);
  parts.early = fill(R"(  using Tile = WarpgroupTile<$tile>;
  const WarpgroupProblem<$type, Tile, Index> problem(a, b, m, n, k);
  problem.prepare();
)",
                    {{"tile", std::to_string(t.row_blocks) + ", " + std::to_string(t.columns) +
                                  ", " + std::to_string(t.consumers) + ", " +
                                  (t.overlap ? "true, " : "false, ") + std::to_string(t.stages) +
                                  (p.add ? ", true" : ", false")},
                     {"type", type}});
  parts.body = fill(R"(  const Result result{$operands};
  WarpgroupProduct<$type, Tile, Index, Result>(problem, result).run();
)",
                    {{"type", type}, {"operands", operands}});
  return assemble(parts, p.sizes);
}

KILN_CUDA_KERNEL_FAMILY(warpgroup_gemm, WarpgroupGemm::kFamily, print_warpgroup_gemm);

}  // namespace
}  // namespace kiln::cuda

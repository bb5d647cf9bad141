// "attention", "warpgroup_attention": operands of device/attention.h, matrix_attention.h and
// warpgroup_attention.h.
#include "backends/cuda/runtime/attention_kernel.h"

#include "backends/cuda/compile/kernel_text.h"
#include "base/status.h"

namespace kiln::cuda {
namespace {

constexpr double kLog2E = 1.4426950408889634;

// The lowest number of f32 or bf16, with which rows are masked whose result is the mean of all
// values, must not become the infinity that stands for keys that are not there.
constexpr const char* kAddInBase2 = R"(    const float given = static_cast<float>(widen(mask));
    const float more = given * static_cast<float>($log2e);
    return more == -infinity_of(0.0f) && given > more ? -3.402823466e+38f : more;
)";

// Blocks of one head side by side: they share its keys and values.
constexpr const char* kHeadByHead = R"(  const int64 block = block_x() % row_blocks;
  const int64 head = block_x() / row_blocks;
)";
// Under a causal mask, the last queries have most to do; what is left at the end should be short.
constexpr const char* kLongestFirst =
    R"(  const int64 all_heads = static_cast<int64>(batch) * heads;
  const int64 block = row_blocks - 1 - block_x() / all_heads;
  const int64 head = block_x() % all_heads;
)";

constexpr const char* kMaskAt = R"(  KILN_DEVICE Mask mask(Index i, Index j) const {
    return base[i * m2 + j * m3];
  }
)";
constexpr const char* kMaskPointer =
    R"(  KILN_DEVICE In<Mask> mask_at([[maybe_unused]] Index i, Index j) const {
    return base + (i * m2 + j * m3);
  }
  KILN_DEVICE float addend(Mask mask) const {
$addend  }
  KILN_DEVICE float masked(float product, float addend) const {
$masked  }
)";
constexpr const char* kSimtScores = R"(struct Scores {
  static constexpr bool kMasked = $masked;
  using Mask = $mask_type;
$pointer$members  template <class Number>
  KILN_DEVICE Number of(Number score, [[maybe_unused]] Index i, [[maybe_unused]] Index j,
                        [[maybe_unused]] Mask mask) const {
    Number result = score * static_cast<Number>($scale);
$of    return result;
  }
$mask};
)";
constexpr const char* kMatrixScores = R"(struct Scores {
  static constexpr MaskKind kMask = MaskKind::$kind;
  static constexpr bool kCausal = $causal, kPairs = $pairs;
  static constexpr float kScale = static_cast<float>($scale);
  using Mask = $mask_type;
$pointer$members$mask};
)";
constexpr const char* kResult = R"(
struct Result {
  Out<$type> base;
$members  template <class Number>
  KILN_DEVICE void put(Index i, Index e, Number value) const {
    if (i < rows) base[i * o2 + e * o3] = narrow<$type>(value);
  }
$eight};
)";
constexpr const char* kPutEight = R"(  KILN_DEVICE void put_eight(Index i, Index e,
                             const Pack<$type, 8>& values) const {
    if (i < rows) store<8>(base + (i * o2 + e), values);
  }
)";

std::string yes(bool value) { return value ? "true" : "false"; }

const std::vector<std::string> kOfScores{"m2", "m3"}, kOfOut{"rows", "o2", "o3"};

std::string scores_text(const AttentionKernel& p) {
  const std::string mask_type = p.mask ? std::string(device_type(p.mask_dtype)) : "bool";
  const std::string pointer = p.mask ? "  In<" + mask_type + "> base;\n" : "";
  const std::string members = p.mask ? size_members(p.sizes, kOfScores) : "";
  const bool of_bool = p.mask_dtype == DType::kBool;
  if (!p.matrix) {
    std::string of;
    if (p.causal) of += "    if (j > i) result = -infinity_of(Number(0));\n";
    if (p.mask) {
      of += of_bool ? "    if (!mask) result = -infinity_of(Number(0));\n"
                    : "    result = result + static_cast<Number>(widen(mask));\n";
    }
    return fill(kSimtScores, {{"masked", yes(p.mask)},
                              {"mask_type", mask_type},
                              {"pointer", pointer},
                              {"members", members},
                              {"scale", double_literal(p.scale)},
                              {"of", of},
                              {"mask", p.mask ? kMaskAt : ""}});
  }
  std::string mask;
  if (p.mask) {
    mask = fill(kMaskPointer,
                {{"addend", of_bool ? "    return mask ? 0.0f : -infinity_of(0.0f);\n"
                                    : fill(kAddInBase2, {{"log2e", double_literal(kLog2E)}})},
                 {"masked", of_bool ? "    return addend == 0.0f ? product * kScale : addend;\n"
                                    : "    return multiply_add(product, kScale, addend);\n"}});
  }
  return fill(kMatrixScores, {{"kind", !p.mask             ? "kNone"
                                       : p.mask_of_columns ? "kOfColumns"
                                                           : "kOfRows"},
                              {"causal", yes(p.causal)},
                              {"pairs", yes(p.mask_pairs)},
                              {"scale", double_literal(p.scale * kLog2E)},
                              {"mask_type", mask_type},
                              {"pointer", pointer},
                              {"members", members},
                              {"mask", mask}});
}

// The call of the device function, on `of_q` and so on.
std::string call_text(const AttentionKernel& p, const std::string& type) {
  const std::string heads = std::to_string(p.head_dim) + ", " + std::to_string(p.value_dim);
  const std::string operands = "of_q, of_k, of_v, scores, result, first_row, end_key";
  if (!p.matrix) {
    return "  simt_attention<" + type + ", " + heads + ", " + std::to_string(p.tiling.keys) + ">(" +
           operands + ");\n";
  }
  const AttentionTiling& t = p.tiling;
  const std::string keys = std::to_string(t.keys) + ", " + yes(p.once);
  if (t.warpgroup) {
    return fill(R"(  using Tile = WarpgroupAttentionTile<$tile>;
  WarpgroupAttention<$type, $heads, Tile, Index, Scores, Result>{
      $operands, 0}.run();
)",
                {{"tile", std::to_string(t.rows / 64) + ", " + keys},
                 {"type", type},
                 {"heads", heads},
                 {"operands", operands}});
  }
  return fill(R"(  using Tile = MatrixAttentionTile<$tile>;
  MatrixAttention<$type, $heads, Tile, Index, Scores, Result>{
      $operands}.run();
)",
              {{"tile", std::to_string(t.rows) + ", " + keys + ", " + yes(p.q_eight) + ", " +
                            yes(p.k_eight) + ", " + yes(p.v_eight) + ", " + yes(p.o_eight)},
               {"type", type},
               {"heads", heads},
               {"operands", operands}});
}

KernelSource print_attention(const AttentionKernel& p) {
  const std::string type(device_type(p.dtype)), rows = std::to_string(p.rows());
  KernelParts parts;
  parts.headers = {!p.matrix            ? "device/attention.h"
                   : p.tiling.warpgroup ? "device/warpgroup_attention.h"
                                        : "device/matrix_attention.h"};
  parts.wide = p.wide;
  parts.threads = static_cast<int>(p.threads());
  parts.before = scores_text(p) +
                 fill(kResult, {{"type", type},
                                {"members", size_members(p.sizes, kOfOut)},
                                {"eight", p.o_eight ? fill(kPutEight, {{"type", type}}) : ""}});
  parts.pointers = {"In<" + type + "> q", "In<" + type + "> k", "In<" + type + "> v"};
  if (p.mask) parts.pointers.push_back("In<" + std::string(device_type(p.mask_dtype)) + "> mask");
  parts.pointers.push_back("Out<" + type + "> out");
  parts.entry = std::string(p.tiling.warpgroup ? "warpgroup_attention_"
                            : p.matrix         ? "attention_mma_"
                                               : "attention_") +
                std::string(dtype_name(p.dtype));
  parts.comment = fill("// A block has $rows queries of a head.\n", {{"rows", rows}});
  parts.body =
      fill(R"(  const int64 row_blocks = (static_cast<int64>(rows) + $edge) / $rows;
$order  const Index first_row = static_cast<Index>(block * $rows);
  const Index h = static_cast<Index>(head % heads), b = static_cast<Index>(head / heads);
  const Index kv_h = h / (heads / kv_heads);
  Index end_key = columns;
$causal  const Rows<$type, Index> of_q{q + b * q0 + h * q1, rows, q2, q3};
  const Rows<$type, Index> of_k{k + b * k0 + kv_h * k1, columns, k2, k3};
  const Rows<$type, Index> of_v{v + b * v0 + kv_h * v1, columns, v2, v3};
  const Scores scores{$scores};
  const Result result{out + b * o0 + h * o1$of_out};
$call)",
           {{"rows", rows},
            {"edge", std::to_string(p.rows() - 1)},
            {"causal", p.causal ? "  if (end_key > first_row + " + rows +
                                      ") end_key = first_row + " + rows + ";\n"
                                : ""},
            {"order", p.causal ? kLongestFirst : kHeadByHead},
            {"type", type},
            {"scores", p.mask ? "mask + b * m0 + h * m1" + size_values(p.sizes, kOfScores) : ""},
            {"of_out", size_values(p.sizes, kOfOut)},
            {"call", call_text(p, type)}});
  return assemble(parts, p.sizes);
}

Result<KernelSource> print_of_family(const Json& json, bool warpgroup) {
  KILN_ASSIGN_OR_RETURN(const AttentionKernel p, AttentionKernel::from_json(json));
  if (p.tiling.warpgroup != warpgroup) {
    return Status::error("K3212", "attention kernel: of another family");
  }
  return print_attention(p);
}
Result<KernelSource> print_by_warps(const Json& json) { return print_of_family(json, false); }
Result<KernelSource> print_by_warpgroups(const Json& json) { return print_of_family(json, true); }

KILN_CUDA_KERNEL_FAMILY(attention, AttentionKernel::kFamily, print_by_warps);
KILN_CUDA_KERNEL_FAMILY(warpgroup_attention, AttentionKernel::kWarpgroupFamily,
                        print_by_warpgroups);

}  // namespace
}  // namespace kiln::cuda

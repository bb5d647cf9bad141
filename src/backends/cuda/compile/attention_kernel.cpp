// "attention": operands of device/attention.h.
#include "backends/cuda/runtime/attention_kernel.h"

#include "backends/cuda/compile/kernel_text.h"

namespace kiln::cuda {
namespace {

constexpr double kLog2E = 1.4426950408889634;

// The lowest number of f32 or bf16, with which rows are masked whose result is the mean of all
// values, must not become the infinity that stands for keys that are not there.
constexpr const char* kAddInBase2 = R"(    const Number given = static_cast<Number>(widen(mask));
    Number more = given * static_cast<Number>($log2e);
    if (more == -infinity_of(Number(0)) && given > more) more = Number(-3.402823466e+38);
    result = result + more;
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
constexpr const char* kPutEight = R"(  KILN_DEVICE void put_eight(Index i, Index e,
                             const Pack<$type, 8>& values) const {
    if (i < rows) store<8>(base + (i * o2 + e), values);
  }
)";

std::string yes(bool value) { return value ? "true" : "false"; }

Result<KernelSource> print_attention(const Json& json) {
  KILN_ASSIGN_OR_RETURN(const AttentionKernel p, AttentionKernel::from_json(json));
  const std::string type(device_type(p.dtype)), mask_type(device_type(p.mask_dtype));
  const std::string number = p.dtype == DType::kF64 ? "double" : "float";
  const std::vector<std::string> of_scores{"m2", "m3"}, of_out{"rows", "o2", "o3"};
  std::string of = "    Number result = scaled(score);\n";
  if (p.causal) of += "    if (j > i) result = -infinity_of(Number(0));\n";
  if (p.mask) {
    of += p.mask_dtype == DType::kBool
              ? "    if (!mask) result = -infinity_of(Number(0));\n"
          : p.matrix ? fill(kAddInBase2, {{"log2e", double_literal(kLog2E)}})
                     : "    result = result + static_cast<Number>(widen(mask));\n";
  }
  KernelParts parts;
  parts.headers = {"device/attention.h"};
  parts.wide = p.wide;
  parts.threads = 128;
  parts.before = fill(
      R"(struct Scores {
  static constexpr bool kMasked = $masked, kCausal = $causal;
  using Mask = $mask_type;
$pointer$members  template <class Number>
  KILN_DEVICE Number scaled(Number score) const {
    return score * static_cast<Number>($scale);
  }
  template <class Number>
  KILN_DEVICE Number of(Number score, [[maybe_unused]] Index i, [[maybe_unused]] Index j,
                        [[maybe_unused]] Mask mask) const {
$of    return result;
  }
$mask};

struct Result {
  Out<$type> base;
$out_members  template <class Number>
  KILN_DEVICE void put(Index i, Index e, Number value) const {
    if (i < rows) base[i * o2 + e * o3] = narrow<$type>(value);
  }
$eight};
)",
      {{"masked", yes(p.mask)},
       {"mask_type", p.mask ? mask_type : "bool"},
       {"mask", p.mask ? kMaskAt : ""},
       {"causal", yes(p.causal)},
       {"scale", double_literal(p.matrix ? p.scale * kLog2E : p.scale)},
       {"eight", p.o_eight ? fill(kPutEight, {{"type", type}}) : ""},
       {"pointer", p.mask ? "  In<" + mask_type + "> base;\n" : ""},
       {"members", p.mask ? size_members(p.sizes, of_scores) : ""},
       {"of", of},
       {"type", type},
       {"out_members", size_members(p.sizes, of_out)}});
  parts.pointers = {"In<" + type + "> q", "In<" + type + "> k", "In<" + type + "> v"};
  if (p.mask) parts.pointers.push_back("In<" + mask_type + "> mask");
  parts.pointers.push_back("Out<" + type + "> out");
  parts.entry =
      std::string("attention_") + (p.matrix ? "mma_" : "") + std::string(dtype_name(p.dtype));
  const int64_t rows = p.matrix ? AttentionKernel::kMatrixRows : AttentionKernel::kSimtRows;
  parts.comment =
      fill("// A block has $rows queries of a head.\n", {{"rows", std::to_string(rows)}});
  std::string function = (p.matrix ? "matrix_attention<" : "simt_attention<") + type + ", " +
                         std::to_string(p.head_dim) + ", " + std::to_string(p.value_dim) + ", " +
                         std::to_string(p.keys);
  if (p.matrix) {
    function += ", " + yes(p.q_eight) + ", " + yes(p.k_eight) + ", " + yes(p.v_eight) + ", " +
                yes(p.o_eight);
  }
  parts.body =
      fill(R"(  const int64 row_blocks = (static_cast<int64>(rows) + $edge) / $rows;
$order  const Index first_row = static_cast<Index>(block * $rows);
  const Index h = static_cast<Index>(head % heads), b = static_cast<Index>(head / heads);
  const Index kv_h = h / (heads / kv_heads);
  Index end_key = columns;
$causal  $function>(
      Rows<$type, Index>{q + b * q0 + h * q1, rows, q2, q3},
      Rows<$type, Index>{k + b * k0 + kv_h * k1, columns, k2, k3},
      Rows<$type, Index>{v + b * v0 + kv_h * v1, columns, v2, v3}, Scores{$scores},
      Result{out + b * o0 + h * o1$of_out}, first_row, end_key);
)",
           {{"rows", std::to_string(rows)},
            {"edge", std::to_string(rows - 1)},
            {"causal", p.causal ? "  if (end_key > first_row + " + std::to_string(rows) +
                                      ") end_key = first_row + " + std::to_string(rows) + ";\n"
                                : ""},
            {"order", p.causal ? kLongestFirst : kHeadByHead},
            {"function", function},
            {"type", type},
            {"scores", p.mask ? "mask + b * m0 + h * m1" + size_values(p.sizes, of_scores) : ""},
            {"of_out", size_values(p.sizes, of_out)}});
  return assemble(parts, p.sizes);
}

KILN_CUDA_KERNEL_FAMILY(attention, AttentionKernel::kFamily, print_attention);

}  // namespace
}  // namespace kiln::cuda

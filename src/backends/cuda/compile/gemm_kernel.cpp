// "gemm": operands of a matrix product as device/product.h wants them, and the form for few rows.
#include "backends/cuda/runtime/gemm_kernel.h"

#include "backends/cuda/compile/kernel_text.h"

namespace kiln::cuda {
namespace {

using Names = std::vector<std::pair<std::string_view, std::string>>;

std::string operand(const char* name, const std::string& type, const std::string& rows,
                    const std::string& row_stride, const std::string& depth_stride, bool along,
                    bool eight, const KernelSizes& sizes) {
  return fill(R"(struct $Name {
  static constexpr bool kAlongDepth = $along;
  In<$type> base;
$members  struct Row {
    Index offset;
    bool inside;
  };
  KILN_DEVICE Row row(Index r) const {
    const bool inside = r < $rows;
    return Row{inside ? r * $by_row : 0, inside};
  }
  KILN_DEVICE $type at(const Row& r, Index d) const {
    if (!r.inside || d >= k) return $type{};
    return base[r.offset + d * $by_depth];
  }
  KILN_DEVICE Pack<$type, 8> eight(const Row& r, Index d) const {
$eight  }
};
)",
              {{"Name", name},
               {"along", along ? "true" : "false"},
               {"type", type},
               {"members", size_members(sizes, {rows, "k", row_stride, depth_stride})},
               {"rows", rows},
               {"by_row", row_stride},
               {"by_depth", depth_stride},
               {"eight", eight ? "    if (!r.inside || d >= k) return Pack<" + type +
                                     ", 8>{};\n    return load<8>(base + (r.offset + d));\n"
                               : "    Pack<" + type +
                                     ", 8> all;\n    for (int32 j = 0; j < 8; ++j) all.at[j] = "
                                     "at(r, d + j);\n    return all;\n"}});
}

// Offsets of a batch in the three matrices.
std::string batch_offsets(const GemmKernel& p) {
  const int rank = static_cast<int>(p.batch_rank);
  return coordinates("batch", row_major(rank), "i", "q", "batch_rest") +
         "  const Index a_batch = " + dot("e", "i", rank) + ", b_batch = " + dot("f", "i", rank) +
         ", c_batch = " + dot("g", "i", rank) + ";\n";
}

Result<KernelSource> print_rows(const GemmKernel& p) {
  const std::string type(device_type(p.dtype));
  KernelParts parts;
  parts.headers = {"device/product.h"};
  parts.wide = p.wide;
  parts.pointers = {"In<" + type + "> a", "In<" + type + "> b"};
  if (p.bias) parts.pointers.push_back("In<" + type + "> bias");
  parts.pointers.push_back("Out<" + type + "> c");
  parts.entry = "gemm_rows_" + std::string(dtype_name(p.dtype));
  parts.comment = "// A warp a column: lanes share the depth.\n";
  parts.body = fill(R"(  const int64 columns = (static_cast<int64>(n) + 7) / 8;
  const Index batch = static_cast<Index>(block_x() / columns);
  const Index column = static_cast<Index>(block_x() % columns * 8 + warp());
  if (column >= n) return;
$offsets  SumOf<$type> sums[$few];
  for (int32 r = 0; r < $few; ++r) sums[r] = 0;
  for (Index d = static_cast<Index>(lane()) * $width; d < k; d += 32 * $width) {
    const Pack<$type, $width> right = load<$width>(b + (b_batch + column * bn + d * bk));
    for (int32 r = 0; r < $few; ++r) {
      if (r < m) {
        const Pack<$type, $width> left = load<$width>(a + (a_batch + r * am + d * ak));
        for (int32 j = 0; j < $width; ++j) {
          sums[r] = multiply_add(static_cast<SumOf<$type>>(widen(left.at[j])),
                                 static_cast<SumOf<$type>>(widen(right.at[j])), sums[r]);
        }
      }
    }
  }
  for (int32 r = 0; r < $few; ++r) {
    if (r >= m) break;
    for (int32 distance = 16; distance > 0; distance /= 2) {
      const SumOf<$type> other = shuffle_xor(sums[r], distance);
      sums[r] = sums[r] + other;
    }
    if (lane() == 0) {
$bias      c[c_batch + r * cm + column * cn] = narrow<$type>(sums[r]);
    }
  }
)",
                    {{"type", type},
                     {"few", std::to_string(GemmKernel::kFewRows)},
                     {"width", std::to_string(p.tile)},
                     {"offsets", batch_offsets(p)},
                     {"bias", p.bias ? "      const " + type +
                                           " extra = bias[column * h];\n      sums[r] = sums[r] + "
                                           "static_cast<SumOf<" +
                                           type + ">>(widen(extra));\n"
                                     : ""}});
  return assemble(parts, p.sizes);
}

Result<KernelSource> print_gemm(const Json& json) {
  KILN_ASSIGN_OR_RETURN(const GemmKernel p, GemmKernel::from_json(json));
  if (p.form == GemmKernel::Form::kRows) return print_rows(p);
  const bool matrix = p.form == GemmKernel::Form::kMatrix;
  const std::string type(device_type(p.dtype));
  const std::vector<std::string> of_c{"m", "n", "cm", "cn", "h"};
  KernelParts parts;
  parts.headers = {"device/product.h"};
  parts.wide = p.wide;
  parts.threads = matrix ? static_cast<int>(p.tile) * 2 : 256;
  parts.before = operand("Left", type, "m", "am", "ak", p.a_along, p.a_eight, p.sizes) + "\n" +
                 operand("Right", type, "n", "bn", "bk", p.b_along, p.b_eight, p.sizes) + "\n" +
                 fill(R"(struct Result {
  Out<$type> base;
$pointer$members  template <class Number>
  KILN_DEVICE void put(Index r, Index c, Number sum) const {
    if (r >= m || c >= n) return;
$bias    base[r * cm + c * cn] = narrow<$type>(sum);
  }
};
)",
                      {{"type", type},
                       {"pointer", p.bias ? "  In<" + type + "> bias;\n" : ""},
                       {"members", size_members(p.sizes, of_c)},
                       {"bias", p.bias ? "    const " + type +
                                             " extra = bias[c * h];\n    sum = sum + "
                                             "static_cast<Number>(widen(extra));\n"
                                       : ""}});
  parts.pointers = {"In<" + type + "> a", "In<" + type + "> b"};
  if (p.bias) parts.pointers.push_back("In<" + type + "> bias");
  parts.pointers.push_back("Out<" + type + "> c");
  parts.entry = (matrix ? "gemm_mma_" : "gemm_") + std::string(dtype_name(p.dtype));
  parts.comment = fill("// A block a tile of $tile x $tile.\n", {{"tile", std::to_string(p.tile)}});
  parts.body = fill(R"(  const int64 rows = (static_cast<int64>(m) + $edge) / $tile;
  const int64 columns = (static_cast<int64>(n) + $edge) / $tile;
  const Index row = static_cast<Index>(block_x() / columns % rows * $tile);
  const Index column = static_cast<Index>(block_x() % columns * $tile);
  const Index batch = static_cast<Index>(block_x() / columns / rows);
$offsets  $function<$type, $tile, Index>(Left{a + a_batch$of_a}, Right{b + b_batch$of_b},
      Result{c + c_batch$bias$of_c}, row, column, Index(0), Index(k));
)",
                    {{"tile", std::to_string(p.tile)},
                     {"edge", std::to_string(p.tile - 1)},
                     {"offsets", batch_offsets(p)},
                     {"function", matrix ? "matrix_product" : "simt_product"},
                     {"type", type},
                     {"bias", p.bias ? ", bias" : ""},
                     {"of_a", size_values(p.sizes, {"m", "k", "am", "ak"})},
                     {"of_b", size_values(p.sizes, {"n", "k", "bn", "bk"})},
                     {"of_c", size_values(p.sizes, of_c)}});
  return assemble(parts, p.sizes);
}

KILN_CUDA_KERNEL_FAMILY(gemm, GemmKernel::kFamily, print_gemm);

}  // namespace
}  // namespace kiln::cuda

// "conv": operands of the implicit matrix product as device/product.h wants them.
#include "backends/cuda/runtime/conv_kernel.h"

#include "backends/cuda/compile/kernel_text.h"

namespace kiln::cuda {
namespace {

using Names = std::vector<std::pair<std::string_view, std::string>>;

std::string numbered(const char* text, int spatial) {
  std::string all;
  for (int i = 0; i < spatial; ++i) all += fill(text, {{"i", std::to_string(i)}});
  return all;
}

std::string taps_of(int spatial) { return product("t", spatial); }

// Declares channel `c` and tap coordinates s0, s1, ... of depth d.
std::string depth_parts(const ConvKernel& p, const std::string& indent) {
  const int spatial = static_cast<int>(p.spatial);
  std::string text;
  if (p.channels) {
    text = indent + "const Index c = d % in;\n" + indent + "Index tap = d / in;\n";
  } else {
    text = indent + "const Index c = d / (" + taps_of(spatial) + ");\n" + indent +
           "Index tap = d % (" + taps_of(spatial) + ");\n";
  }
  for (int i = spatial; i-- > 1;) {
    text += indent + fill("const Index s$i = tap % t$i;\n", {{"i", std::to_string(i)}}) + indent +
            fill("tap /= t$i;\n", {{"i", std::to_string(i)}});
  }
  return text + indent + "const Index s0 = tap;\n";
}

// Declares `inside` and input coordinates p0, p1, ... that taps s of a window at origin r.o read.
std::string tap_positions(const ConvKernel& p, const std::string& indent,
                          const std::string& origin) {
  std::string text, inside;
  for (int i = 0; i < static_cast<int>(p.spatial); ++i) {
    const auto n = static_cast<size_t>(i);
    const Names names{{"i", std::to_string(i)},
                      {"o", origin},
                      {"dilation", std::to_string(p.window.dilation[n])},
                      {"stride", std::to_string(p.window.stride[n])}};
    if (p.transposed) {
      text +=
          indent + fill("const Index q$i = $o$i - s$i * $dilation, p$i = q$i / $stride;\n", names);
      inside += fill(i == 0 ? "" : " && ", {}) +
                fill("q$i >= 0 && q$i % $stride == 0 && p$i < m$i", names);
    } else {
      text += indent + fill("const Index p$i = $o$i + s$i * $dilation;\n", names);
      inside += (i == 0 ? "" : " && ") + fill("p$i >= 0 && p$i < m$i", names);
    }
  }
  return text + indent + "const bool inside = " + inside + ";\n";
}

std::string origin_of(const ConvKernel& p, int i, const std::string& coordinate) {
  const auto n = static_cast<size_t>(i);
  return p.transposed ? coordinate + " + " + std::to_string(p.window.padding[n])
                      : coordinate + " * " + std::to_string(p.window.stride[n]) + " - " +
                            std::to_string(p.window.padding[n]);
}

std::vector<std::string> with_numbers(std::vector<std::string> names,
                                      std::initializer_list<const char*> prefixes, int spatial) {
  for (const char* prefix : prefixes) {
    for (int i = 0; i < spatial; ++i) names.push_back(prefix + std::to_string(i));
  }
  return names;
}

std::string scalar_eight(const std::string& type) {
  return "    Pack<" + type +
         ", 8> all;\n    for (int32 j = 0; j < 8; ++j) all.at[j] = at(r, d + j);\n    return "
         "all;\n";
}

std::string left_operand(const ConvKernel& p, const std::vector<std::string>& sizes) {
  const int spatial = static_cast<int>(p.spatial);
  const std::string type(device_type(p.dtype));
  std::vector<int> order = row_major(spatial + 1);  // batch, then output positions
  std::string position = coordinates("r", order, "j", "extent", "rest");
  std::string extents = "    const Index extent0 = batch;\n", members, values;
  for (int i = 0; i < spatial; ++i) {
    const std::string n = std::to_string(i), next = std::to_string(i + 1);
    extents += "    const Index extent" + next + " = n" + n + ";\n";
    members += "    Index o" + n + ";\n";
    values += ", " + origin_of(p, i, "j" + next);
  }
  const std::string source = "r.offset + c * xc" + numbered(" + p$i * x$i", spatial);
  std::string eight = scalar_eight(type);
  if (p.x_eight) {
    eight = "    if (!r.inside || d >= depth()) return Pack<" + type + ", 8>{};\n" +
            depth_parts(p, "    ") + tap_positions(p, "    ", "r.o") +
            "    if (!inside) return Pack<" + type + ", 8>{};\n    return load<8>(base + (" +
            source + "));\n";
  }
  return fill(R"(struct Positions {
  static constexpr bool kAlongDepth = $along;
  In<$type> base;
$members  struct Row {
    Index offset;
$origins    bool inside;
  };
  KILN_DEVICE Index depth() const { return in * $taps; }
  KILN_DEVICE Row row(Index r) const {
$extents    const bool inside = r < batch * $positions;
    if (!inside) r = 0;
$position    return Row{j0 * xb$values, inside};
  }
  KILN_DEVICE $type at(const Row& r, Index d) const {
    if (!r.inside || d >= depth()) return $type{};
$parts$tap    if (!inside) return $type{};
    return base[$source];
  }
  KILN_DEVICE Pack<$type, 8> eight(const Row& r, Index d) const {
$eight  }
};
)",
              {{"along", p.x_along ? "true" : "false"},
               {"type", type},
               {"members", size_members(p.sizes, sizes)},
               {"origins", members},
               {"taps", "(" + taps_of(spatial) + ")"},
               {"extents", extents},
               {"positions", "(" + product("n", spatial) + ")"},
               {"position", position},
               {"values", values},
               {"parts", depth_parts(p, "    ")},
               {"tap", tap_positions(p, "    ", "r.o")},
               {"source", source},
               {"eight", eight}});
}

std::string right_operand(const ConvKernel& p, const std::vector<std::string>& sizes) {
  const int spatial = static_cast<int>(p.spatial);
  const std::string type(device_type(p.dtype));
  const std::string element = p.w_along
                                  ? "    return base[r.offset + d];\n"
                                  : depth_parts(p, "    ") + "    return base[r.offset + c * wi" +
                                        numbered(" + s$i * w$i", spatial) + "];\n";
  return fill(R"(struct Weights {
  static constexpr bool kAlongDepth = $along;
  In<$type> base;
$members  struct Row {
    Index offset;
    bool inside;
  };
  KILN_DEVICE Row row(Index r) const {
    const bool inside = r < out;
    return Row{inside ? r * wo : 0, inside};
  }
  KILN_DEVICE $type at(const Row& r, Index d) const {
    if (!r.inside || d >= in * $taps) return $type{};
$element  }
  KILN_DEVICE Pack<$type, 8> eight(const Row& r, Index d) const {
$eight  }
};
)",
              {{"along", "true"},
               {"type", type},
               {"members", size_members(p.sizes, sizes)},
               {"taps", "(" + taps_of(spatial) + ")"},
               {"element", element},
               {"eight", p.w_eight ? "    if (!r.inside || d >= in * (" + taps_of(spatial) +
                                         ")) return Pack<" + type +
                                         ", 8>{};\n    return load<8>(base + (r.offset + d));\n"
                                   : scalar_eight(type)}});
}

std::string result(const ConvKernel& p, const std::vector<std::string>& sizes) {
  const int spatial = static_cast<int>(p.spatial);
  const std::string type(device_type(p.dtype));
  std::string extents = "    const Index extent0 = batch;\n", target;
  for (int i = 0; i < spatial; ++i) {
    const std::string n = std::to_string(i), next = std::to_string(i + 1);
    extents += "    const Index extent" + next + " = n" + n + ";\n";
    target += " + j" + next + " * ys" + n;
  }
  return fill(R"(struct Images {
  Out<$type> base;
$bias$members  template <class Number>
  KILN_DEVICE void put(Index r, Index channel, Number sum) const {
    if (r >= batch * $positions || channel >= out) return;
$extents$position$add    base[j0 * yb + channel * yc$target] = narrow<$type>(sum);
  }
};
)",
              {{"type", type},
               {"bias", p.bias ? "  In<" + type + "> bias;\n" : ""},
               {"members", size_members(p.sizes, sizes)},
               {"positions", "(" + product("n", spatial) + ")"},
               {"extents", extents},
               {"position", coordinates("r", row_major(spatial + 1), "j", "extent")},
               {"add", p.bias ? "    const " + type +
                                    " extra = bias[channel * h];\n    sum = sum + "
                                    "static_cast<Number>(widen(extra));\n"
                              : ""},
               {"target", target}});
}

Result<KernelSource> print_conv(const Json& json) {
  KILN_ASSIGN_OR_RETURN(const ConvKernel p, ConvKernel::from_json(json));
  const int spatial = static_cast<int>(p.spatial);
  const std::string type(device_type(p.dtype));
  const auto of_x = with_numbers({"batch", "in", "xb", "xc"}, {"m", "n", "t", "x"}, spatial);
  const auto of_w = with_numbers({"in", "out", "wi", "wo"}, {"t", "w"}, spatial);
  const auto of_y = with_numbers({"batch", "out", "yb", "yc", "h"}, {"n", "ys"}, spatial);
  KernelParts parts;
  parts.headers = {"device/product.h"};
  parts.wide = p.wide;
  parts.threads = p.matrix ? static_cast<int>(p.tile) * 2 : 256;
  parts.before = left_operand(p, of_x) + "\n" + right_operand(p, of_w) + "\n" + result(p, of_y);
  parts.pointers = {"In<" + type + "> x", "In<" + type + "> w"};
  if (p.bias) parts.pointers.push_back("In<" + type + "> bias");
  parts.pointers.push_back("Out<" + type + "> y");
  parts.entry = std::string("conv_") + (p.transposed ? "transpose_" : "") +
                (p.matrix ? "mma_" : "") + std::string(dtype_name(p.dtype));
  parts.comment = fill("// A block a tile of $tile positions x $tile channels of a group.\n",
                       {{"tile", std::to_string(p.tile)}});
  parts.body =
      fill(R"(  const int64 rows = (static_cast<int64>(batch) * ($positions) + $edge) / $tile;
  const int64 columns = (static_cast<int64>(out) + $edge) / $tile;
  const Index row = static_cast<Index>(block_x() / columns % rows * $tile);
  const Index column = static_cast<Index>(block_x() % columns * $tile);
  const Index group = static_cast<Index>(block_x() / columns / rows);
  const Index depth = in * ($taps);
  $function<$type, $tile, Index>(Positions{x + group * in * xc$of_x},
      Weights{w + group * $group_weights$of_w},
      Images{y + group * out * yc$bias$of_y}, row, column, Index(0), depth);
)",
           {{"positions", product("n", spatial)},
            {"tile", std::to_string(p.tile)},
            {"edge", std::to_string(p.tile - 1)},
            {"taps", taps_of(spatial)},
            {"function", p.matrix ? "matrix_product" : "simt_product"},
            {"type", type},
            {"group_weights", p.transposed ? "in * wi" : "out * wo"},
            {"bias", p.bias ? ", bias + group * out * h" : ""},
            {"of_x", size_values(p.sizes, of_x)},
            {"of_w", size_values(p.sizes, of_w)},
            {"of_y", size_values(p.sizes, of_y)}});
  return assemble(parts, p.sizes);
}

KILN_CUDA_KERNEL_FAMILY(conv, ConvKernel::kFamily, print_conv);

}  // namespace
}  // namespace kiln::cuda

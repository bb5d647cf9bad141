// "direct_conv": threads walk the channels of a strip, then strips along the last axis, then the
// other axes. A block's factors are in shared memory: of each input channel and tap, all outputs.
#include "backends/cuda/runtime/direct_conv_kernel.h"

#include "backends/cuda/compile/kernel_activation.h"
#include "backends/cuda/compile/kernel_text.h"

namespace kiln::cuda {
namespace {

constexpr int64_t kOut = DirectConvKernel::kOut;

std::string num(int64_t value) { return std::to_string(value); }

// Fills the factors, [in][taps...][out].
std::string factors(const DirectConvKernel& p) {
  const int axes = static_cast<int>(p.taps.size());
  std::string text = "  KILN_SHARED(Strip::Number, factors, " + num(p.factors()) +
                     ");\n  for (int32 f = thread_x(); f < " + num(p.factors()) +
                     "; f += " + num(DirectConvKernel::kThreads) +
                     ") {\n    const Index channel = f % out;\n    Index rest = f / out;\n";
  std::string at = "channel * wo";
  for (int i = axes; i-- > 0;) {
    const std::string n = num(i);
    text += "    const Index s" + n + " = rest % t" + n + ";\n    rest /= t" + n + ";\n";
    at += " + s" + n + " * w" + n;
  }
  const std::string type(device_type(p.dtype));
  return text + "    const " + type + " factor = w[" + at +
         " + rest * wi];\n    factors[f] = widen(factor);\n  }\n  barrier();\n";
}

// Loops over the rows of the window that lie in the image, and over channels.
std::string window_loops(const DirectConvKernel& p) {
  const int last = static_cast<int>(p.taps.size()) - 1;
  const std::string l = num(last);
  std::string text, closing, row = "j0 * xb + c * xc", place = "c", indent = "  ";
  for (int i = 0; i < last; ++i) {
    const std::string n = num(i);
    text += indent + "for (Index s" + n + " = 0; s" + n + " < t" + n + "; ++s" + n + ") {\n";
    closing.insert(0, indent + "}\n");
    indent += "  ";
    text += indent + "const Index p" + n + " = o" + n + " + s" + n + " * " +
            num(p.window.dilation[static_cast<size_t>(i)]) + ";\n";
    text += indent + "if (p" + n + " < 0 || p" + n + " >= m" + n + ") continue;\n";
    row += " + p" + n + " * x" + n;
    place = "(" + place + " * t" + n + " + s" + n + ")";
  }
  text += indent + "for (Index c = 0; c < in; ++c) {\n" + indent + "  strip.add_row(x + (" + row +
          "), factors + (" + place + " * t" + l + " * out + channel), out, o" + l + ", m" + l +
          ", x" + l + ");\n" + indent + "}\n";
  return text + closing;
}

std::string stores(const DirectConvKernel& p, const std::string& target) {
  const std::string type(device_type(p.dtype));
  const std::string value =
      "narrow<" + type + ">(" + activation_text(p.activation, "Strip::Number", "sum") + ")";
  const std::string sum = "const Strip::Number sum = strip.sums[k][e];\n";
  if (!p.y_along) {
    return "    for (int32 e = 0; e < " + num(kOut) + "; ++e) {\n      " + sum + "      y[" +
           target + " + e * yc] = " + value + ";\n    }\n";
  }
  const int64_t width = std::min<int64_t>(kOut, 16 / static_cast<int64_t>(dtype_bytes(p.dtype)));
  return "    for (int32 from = 0; from < " + num(kOut) + "; from += " + num(width) +
         ") {\n      Pack<" + type + ", " + num(width) +
         "> result;\n      for (int32 e = from; e < from + " + num(width) + "; ++e) {\n        " +
         sum + "        result.at[e - from] = " + value + ";\n      }\n      store<" + num(width) +
         ">(y + (" + target + " + from), result);\n    }\n";
}

Result<KernelSource> print_direct_conv(const Json& json) {
  KILN_ASSIGN_OR_RETURN(const DirectConvKernel p, DirectConvKernel::from_json(json));
  const int axes = static_cast<int>(p.taps.size()), last = axes - 1;
  const std::string type(device_type(p.dtype)), strip = num(p.strip);
  KernelParts parts;
  parts.headers = {"device/direct_conv.h", "device/math.h"};
  parts.wide = p.wide;
  parts.threads = static_cast<int>(DirectConvKernel::kThreads);
  parts.pointers = {"In<" + type + "> x", "In<" + type + "> w"};
  if (p.bias) parts.pointers.push_back("In<" + type + "> bias");
  parts.pointers.push_back("Out<" + type + "> y");
  parts.entry = "direct_conv_" + std::string(dtype_name(p.dtype));
  parts.comment = "// A thread has " + num(kOut) + " channels of " + strip +
                  (p.strip == 1 ? " position.\n" : " positions in a row.\n");
  parts.before = "using Strip = DirectStrip<" + type + ", " + num(kOut) + ", " + strip + ", " +
                 num(p.taps.back()) + ", " + num(p.window.stride.back()) + ", " +
                 num(p.window.dilation.back()) + ">;\n";
  // Coordinates 0: batch; then the axes, the last in strips; at the end channels.
  std::string extents = "  const Index extent0 = batch;\n", count = "extent0", origins;
  std::string target = "j0 * yb + channel * yc";
  for (int i = 0; i < axes; ++i) {
    const std::string n = num(i), dim = num(i + 1);
    const auto at = static_cast<size_t>(i);
    const bool in_strips = i == last;
    extents += "  const Index extent" + dim + " = " +
               (in_strips ? "(n" + n + " + " + num(p.strip - 1) + ") / " + strip : "n" + n) + ";\n";
    count += " * extent" + dim;
    if (in_strips) origins += "  const Index first = j" + dim + " * " + strip + ";\n";
    origins += "  const Index o" + n + " = " + (in_strips ? "first" : "j" + dim) + " * " +
               num(p.window.stride[at]) + " - " + num(p.window.padding[at]) + ";\n";
    target += " + " + (in_strips ? "(first + k)" : "j" + dim) + " * ys" + n;
  }
  const std::string channels = num(axes + 1);
  extents += "  const Index extent" + channels + " = out / " + num(kOut) + ";\n";
  count += " * extent" + channels;
  parts.body =
      fill(R"($factors$extents$position$coordinates  const Index channel = j$channels * $out;
$origins  Strip strip;
  strip.start($start);
$loops#pragma unroll
  for (Index k = 0; k < $strip; ++k) {
    if (first + k >= n$last) break;
$stores  }
)",
           {{"factors", factors(p)},
            {"extents", extents},
            {"position", thread_position(count, parts.threads)},
            {"coordinates", coordinates("i", row_major(axes + 2), "j", "extent")},
            {"channels", channels},
            {"out", num(kOut)},
            {"origins", origins},
            {"start", p.bias ? "load_apart<" + type + ", " + num(kOut) + ">(bias + channel * h, h)"
                             : "Pack<" + type + ", " + num(kOut) + ">{}"},
            {"loops", window_loops(p)},
            {"strip", strip},
            {"last", num(last)},
            {"stores", stores(p, target)}});
  return assemble(parts, p.sizes);
}

KILN_CUDA_KERNEL_FAMILY(direct_conv, DirectConvKernel::kFamily, print_direct_conv);

}  // namespace
}  // namespace kiln::cuda

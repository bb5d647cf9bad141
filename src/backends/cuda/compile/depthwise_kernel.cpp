// "depthwise": threads walk channels side by side, then strips along the last axis, then the other
// axes, so that a block reads rows of its image again while they are in the cache.
#include "backends/cuda/runtime/depthwise_kernel.h"

#include "backends/cuda/compile/kernel_activation.h"
#include "backends/cuda/compile/kernel_text.h"

namespace kiln::cuda {
namespace {

std::string num(int64_t value) { return std::to_string(value); }

// "width channels at `at`, `step` apart".
std::string channels_of(const DepthwiseKernel& p, const std::string& base, const std::string& at,
                        const std::string& step) {
  const std::string from = base + " + (" + at + ")";
  return p.factors_along ? "load<" + num(p.width) + ">(" + from + ")"
                         : "load_apart<" + std::string(device_type(p.dtype)) + ", " + num(p.width) +
                               ">(" + from + ", " + step + ")";
}

// Loops over the rows of the window that lie in the image, and over taps of a row where these are
// taken one by one.
std::string window_loops(const DepthwiseKernel& p) {
  const int last = static_cast<int>(p.spatial) - 1;
  const std::string l = num(last), taps = num(p.taps);
  const bool at_once = p.taps > 1;
  std::string text, closing, row = "source", factor = "channel * wo";
  std::string indent = "  ";
  const auto open = [&](const std::string& n) {
    text += indent + "for (Index s" + n + " = 0; s" + n + " < t" + n + "; ++s" + n + ") {\n";
    closing.insert(0, indent + "}\n");
    indent += "  ";
  };
  for (int i = 0; i < last; ++i) {
    const std::string n = num(i);
    open(n);
    text += indent + "const Index p" + n + " = o" + n + " + s" + n + " * " +
            num(p.window.dilation[static_cast<size_t>(i)]) + ";\n";
    text += indent + "if (p" + n + " < 0 || p" + n + " >= m" + n + ") continue;\n";
    row += " + p" + n + " * x" + n;
    factor += " + s" + n + " * w" + n;
  }
  std::string first = "o" + l;
  if (!at_once) {
    open(l);
    first += " + s" + l + " * " + num(p.window.dilation.back());
    factor += " + s" + l + " * w" + l;
  }
  text += indent + "Strip::Channels factors[" + taps + "];\n";
  for (int64_t tap = 0; tap < p.taps; ++tap) {
    const std::string at = tap == 0 ? factor : factor + " + " + num(tap) + " * w" + l;
    text += indent + "factors[" + num(tap) + "] = " + channels_of(p, "w", at, "wo") + ";\n";
  }
  text += indent + "strip.add_row(x + (" + row + "), factors, " + first + ", m" + l + ", x" + l +
          ");\n";
  return text + closing;
}

Result<KernelSource> print_depthwise(const Json& json) {
  KILN_ASSIGN_OR_RETURN(const DepthwiseKernel p, DepthwiseKernel::from_json(json));
  const int spatial = static_cast<int>(p.spatial), last = spatial - 1;
  const std::string type(device_type(p.dtype)), width = num(p.width);
  KernelParts parts;
  parts.headers = {"device/depthwise.h", "device/math.h"};
  parts.wide = p.wide;
  parts.threads = static_cast<int>(DepthwiseKernel::kThreads);
  parts.pointers = {"In<" + type + "> x", "In<" + type + "> w"};
  if (p.bias) parts.pointers.push_back("In<" + type + "> bias");
  parts.pointers.push_back("Out<" + type + "> y");
  parts.entry = "depthwise_" + std::string(dtype_name(p.dtype));
  parts.comment = "// A thread has " + width + (p.width == 1 ? " channel" : " channels") + " of " +
                  num(p.strip) + (p.strip == 1 ? " position" : " positions") + " in a row.\n";
  parts.before = "using Strip = DepthwiseStrip<" + type + ", " + width + ", " + num(p.strip) +
                 ", " + num(p.taps) + ", " + num(p.window.stride.back()) + ", " +
                 num(p.window.dilation.back()) + ">;\n";

  // Coordinates 0: batch; 1: channels, in steps of what lies side by side; then the axes, the last
  // in strips; at the end what lies side by side.
  std::vector<int> order = p.order;
  order.push_back(spatial + 2);
  std::string extents = "  const Index extent0 = batch;\n  const Index extent1 = out * " +
                        num(p.groups) + " / " + num(p.width * p.side_by_side) + ";\n";
  std::string count = "extent0 * extent1", origins, target = "j0 * yb + channel * yc";
  for (int i = 0; i < spatial; ++i) {
    const std::string n = num(i), dim = num(i + 2);
    const auto at = static_cast<size_t>(i);
    extents +=
        "  const Index extent" + dim + " = " +
        (i == last && p.strip > 1 ? "(n" + n + " + " + num(p.strip - 1) + ") / " + num(p.strip)
                                  : "n" + n) +
        ";\n";
    count += " * extent" + dim;
    const std::string place = i == last ? "first" : "j" + dim;
    if (i == last) origins += "  const Index first = j" + dim + " * " + num(p.strip) + ";\n";
    origins += "  const Index o" + n + " = " + place + " * " + num(p.window.stride[at]) + " - " +
               num(p.window.padding[at]) + ";\n";
    target += " + " + (i == last ? "(first + k)" : place) + " * ys" + n;
  }
  extents += "  const Index extent" + num(spatial + 2) + " = " + num(p.side_by_side) + ";\n";
  count += " * extent" + num(spatial + 2);
  parts.body = fill(
      R"($extents$position$coordinates  const Index channel = (j1 * $side + j$inner) * $width;
  const Index source = j0 * xb + channel / out * xc;
$origins  Strip strip;
  strip.start($start);
$loops#pragma unroll
  for (Index k = 0; k < $strip; ++k) {
    if (first + k >= n$last) break;
    Strip::Channels result;
    for (int32 e = 0; e < $width; ++e) {
      const Strip::Number sum = strip.sums[k][e];
      result.at[e] = narrow<$type>($activated);
    }
    store<$width>(y + ($target), result);
  }
)",
      {{"extents", extents},
       {"position", thread_position(count, parts.threads)},
       {"coordinates", coordinates("i", order, "j", "extent")},
       {"side", num(p.side_by_side)},
       {"inner", num(spatial + 2)},
       {"origins", origins},
       {"start", p.bias ? channels_of(p, "bias", "channel * h", "h") : "Strip::Channels{}"},
       {"loops", window_loops(p)},
       {"strip", num(p.strip)},
       {"last", num(last)},
       {"width", width},
       {"type", type},
       {"activated", activation_text(p.activation, "Strip::Number", "sum")},
       {"target", target}});
  return assemble(parts, p.sizes);
}

KILN_CUDA_KERNEL_FAMILY(depthwise, DepthwiseKernel::kFamily, print_depthwise);

}  // namespace
}  // namespace kiln::cuda

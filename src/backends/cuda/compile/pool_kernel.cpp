// "pool" and "resize": one element of the result a thread, threads in the result's memory order, so
// that channels-last images are read in rows of channels.
#include "backends/cuda/runtime/pool_kernel.h"

#include "backends/cuda/compile/kernel_text.h"

namespace kiln::cuda {
namespace {

using Names = std::vector<std::pair<std::string_view, std::string>>;

// Offset of the plane of a thread in view `prefix`: batch and channels.
std::string plane_offset(std::string_view prefix, int leading) { return dot(prefix, "i", leading); }

// Declares begin, end and, for averages, how many positions count, of window dim `d`.
std::string window_bounds(const PoolKernel& p, int leading, int d) {
  const std::string dim = std::to_string(leading + d), n = std::to_string(d);
  const auto s = static_cast<size_t>(d);
  if (p.is_adaptive()) {
    return fill(R"(  const int64 out$n = i$dim;
  const Index begin$n = static_cast<Index>(out$n * m$dim / n$dim);
  const Index end$n = static_cast<Index>(((out$n + 1) * m$dim + n$dim - 1) / n$dim);
)",
                {{"n", n}, {"dim", dim}});
  }
  // A window may reach beyond the padding (ceil_mode); what is there never counts.
  return fill(R"(  const Index start$n = i$dim * $stride - $padding;
  const Index limit$n = start$n + $reach;
  const Index begin$n = start$n >= 0 ? start$n : start$n + (-start$n + $step - 1) / $step * $step;
  const Index end$n = limit$n < m$dim ? limit$n : m$dim;
)",
              {{"n", n},
               {"dim", dim},
               {"stride", std::to_string(p.stride[s])},
               {"padding", std::to_string(p.padding[s])},
               {"step", std::to_string(p.dilation[s])},
               {"reach", std::to_string((p.kernel[s] - 1) * p.dilation[s] + 1)}});
}

Result<KernelSource> print_pool(const Json& json) {
  KILN_ASSIGN_OR_RETURN(const PoolKernel p, PoolKernel::from_json(json));
  const int rank = static_cast<int>(p.order.size()), spatial = static_cast<int>(p.spatial);
  const int leading = rank - spatial;
  const std::string type(device_type(p.dtype)), number(compute_type(p.dtype));
  KernelParts parts;
  parts.headers = {"device/element.h"};
  parts.wide = p.wide;
  parts.pointers = {"In<" + type + "> from", "Out<" + type + "> to"};
  if (p.places) parts.pointers.push_back("Out<int64> places");
  parts.entry = std::string(pool_kind_name(p.kind)) + "_pool_" + std::string(dtype_name(p.dtype));
  parts.body = thread_position(product("n", rank)) + coordinates("i", p.order, "i", "n");
  std::string loops, closing, source = "plane", place = "0";
  std::string inside = "1", padded = "1";
  for (int d = 0; d < spatial; ++d) {
    const std::string dim = std::to_string(leading + d), n = std::to_string(d);
    parts.body += window_bounds(p, leading, d);
    const std::string step =
        p.is_adaptive() ? "1" : std::to_string(p.dilation[static_cast<size_t>(d)]);
    loops += fill("  for (Index w$n = begin$n; w$n < end$n; w$n += $step) {\n",
                  {{"n", n}, {"step", step}});
    closing += "  }\n";
    source += " + w" + n + " * a" + dim;
    place = "(" + place + ") * m" + dim + " + w" + n;
    inside += " * static_cast<int64>(end" + n + " > begin" + n + " ? (end" + n + " - begin" + n +
              " + " + step + " - 1) / " + step + " : 0)";
    if (!p.is_adaptive()) {
      const std::string border =
          "(m" + dim + " + " + std::to_string(p.padding[static_cast<size_t>(d)]) + ")";
      padded += " * static_cast<int64>((limit" + n + " < " + border + " ? limit" + n + " : " +
                border + ") - start" + n + ")";
    }
  }
  const bool wants_inside = p.is_adaptive() || (p.divisor == 0 && !p.count_include_pad);
  const std::string divisor = p.divisor != 0 && !p.is_adaptive() ? std::to_string(p.divisor) + "ll"
                              : wants_inside                     ? inside
                                                                 : padded;
  const Names names{{"type", type},
                    {"number", number},
                    {"plane", plane_offset("a", leading)},
                    {"loops", loops},
                    {"closing", closing},
                    {"source", source},
                    {"place", place},
                    {"divisor", divisor},
                    {"target", dot("b", "i", rank)},
                    {"spot", dot("c", "i", rank)}};
  parts.body += fill("  const Index plane = $plane;\n", names);
  if (p.is_max()) {
    parts.comment = "// A NaN in a window is its maximum; of equal ones the first counts.\n";
    parts.body += fill(R"(  $number best = -infinity_of($number(0));
  int64 place = -1;
$loops    const $type element = from[$source];
    const $number value = widen(element);
    if (place < 0 || value > best || is_nan(value)) {
      best = value;
      place = $place;
    }
$closing  to[$target] = narrow<$type>(best);
)",
                       names);
    if (p.places) parts.body += fill("  places[$spot] = place < 0 ? 0 : place;\n", names);
  } else {
    parts.body += fill(R"(  $number sum = 0;
$loops    const $type element = from[$source];
    sum += widen(element);
$closing  const int64 divisor = $divisor;
  to[$target] = narrow<$type>(sum / static_cast<$number>(divisor));
)",
                       names);
  }
  return assemble(parts, p.sizes);
}

Result<KernelSource> print_resize(const Json& json) {
  KILN_ASSIGN_OR_RETURN(const ResizeKernel p, ResizeKernel::from_json(json));
  const int rank = static_cast<int>(p.order.size()), spatial = static_cast<int>(p.spatial);
  const int leading = rank - spatial;
  const std::string type(device_type(p.dtype)), number(compute_type(p.dtype));
  const bool nearest = p.mode == "nearest" || p.mode == "nearest_exact";
  const int taps = p.mode == "linear" ? 2 : 4;
  KernelParts parts;
  parts.headers = {"device/resize.h"};
  parts.wide = p.wide;
  parts.pointers = {"In<" + type + "> from", "Out<" + type + "> to"};
  parts.entry = "resize_" + p.mode + "_" + std::string(dtype_name(p.dtype));
  parts.comment = "// One element a thread.\n";
  parts.body = thread_position(product("n", rank)) + coordinates("i", p.order, "i", "n") +
               "  const Index plane = " + plane_offset("a", leading) + ";\n";
  std::string loops, closing, source = "plane", weight;
  for (int d = 0; d < spatial; ++d) {
    const std::string dim = std::to_string(leading + d), n = std::to_string(d);
    const double scale = p.scales[static_cast<size_t>(d)];
    // Step in the input for one step in the output, computed in the type in which torch does.
    const std::string real = nearest ? "float" : number;
    std::string step = scale > 0 ? "static_cast<" + real + ">(" + double_literal(1.0 / scale) + ")"
                                 : "static_cast<" + real + ">(m" + dim + ") / static_cast<" + real +
                                       ">(n" + dim + ")";
    if (!nearest && p.align_corners) {
      step = fill(
          "n$dim > 1 ? static_cast<$real>(m$dim - 1) / static_cast<$real>(n$dim - 1) : "
          "$real(0)",
          {{"dim", dim}, {"real", real}});
    }
    const Names names{{"n", n},
                      {"dim", dim},
                      {"step", step},
                      {"real", real},
                      {"taps", std::to_string(taps)},
                      {"exact", p.mode == "nearest_exact" ? "true" : "false"},
                      {"plane", spatial == 2 ? "true" : "false"},
                      {"corners", p.align_corners ? "true" : "false"}};
    parts.body += fill("  const $real step$n = $step;\n", names);
    if (nearest) {
      parts.body += fill(
          "  const Index w$n = static_cast<Index>(nearest_position(i$dim, m$dim, "
          "n$dim, step$n, $exact, $plane));\n",
          names);
      source += " + w" + n + " * a" + dim;
      continue;
    }
    parts.body += fill("  Tap<$real> taps$n[$taps];\n", names);
    parts.body +=
        fill(p.mode == "linear" ? "  linear_taps(i$dim, m$dim, n$dim, step$n, $corners, taps$n);\n"
                                : "  cubic_taps(i$dim, m$dim, step$n, $corners, taps$n);\n",
             names);
    loops += fill("  for (int32 k$n = 0; k$n < $taps; ++k$n) {\n", names);
    closing += "  }\n";
    source += fill(" + static_cast<Index>(taps$n[k$n].position) * a$dim", names);
    weight += fill(d == 0 ? "taps$n[k$n].weight" : " * taps$n[k$n].weight", names);
  }
  const Names names{{"type", type},
                    {"number", number},
                    {"loops", loops},
                    {"closing", closing},
                    {"source", source},
                    {"weight", weight},
                    {"target", dot("b", "i", rank)}};
  if (nearest) {  // no arithmetic, so that NaN and -0 pass
    parts.body += fill("  to[$target] = from[$source];\n", names);
  } else {
    parts.body += fill(R"(  $number sum = 0;
$loops    const $type element = from[$source];
    sum += $weight * widen(element);
$closing  to[$target] = narrow<$type>(sum);
)",
                       names);
  }
  return assemble(parts, p.sizes);
}

KILN_CUDA_KERNEL_FAMILY(pool, PoolKernel::kFamily, print_pool);
KILN_CUDA_KERNEL_FAMILY(resize, ResizeKernel::kFamily, print_resize);

}  // namespace
}  // namespace kiln::cuda

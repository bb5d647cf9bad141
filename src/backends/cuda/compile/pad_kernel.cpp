// "pad": one thread an element of the target finds the one of the source that it copies, or some
// elements in a row, which it writes as one.
#include "backends/cuda/runtime/pad_kernel.h"

#include "backends/cuda/compile/kernel_text.h"

namespace kiln::cuda {
namespace {

// Declares s: where along dim `n` the element at `position` comes from.
std::string source_index(const PadKernel& p, const std::string& n, const std::string& position,
                         const std::string& indent) {
  using Mode = PadKernel::Mode;
  std::string text;
  const auto line = [&](const char* of) {
    text += indent + fill(of, {{"n", n}, {"position", position}}) + "\n";
  };
  switch (p.mode) {
    case Mode::kConstant: line("const Index s$n = $position - l$n;"); break;
    case Mode::kReflect:
      line("Index s$n = $position - l$n;");
      line("if (s$n < 0) s$n = -s$n;");
      line("if (s$n >= m$n) s$n = 2 * (m$n - 1) - s$n;");
      break;
    case Mode::kReplicate:
      line("Index s$n = $position - l$n;");
      line("if (s$n < 0) s$n = 0;");
      line("if (s$n >= m$n) s$n = m$n - 1;");
      break;
    case Mode::kCircular:
      line("Index s$n = $position - l$n;");
      line("s$n %= m$n;");
      line("if (s$n < 0) s$n += m$n;");
      break;
  }
  return text;
}

Result<KernelSource> print_pad(const Json& json) {
  KILN_ASSIGN_OR_RETURN(const PadKernel p, PadKernel::from_json(json));
  using Mode = PadKernel::Mode;
  const std::string type(moved_type(p.bytes));
  KernelParts parts;
  parts.headers = {"device/platform.h"};
  parts.wide = p.wide;
  parts.pointers = {"In<" + type + "> from", "Out<" + type + "> to"};
  parts.body = thread_position(product("n", p.rank())) + coordinates("i", p.order, "i", "n");
  const std::string together = std::to_string(p.together);
  const int inner = static_cast<int>(p.inner());
  std::string inside = "true", along;  // of the element, and what finds it along the inner dim
  for (int d = 0; d < p.rank(); ++d) {
    const std::string n = std::to_string(d);
    const bool several = p.together > 1 && d == inner;
    (several ? along : parts.body) += source_index(
        p, n, several ? "i" + n + " * " + together + " + e" : "i" + n, several ? "    " : "  ");
    inside += " && s" + n + " >= 0 && s" + n + " < m" + n;
  }
  const std::string source = dot("a", "s", p.rank()), target = dot("b", "i", p.rank());
  const bool constant = p.mode == Mode::kConstant;
  const std::string value = "static_cast<" + type + ">(" + std::to_string(p.value) + "ull)";
  if (p.together > 1) {
    const std::string element = "from[" + source + "]";
    parts.body +=
        "  Pack<" + type + ", " + together + "> pack;\n#pragma unroll\n  for (int32 e = 0; e < " +
        together + "; ++e) {\n" + along + "    pack.at[e] = " +
        (constant ? inside + " ? " + type + "(" + element + ") : " + value : element) +
        ";\n  }\n  store<" + together + ">(to + " + together + " * (" + target + "), pack);\n";
  } else if (!constant) {
    parts.body += "  " + move_element(p.bytes, "to", target, "from", source);
  } else {
    parts.body += "  if (" + inside + ") {\n    " +
                  move_element(p.bytes, "to", target, "from", source) + "  } else {\n    ";
    parts.body += p.bytes == 16 ? "store<4>(to + 4 * (" + target + "), Pack<uint32, 4>{});\n  }\n"
                                : "to[" + target + "] = " + value + ";\n  }\n";
  }
  const char* name = p.mode == Mode::kConstant    ? "pad_constant_"
                     : p.mode == Mode::kReflect   ? "pad_reflect_"
                     : p.mode == Mode::kReplicate ? "pad_replicate_"
                                                  : "pad_circular_";
  parts.entry = name + std::to_string(p.bytes * 8);
  parts.comment = "// l: elements before index 0 along each dim.\n";
  return assemble(parts, p.sizes);
}

KILN_CUDA_KERNEL_FAMILY(pad, PadKernel::kFamily, print_pad);

}  // namespace
}  // namespace kiln::cuda

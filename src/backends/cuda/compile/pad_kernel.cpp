// "pad": one thread an element of the target finds the one of the source that it copies.
#include "backends/cuda/runtime/pad_kernel.h"

#include "backends/cuda/compile/kernel_text.h"

namespace kiln::cuda {
namespace {

Result<KernelSource> print_pad(const Json& json) {
  KILN_ASSIGN_OR_RETURN(const PadKernel p, PadKernel::from_json(json));
  using Mode = PadKernel::Mode;
  const std::string type(moved_type(p.bytes));
  KernelParts parts;
  parts.headers = {"device/platform.h"};
  parts.wide = p.wide;
  parts.pointers = {"In<" + type + "> from", "Out<" + type + "> to"};
  parts.body = thread_position(product("n", p.rank())) + coordinates("i", p.order, "i", "n");
  std::string inside = "true";
  for (int d = 0; d < p.rank(); ++d) {
    const std::string n = std::to_string(d), s = "s" + n, m = "m" + n;
    const bool constant = p.mode == Mode::kConstant;
    parts.body += std::string("  ") + (constant ? "const " : "") + "Index " + s + " = i" + n +
                  " - l" + n + ";\n";
    if (constant) {
      inside += " && " + s + " >= 0 && " + s + " < " + m;
    } else if (p.mode == Mode::kReflect) {
      parts.body += "  if (" + s + " < 0) " + s + " = -" + s + ";\n  if (" + s + " >= " + m + ") " +
                    s + " = 2 * (" + m + " - 1) - " + s + ";\n";
    } else if (p.mode == Mode::kReplicate) {
      parts.body += "  if (" + s + " < 0) " + s + " = 0;\n  if (" + s + " >= " + m + ") " + s +
                    " = " + m + " - 1;\n";
    } else {
      parts.body += "  " + s + " %= " + m + ";\n  if (" + s + " < 0) " + s + " += " + m + ";\n";
    }
  }
  const std::string source = dot("a", "s", p.rank()), target = dot("b", "i", p.rank());
  if (p.mode != Mode::kConstant) {
    parts.body += "  " + move_element(p.bytes, "to", target, "from", source);
  } else {
    parts.body += "  if (" + inside + ") {\n    " +
                  move_element(p.bytes, "to", target, "from", source) + "  } else {\n    ";
    parts.body += p.bytes == 16 ? "store<4>(to + 4 * (" + target + "), Pack<uint32, 4>{});\n  }\n"
                                : "to[" + target + "] = static_cast<" + type + ">(" +
                                      std::to_string(p.value) + "ull);\n  }\n";
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

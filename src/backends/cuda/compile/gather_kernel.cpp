// "gather" and "scatter".
#include "backends/cuda/runtime/gather_kernel.h"

#include "backends/cuda/compile/kernel_text.h"

namespace kiln::cuda {
namespace {

// Sum of coordinate * stride over all dims but the axis; more text starts with " + ".
std::string without_axis(std::string_view stride_prefix, int rank, int64_t axis) {
  std::string text = "0";
  for (int i = 0; i < rank; ++i) {
    if (i == axis) continue;
    text += " + i" + std::to_string(i) + " * " + std::string(stride_prefix) + std::to_string(i);
  }
  return text;
}

Result<KernelSource> print_gather(const Json& json) {
  KILN_ASSIGN_OR_RETURN(const GatherKernel p, GatherKernel::from_json(json));
  const int rank = static_cast<int>(p.order.size());
  const std::string type(bits_type(p.bytes)), index(device_type(p.index));
  KernelParts parts;
  parts.headers = {"device/fault.h"};
  parts.wide = p.wide;
  parts.pointers = {"In<" + type + "> table", "In<" + index + "> index", "Out<" + type + "> to",
                    "InOut<uint32> fault"};
  parts.entry = "gather_" + std::to_string(p.bytes * 8);
  parts.comment = "// One element a thread; what a bad index asks for is 0.\n";
  parts.body = thread_position(product("n", rank)) + coordinates("i", p.order, "i", "n") +
               "  const " + index + " place = index[" + dot("x", "i", rank) +
               "];\n"
               "  const Index target = " +
               dot("b", "i", rank) +
               ";\n"
               "  if (place < 0 || place >= t) {\n"
               "    report_fault(fault, kFaultIndex);\n"
               "    to[target] = 0;\n"
               "    return;\n"
               "  }\n"
               "  to[target] = table[" +
               without_axis("a", rank, p.axis) + " + static_cast<Index>(place) * a" +
               std::to_string(p.axis) + "];\n";
  return assemble(parts, p.sizes);
}

Result<KernelSource> print_scatter(const Json& json) {
  KILN_ASSIGN_OR_RETURN(const ScatterKernel p, ScatterKernel::from_json(json));
  const int rank = static_cast<int>(p.order.size());
  const std::string type(device_type(p.dtype)), index(device_type(p.index));
  const std::string axis = std::to_string(p.axis);
  const bool mean = p.reduce == "mean";
  std::vector<int> outer;
  for (const int dim : p.order) {
    if (dim != p.axis) outer.push_back(dim);
  }
  std::string lines = "1";
  for (const int dim : outer) lines += " * n" + std::to_string(dim);
  KernelParts parts;
  parts.headers = {"device/scatter.h"};
  parts.wide = p.wide;
  parts.pointers = {"In<" + index + "> index", "In<" + type + "> values",
                    "InOut<" + type + "> table", "InOut<uint32> fault"};
  if (mean) parts.pointers.push_back("InOut<int32> counts");
  parts.last_parameters = {"int64 parts"};
  parts.entry = "scatter_" + p.reduce + "_" + std::string(dtype_name(p.dtype));
  parts.comment =
      "// A thread walks a line of positions in order, for the places that are its own: those "
      "equal\n"
      "// to `part` modulo `parts`.\n";
  // visit(body): the walk, with `place` in its own part.
  const auto visit = [&](const std::string& body, bool report) {
    std::string text = "  for (Index l = 0; l < n" + axis +
                       "; ++l) {\n"
                       "    const int64 place = index[index_line + l * x" +
                       axis +
                       "];\n"
                       "    if (place < 0 || place >= t) {\n";
    if (report) text += "      report_fault(fault, kFaultIndex);\n";
    text += "      continue;\n    }\n    if (parts > 1 && place % parts != part) continue;\n" +
            body + "  }\n";
    return text;
  };
  const std::string at = "table_line + static_cast<Index>(place) * a" + axis;
  std::string body =
      "  const int64 thread = block_x() * 256 + thread_x();\n"
      "  const int64 lines = static_cast<int64>(" +
      lines +
      ");\n"
      "  if (thread >= lines * parts) return;\n"
      "  const int64 part = thread / lines;\n"
      "  const Index line = static_cast<Index>(thread % lines);\n" +
      coordinates("line", outer, "i", "n") +
      "  const Index index_line = " + without_axis("x", rank, p.axis) +
      ";\n"
      "  const Index table_line = " +
      without_axis("a", rank, p.axis) +
      ";\n"
      "  const Index value_line = " +
      without_axis("b", rank, p.axis) + ";\n";
  const std::string value =
      "    const " + type + " value = values[value_line + l * b" + axis + "];\n";
  const std::string functor = p.reduce == "none"       ? "ScatterReplace"
                              : p.reduce == "multiply" ? "ScatterMultiply"
                              : p.reduce == "amax"     ? "ScatterMax"
                              : p.reduce == "amin"     ? "ScatterMin"
                                                       : "ScatterAdd";
  if (mean) {
    body += "  const int64 count_line = static_cast<int64>(line) * t;\n";
    body += visit(
        "    counts[count_line + place] = " + std::string(p.include_self ? "1" : "0") + ";\n" +
            (p.include_self ? ""
                            : "    table[" + at + "] = " + functor + "<" + type + ">::start();\n"),
        true);
    body += visit(value + "    const " + type + " old = table[" + at + "];\n    table[" + at +
                      "] = ScatterAdd<" + type +
                      ">::combine(old, value);\n"
                      "    counts[count_line + place] += 1;\n",
                  false);
    // Divide each place once: its count is taken away when that is done.
    body += visit(
        "    const int32 count = counts[count_line + place];\n"
        "    if (count == 0) continue;\n"
        "    const " +
            type + " sum = table[" + at +
            "];\n"
            "    table[" +
            at +
            "] = scatter_divide(sum, count);\n"
            "    counts[count_line + place] = 0;\n",
        false);
  } else {
    const bool restart = !p.include_self && p.reduce != "none";
    if (restart) {
      body += visit("    table[" + at + "] = " + functor + "<" + type + ">::start();\n", true);
    }
    std::string combine = value;
    if (p.reduce == "none") {
      combine += "    table[" + at + "] = value;\n";
    } else {
      combine += "    const " + type + " old = table[" + at + "];\n    table[" + at +
                 "] = " + functor + "<" + type + ">::combine(old, value);\n";
    }
    body += visit(combine, !restart);
  }
  parts.body = body;
  return assemble(parts, p.sizes);
}

KILN_CUDA_KERNEL_FAMILY(gather, GatherKernel::kFamily, print_gather);
KILN_CUDA_KERNEL_FAMILY(scatter, ScatterKernel::kFamily, print_scatter);

}  // namespace
}  // namespace kiln::cuda

// "scan": a block shares a line where its elements lie in a row, else a thread walks a line and its
// neighbours walk the lines beside it.
#include "backends/cuda/runtime/scan_kernel.h"

#include "backends/cuda/compile/kernel_text.h"

namespace kiln::cuda {
namespace {

Result<KernelSource> print_scan(const Json& json) {
  KILN_ASSIGN_OR_RETURN(const ScanKernel p, ScanKernel::from_json(json));
  const std::string type(device_type(p.dtype)), axis = std::to_string(p.axis);
  const std::string op = p.product ? "ScanProduct" : "ScanSum";
  std::vector<int> outer;
  std::string lines = "1", from = "0", to = "0";
  for (const int dim : p.order) {
    if (dim == p.axis) continue;
    const std::string n = std::to_string(dim);
    outer.push_back(dim);
    lines += " * n" + n;
    from += " + i" + n + " * a" + n;
    to += " + i" + n + " * b" + n;
  }
  KernelParts parts;
  parts.headers = {"device/scan.h"};
  parts.wide = p.wide;
  // The result may lie over the operand.
  parts.pointers = {"InOut<" + type + "> from", "InOut<" + type + "> to"};
  parts.entry = std::string(p.product ? "cumprod_" : "cumsum_") + std::string(dtype_name(p.dtype));
  const std::string offsets = "  const Index source = " + from + ", target = " + to + ";\n";
  if (!p.rows) {
    parts.comment = "// A line a thread.\n";
    parts.body = thread_position(lines) + coordinates("i", outer, "i", "n") + offsets +
                 "  ScanOf<" + type + "> sum = " + op + "::start<ScanOf<" + type +
                 ">>();\n"
                 "  for (Index l = 0; l < n" +
                 axis +
                 "; ++l) {\n"
                 "    const " +
                 type + " value = from[source + l * a" + axis +
                 "];\n"
                 "    sum = " +
                 op +
                 "::combine(sum, scan_value(value));\n"
                 "    to[target + l * b" +
                 axis + "] = narrow<" + type +
                 ">(sum);\n"
                 "  }\n";
    return assemble(parts, p.sizes);
  }
  parts.comment = "// A line a block, 1024 elements at a time: four in a row a thread.\n";
  parts.body = "  using Sum = ScanOf<" + type +
               ">;\n"
               "  KILN_SHARED(Sum, totals, 8);\n" +
               coordinates("static_cast<Index>(block_x())", outer, "i", "n") + offsets +
               "  Sum before = " + op +
               "::start<Sum>();\n"
               "  for (Index first = 0; first < n" +
               axis +
               "; first += 1024) {\n"
               "    const Index own = first + thread_x() * 4;\n"
               "    Sum sums[4];\n"
               "    Sum sum = " +
               op +
               "::start<Sum>();\n"
               "    for (int32 k = 0; k < 4; ++k) {\n"
               "      if (own + k < n" +
               axis +
               ") {\n"
               "        const " +
               type + " value = from[source + (own + k) * a" + axis +
               "];\n"
               "        sum = " +
               op +
               "::combine(sum, scan_value(value));\n"
               "      }\n"
               "      sums[k] = sum;\n"
               "    }\n"
               "    Sum all;\n"
               "    const Sum threads_before = block_scan_before<" +
               op +
               ">(sum, totals, all);\n"
               "    const Sum base = " +
               op +
               "::combine(before, threads_before);\n"
               "    for (int32 k = 0; k < 4; ++k) {\n"
               "      if (own + k < n" +
               axis +
               ") {\n"
               "        to[target + (own + k) * b" +
               axis + "] = narrow<" + type + ">(" + op +
               "::combine(base, sums[k]));\n"
               "      }\n"
               "    }\n"
               "    before = " +
               op +
               "::combine(before, all);\n"
               "  }\n";
  return assemble(parts, p.sizes);
}

KILN_CUDA_KERNEL_FAMILY(scan, ScanKernel::kFamily, print_scan);

}  // namespace
}  // namespace kiln::cuda

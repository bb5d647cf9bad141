// "index" (embedding, index_select, x[i, :, j]) and "index_put".
#include "backends/cuda/runtime/index_kernel.h"

#include "backends/cuda/compile/kernel_text.h"

namespace kiln::cuda {
namespace {

bool is_joint(const IndexKernel& p, int dim) { return dim >= p.at && dim < p.at + p.joint; }

// Sum of coordinate * stride over the dims for which `wanted` says so.
template <class Wanted>
std::string sum_over(const std::string& prefix, int rank, Wanted&& wanted) {
  std::string text = "0";
  for (int i = 0; i < rank; ++i) {
    if (!wanted(i)) continue;
    text += " + i" + std::to_string(i) + " * " + prefix + std::to_string(i);
  }
  return text;
}

// Reads all indices at the position and checks them: declares `valid`, the table's offset `row`
// and, with `flat`, the number of the place among all places. Lines begin with `indent`.
std::string read_places(const IndexKernel& p, const std::string& indent, bool flat) {
  const int rank = static_cast<int>(p.order.size());
  std::string text = indent + "bool valid = true;\n" + indent + "Index row = 0;\n";
  if (flat) text += indent + "int64 flat = 0;\n";
  for (size_t k = 0; k < p.axes.size(); ++k) {
    const std::string n = std::to_string(k), place = "place" + n;
    text += indent + "int64 " + place + " = index" + n + "[" +
            sum_over("x" + n + "_", rank, [&](int d) { return is_joint(p, d); }) + "];\n";
    if (p.negative) text += indent + "if (" + place + " < 0) " + place + " += t" + n + ";\n";
    text += indent + "valid = valid && " + place + " >= 0 && " + place + " < t" + n + ";\n" +
            indent + "if (valid) row += static_cast<Index>(" + place + ") * u" + n + ";\n";
    if (flat) text += indent + "flat = flat * t" + n + " + " + place + ";\n";
  }
  return text;
}

std::vector<std::string> pointers_of(const IndexKernel& p, const std::string& first,
                                     const std::string& last) {
  std::vector<std::string> pointers{first};
  for (size_t k = 0; k < p.axes.size(); ++k) {
    pointers.push_back("In<" + std::string(device_type(p.index)) + "> index" + std::to_string(k));
  }
  pointers.push_back(last);
  pointers.push_back("InOut<uint32> fault");
  return pointers;
}

Result<KernelSource> print_index(const Json& json) {
  KILN_ASSIGN_OR_RETURN(const IndexKernel p, IndexKernel::from_json(json));
  const int rank = static_cast<int>(p.order.size());
  const std::string type(moved_type(p.bytes()));
  KernelParts parts;
  parts.headers = {"device/fault.h"};
  parts.wide = p.wide;
  parts.pointers = pointers_of(p, "In<" + type + "> table", "Out<" + type + "> to");
  parts.entry = "index_" + std::to_string(p.bytes() * 8);
  parts.comment = "// One element a thread; what a bad index asks for is 0.\n";
  const std::string target = dot("b", "i", rank);
  parts.body = thread_position(product("n", rank)) + coordinates("i", p.order, "i", "n") +
               read_places(p, "  ", false) +
               "  if (!valid) {\n    report_fault(fault, kFaultIndex);\n    " +
               (p.bytes() == 16 ? "store<4>(to + 4 * (" + target + "), Pack<uint32, 4>{});\n"
                                : "to[" + target + "] = 0;\n") +
               "    return;\n  }\n  " +
               move_element(p.bytes(), "to", target, "table",
                            "row + " + sum_over("a", rank, [&](int d) { return !is_joint(p, d); }));
  return assemble(parts, p.sizes);
}

Result<KernelSource> print_index_put(const Json& json) {
  KILN_ASSIGN_OR_RETURN(const IndexKernel p, IndexKernel::from_json(json));
  const int rank = static_cast<int>(p.order.size());
  const std::string type(p.accumulate ? device_type(p.dtype) : moved_type(p.bytes()));
  std::vector<int> slices, joint;
  for (const int dim : p.order) {
    if (!is_joint(p, dim)) slices.push_back(dim);
  }
  for (int dim = 0; dim < rank; ++dim) {
    if (is_joint(p, dim)) joint.push_back(dim);
  }
  const auto product_of = [](const std::vector<int>& dims) {
    std::string text = "1";
    for (const int dim : dims) text += " * n" + std::to_string(dim);
    return text;
  };
  KernelParts parts;
  parts.headers = {"device/element.h", "device/fault.h"};
  parts.wide = p.wide;
  parts.pointers = pointers_of(p, "In<" + type + "> values", "InOut<" + type + "> table");
  parts.last_parameters = {"int64 parts"};
  parts.entry = p.accumulate ? "index_add_" + std::string(dtype_name(p.dtype))
                             : "index_put_" + std::to_string(p.bytes() * 8);
  parts.comment =
      "// A thread visits all positions in order for its element of a slice, and writes the "
      "places\n"
      "// that are its own: those equal to `part` modulo `parts`. So equal positions meet in "
      "order.\n";
  std::string body =
      "  const int64 thread = block_x() * 256 + thread_x();\n"
      "  const int64 slices = static_cast<int64>(" +
      product_of(slices) +
      ");\n"
      "  if (thread >= slices * parts) return;\n"
      "  const int64 part = thread / slices;\n" +
      coordinates("static_cast<Index>(thread % slices)", slices, "i", "n", "slice_rest") +
      "  const Index slice = " + sum_over("a", rank, [&](int d) { return !is_joint(p, d); }) +
      ";\n"
      "  const Index positions = " +
      product_of(joint) +
      ";\n"
      "  for (Index position = 0; position < positions; ++position) {\n" +
      coordinates("position", joint, "i", "n") + read_places(p, "    ", true) +
      "    if (!valid) {\n      report_fault(fault, kFaultIndex);\n      continue;\n    }\n"
      "    if (parts > 1 && flat % parts != part) continue;\n";
  const std::string source = dot("b", "i", rank);
  if (p.accumulate) {
    body += "    const " + type + " value = values[" + source +
            "];\n"
            "    const " +
            type +
            " old = table[row + slice];\n"
            "    table[row + slice] = Arithmetic<" +
            type + ">::add(old, value);\n";
  } else {
    body += "    " + move_element(p.bytes(), "table", "row + slice", "values", source);
  }
  parts.body = body + "  }\n";
  return assemble(parts, p.sizes);
}

KILN_CUDA_KERNEL_FAMILY(index, IndexKernel::kFamily, print_index);
KILN_CUDA_KERNEL_FAMILY(index_put, IndexKernel::kPutFamily, print_index_put);

}  // namespace
}  // namespace kiln::cuda

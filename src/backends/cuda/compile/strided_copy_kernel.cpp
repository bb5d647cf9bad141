// "strided_copy": what the runtime itself needs, for inputs and outputs whose strides are not the
// program's. Parameters and arguments: backends/cuda/runtime/copy_shape.cpp.
#include <string>

#include "backends/cuda/compile/kernel_text.h"

namespace kiln::cuda {
namespace {

Result<KernelSource> print_strided_copy(const Json& json) {
  KILN_ASSIGN_OR_RETURN(const int64_t bytes, json.int_at("element_bytes", 1, 16));
  KILN_ASSIGN_OR_RETURN(const int64_t rank, json.int_at("rank", 0, 16));
  KILN_ASSIGN_OR_RETURN(const bool wide, json.bool_at("wide"));
  if ((bytes & (bytes - 1)) != 0) {
    return Status::error("K2610", "copy of elements of bytes " + std::to_string(bytes));
  }
  const std::string type(moved_type(bytes));
  const std::string entry =
      "strided_copy_" + std::to_string(bytes * 8) + "_" + std::to_string(rank) + "d" +
      (wide ? "_wide" : "");
  std::string text = "#include \"device/platform.h\"\n\nusing Index = ";
  text += wide ? "int64" : "int32";
  text +=
      ";\n\n// Element i in the order of the target, whose innermost dim is 0.\nKILN_KERNEL(256) "
      "void " +
      entry + "(In<" + type + "> from, Out<" + type + "> to, Index elements";
  for (int64_t d = 0; d < rank; ++d) {
    const std::string k = std::to_string(d);
    text += ",\n    Index n" + k + ", Index a" + k + ", Index b" + k;
  }
  text +=
      ") {\n"
      "  wait_for_previous(from, to);\n"
      "  const Index step = static_cast<Index>(blocks_x()) * 256;\n"
      "  for (Index i = static_cast<Index>(block_x()) * 256 + thread_x(); i < elements; i += step) "
      "{\n"
      "    Index source = 0, target = 0;\n";
  if (rank > 0) text += "    Index rest = i;\n";
  for (int64_t d = 0; d < rank; ++d) {
    const std::string k = std::to_string(d);
    const bool last = d + 1 == rank;
    const std::string at = last ? "rest" : "rest % n" + k;
    text += "    source += " + at + " * a" + k + ";\n    target += " + at + " * b" + k + ";\n";
    if (!last) text += "    rest /= n" + k + ";\n";
  }
  text += "    " + move_element(bytes, "to", "target", "from", "source") + "  }\n}\n";
  return KernelSource{text, entry};
}

KILN_CUDA_KERNEL_FAMILY(strided_copy, "strided_copy", print_strided_copy);

}  // namespace
}  // namespace kiln::cuda

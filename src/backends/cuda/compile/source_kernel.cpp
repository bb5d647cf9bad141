// "iota" and "literal": results that need no operand.
#include "backends/cuda/runtime/source_kernel.h"

#include <cstring>

#include "backends/cuda/compile/kernel_text.h"

namespace kiln::cuda {
namespace {

Result<KernelSource> print_iota(const Json& json) {
  KILN_ASSIGN_OR_RETURN(const IotaKernel p, IotaKernel::from_json(json));
  const std::string type(device_type(p.dtype));
  KernelParts parts;
  parts.headers = {"device/element.h"};
  parts.pointers = {"Out<" + type + "> to"};
  parts.entry = "iota_" + std::string(dtype_name(p.dtype));
  parts.comment = "// Integers modulo 2^64.\n";
  parts.body = thread_position("n0") +
               "  const int64 number = static_cast<int64>(static_cast<uint64>(start) + "
               "static_cast<uint64>(i) * static_cast<uint64>(step));\n";
  if (is_float(p.dtype)) {
    parts.body += "  const double value = " + double_literal(p.offset) + " + " +
                  double_literal(p.scale) + " * static_cast<double>(number);\n";
    parts.body += "  to[i * b0] = narrow<" + type + ">(" +
                  (p.dtype == DType::kF64 ? "value" : "static_cast<float>(value)") + ");\n";
  } else {
    parts.body += "  to[i * b0] = static_cast<" + type + ">(number);\n";
  }
  return assemble(parts, p.sizes);
}

Result<KernelSource> print_literal(const Json& json) {
  KILN_ASSIGN_OR_RETURN(const LiteralKernel p, LiteralKernel::from_json(json));
  KILN_ASSIGN_OR_RETURN(const std::string bytes, bytes_of_hex(p.hex));
  const std::string type(bits_type(p.bytes));
  const int rank = static_cast<int>(p.rank);
  const size_t element = static_cast<size_t>(p.bytes);
  KernelParts parts;
  parts.headers = {"device/platform.h"};
  parts.wide = p.wide;
  parts.pointers = {"Out<" + type + "> to"};
  parts.entry = "literal_" + std::to_string(p.bytes * 8);
  std::string values;
  for (size_t i = 0; i < bytes.size(); i += element) {
    uint64_t value = 0;
    std::memcpy(&value, bytes.data() + i, element);
    values += (i == 0                 ? ""
               : i / element % 8 == 0 ? ",\n    "
                                      : ", ") +
              std::to_string(value) + (p.bytes == 8 ? "ull" : "u");
  }
  parts.body = thread_position(product("n", rank)) + "  static const " + type +
               " values[] = {\n    " + (values.empty() ? "0" : values) + "};\n" +
               coordinates("i", row_major(rank), "i", "n") + "  to[" + dot("b", "i", rank) +
               "] = values[i];\n";
  return assemble(parts, p.sizes);
}

KILN_CUDA_KERNEL_FAMILY(iota, IotaKernel::kFamily, print_iota);
KILN_CUDA_KERNEL_FAMILY(literal, LiteralKernel::kFamily, print_literal);

}  // namespace
}  // namespace kiln::cuda

#include "backends/cuda/compile/kernel_text.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <numeric>

#include "base/check.h"

namespace kiln::cuda {

std::string_view device_type(DType dtype) {
  switch (dtype) {
    case DType::kF32: return "float";
    case DType::kF64: return "double";
    case DType::kF16: return "f16";
    case DType::kBF16: return "bf16";
    case DType::kI8: return "int8";
    case DType::kU8: return "uint8";
    case DType::kI16: return "int16";
    case DType::kI32: return "int32";
    case DType::kI64: return "int64";
    case DType::kBool: break;
  }
  return "bool";
}

std::string_view bits_type(int64_t bytes) {
  return bytes == 1 ? "uint8" : bytes == 2 ? "uint16" : bytes == 4 ? "uint32" : "uint64";
}

std::string_view compute_type(DType dtype) {
  return is_half(dtype) ? "float" : device_type(dtype);
}

std::string fill(std::string_view text,
                 const std::vector<std::pair<std::string_view, std::string>>& names) {
  std::string result;
  for (size_t at = 0; at < text.size();) {
    if (text[at] != '$') {
      result += text[at++];
      continue;
    }
    size_t end = at + 1;
    while (end < text.size() &&
           (std::isalnum(static_cast<unsigned char>(text[end])) != 0 || text[end] == '_')) {
      ++end;
    }
    const std::string_view name = text.substr(at + 1, end - at - 1);
    const auto found = std::find_if(names.begin(), names.end(),
                                    [name](const auto& entry) { return entry.first == name; });
    KILN_CHECK_MSG(found != names.end(), "no text for $" + std::string(name));
    result += found->second;
    at = end;
  }
  return result;
}

std::string dot(std::string_view stride_prefix, std::string_view index_prefix, int rank) {
  if (rank == 0) return "0";
  std::string text;
  for (int i = 0; i < rank; ++i) {
    const std::string n = std::to_string(i);
    text += (i == 0 ? "" : " + ") + std::string(index_prefix) + n + " * " +
            std::string(stride_prefix) + n;
  }
  return text;
}

std::string coordinates(std::string_view linear, const std::vector<int>& order,
                        std::string_view prefix, std::string_view size_prefix,
                        std::string_view rest) {
  if (order.empty()) return {};
  const std::string r(rest);
  std::string text = "  Index " + r + " = " + std::string(linear) + ";\n";
  for (size_t k = order.size(); k-- > 1;) {
    const std::string n = std::to_string(order[k]);
    text += "  const Index " + std::string(prefix) + n + " = " + r + " % " +
            std::string(size_prefix) + n + ";\n  " + r + " /= " + std::string(size_prefix) + n +
            ";\n";
  }
  text += "  const Index " + std::string(prefix) + std::to_string(order[0]) + " = " + r + ";\n";
  return text;
}

std::vector<int> row_major(int rank) {
  std::vector<int> order(static_cast<size_t>(rank));
  std::iota(order.begin(), order.end(), 0);
  return order;
}

std::string product(std::string_view prefix, int rank) {
  std::string text = rank == 0 ? "1" : "";
  for (int i = 0; i < rank; ++i) {
    text += (i == 0 ? "" : " * ") + std::string(prefix) + std::to_string(i);
  }
  return text;
}

std::string move_element(int64_t bytes, const std::string& to, const std::string& target,
                         const std::string& from, const std::string& source) {
  if (bytes == 16) {
    return "store<4>(" + to + " + 4 * (" + target + "), load<4>(" + from + " + 4 * (" + source +
           ")));\n";
  }
  return to + "[" + target + "] = " + from + "[" + source + "];\n";
}

std::string_view moved_type(int64_t bytes) { return bytes == 16 ? "uint32" : bits_type(bytes); }

std::string double_literal(double value) {
  if (std::isnan(value)) return "(0.0 / 0.0)";
  if (std::isinf(value)) return value > 0 ? "(1.0 / 0.0)" : "(-1.0 / 0.0)";
  char text[64];
  std::snprintf(text, sizeof(text), "%.17g", value);
  std::string result = text;
  if (result.find_first_of(".e") == std::string::npos) result += ".0";
  return result;
}

std::string thread_position(const std::string& count, int threads) {
  return "  const Index i = static_cast<Index>(block_x() * " + std::to_string(threads) +
         " + thread_x());\n  if (i >= " + count + ") return;\n";
}

namespace {

template <class Each>
void each_argument(const KernelSizes& sizes, const std::vector<std::string>& names, Each&& each) {
  for (const KernelSizes::Entry& entry : sizes.entries()) {
    if (entry.baked || std::find(names.begin(), names.end(), entry.name) == names.end()) continue;
    each(entry.name);
  }
}

}  // namespace

std::string size_members(const KernelSizes& sizes, const std::vector<std::string>& names) {
  std::string text;
  each_argument(sizes, names, [&](const std::string& n) { text += "  Index " + n + ";\n"; });
  return text;
}

std::string size_values(const KernelSizes& sizes, const std::vector<std::string>& names) {
  std::string text;
  each_argument(sizes, names, [&](const std::string& n) { text += ", " + n; });
  return text;
}

std::string wait_statement(const std::vector<std::string>& pointers) {
  std::string list;
  for (const std::string& pointer : pointers) {
    if (pointer.find("> ") == std::string::npos) continue;  // a tensor map, no pointer
    list += (list.empty() ? "" : ", ") + pointer.substr(pointer.rfind(' ') + 1);
  }
  return "wait_for_previous(" + list + ");";
}

KernelSource assemble(const KernelParts& parts, const KernelSizes& sizes) {
  std::string text;
  for (const std::string& header : parts.headers) text += "#include \"" + header + "\"\n";
  text += "\nusing Index = ";
  text += parts.wide ? "int64;\n\n" : "int32;\n\n";
  // Sizes that are known are constants of the file, so that functions before the kernel see them.
  for (const KernelSizes::Entry& entry : sizes.entries()) {
    if (!entry.baked) continue;
    // The smallest number has no literal of its own.
    const std::string value = *entry.baked == INT64_MIN
                                  ? "(-9223372036854775807LL - 1)"
                                  : std::to_string(*entry.baked) + (parts.wide ? "LL" : "");
    text += "constexpr Index " + entry.name + " = " + value + ";\n";
  }
  if (!parts.before.empty()) text += "\n" + parts.before;
  text += "\n" + parts.comment;
  const std::string threads = std::to_string(parts.threads);
  text += parts.alone          ? "KILN_SOLE_KERNEL(" + threads
          : parts.cluster == 1 ? "KILN_KERNEL(" + threads
                               : "KILN_CLUSTER_KERNEL(" + threads + ", " +
                                     std::to_string(parts.cluster);
  text += ") void " + parts.entry + "(";
  bool first = true;
  for (const std::string& pointer : parts.pointers) {
    text += (first ? "" : ", ") + pointer;
    first = false;
  }
  std::string narrowed;
  for (const KernelSizes::Entry& entry : sizes.entries()) {
    if (entry.baked) continue;
    text += std::string(first ? "" : ", ") + "int64 " + entry.name + "_given";
    first = false;
    narrowed +=
        "  const Index " + entry.name + " = static_cast<Index>(" + entry.name + "_given);\n";
  }
  for (const std::string& parameter : parts.last_parameters) {
    text += std::string(first ? "" : ", ") + parameter;
    first = false;
  }
  text += ") {\n" + narrowed + parts.early + "  " + wait_statement(parts.pointers) + "\n" +
          parts.body + "}\n";
  return {std::move(text), parts.entry};
}

}  // namespace kiln::cuda

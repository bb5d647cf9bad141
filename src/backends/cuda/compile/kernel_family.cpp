#include "backends/cuda/compile/kernel_family.h"

#include <map>

#include "base/check.h"

namespace kiln::cuda {
namespace {

std::map<std::string, KernelPrinter, std::less<>>& families() {
  static std::map<std::string, KernelPrinter, std::less<>> map;
  return map;
}

}  // namespace

void register_kernel_family(std::string_view family, KernelPrinter printer) {
  const bool inserted = families().emplace(family, printer).second;
  KILN_CHECK_MSG(inserted, "two kernel families have the same name: " + std::string(family));
}

Result<KernelSource> print_kernel(const KernelDesc& kernel) {
  const auto found = families().find(kernel.family);
  if (found == families().end()) {
    return Status::error("K2610", "unknown family of kernels: '" + kernel.family + "'",
                         "the file may come from a newer version of kiln");
  }
  Result<KernelSource> source = found->second(kernel.params);
  if (!source.ok()) return std::move(source).status().at("kernel family " + kernel.family);
  return source;
}

}  // namespace kiln::cuda

#include "backends/cuda/compile/warpgroup_choice.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/status.h"

namespace kiln::cuda {
namespace {

constexpr double kStart = 2.6;         // in a graph, with the first copies
constexpr double kRate = 6.3e6;        // operations a microsecond of one multiprocessor
constexpr double kCopyRate = 9.0e4;    // bytes a microsecond to one multiprocessor
constexpr double kResultRate = 1.2e4;  // results a microsecond of one multiprocessor

}  // namespace

double warpgroup_gemm_time(const GemmProblem& p, const WarpgroupTiling& t,
                           const DeviceSpec& device) {
  const int64_t tiles = ceil_div(p.m, t.rows()) * ceil_div(p.n, t.columns);
  const auto rounds =
      static_cast<double>(ceil_div(tiles, std::max(device.multiprocessors, 1)));
  const auto depth =
      static_cast<double>(ceil_div(p.k, WarpgroupGemm::kDepth) * WarpgroupGemm::kDepth);
  const auto results = static_cast<double>(t.rows() * t.columns);
  const double products = 2 * results * depth / kRate;
  const double copies = 2 * static_cast<double>(t.rows() + t.columns) * depth / kCopyRate;
  const double behind = results * (p.add ? 2 : 1) / kResultRate;
  return kStart + rounds * std::max(products, copies) + (t.overlap ? 1 : rounds) * behind;
}

std::vector<WarpgroupTiling> warpgroup_gemm_tilings(const GemmProblem& p,
                                                    const DeviceSpec& device) {
  std::vector<std::pair<double, WarpgroupTiling>> all;
  if (device.sm() != WarpgroupGemm::kComputeCapability || p.n % 8 != 0 || p.k % 8 != 0) return {};
  for (const WarpgroupTiling& tiling : warpgroup_tilings()) {
    if (p.k <= tiling.more_depth_than()) continue;
    all.emplace_back(warpgroup_gemm_time(p, tiling, device), tiling);
  }
  std::stable_sort(all.begin(), all.end(),
                   [](const auto& x, const auto& y) { return x.first < y.first; });
  std::vector<WarpgroupTiling> result;
  for (auto& [time, tiling] : all) result.push_back(tiling);
  return result;
}

Result<WarpgroupTiling> parse_warpgroup_tiling(std::string_view text) {
  for (const WarpgroupTiling& tiling : warpgroup_tilings()) {
    const std::string name =
        "w" + std::to_string(tiling.rows()) + "x" + std::to_string(tiling.columns);
    if (text == name) return tiling;
  }
  return Status::error("K1002",
                       "no tiling of a product by warpgroups: '" + std::string(text) + "'");
}

}  // namespace kiln::cuda

#include "backends/cuda/compile/warpgroup_choice.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/status.h"

namespace kiln::cuda {
namespace {

// Fitted to an H200 (docs/decisions/020).
constexpr double kStart = 3.0;          // in a graph, with the first copies
constexpr double kRate = 7.05e6;        // operations a microsecond of one multiprocessor
constexpr double kCopyRate = 1.08e5;    // bytes a microsecond to one multiprocessor
constexpr double kFromMemory = 0.74;    // of these, where the L2 cache cannot hold the operands
constexpr double kResultRate = 1.15e4;  // results with a GELU a microsecond of one multiprocessor
constexpr double kPlain = 0.59;         // of that, what storing alone takes
constexpr double kNotHidden = 0.4;      // of a GELU behind the products of the next tile

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
  double multiplied = std::max(products, copies);
  const double operands = 2 * static_cast<double>(p.m + p.n) * depth;
  if (operands > 0.5 * static_cast<double>(device.l2_bytes)) multiplied /= kFromMemory;
  const double behind = results / kResultRate * (p.costly ? 1 : kPlain) * (p.add ? 2 : 1);
  // The last tile's has nothing to hide behind.
  const double shown = !t.overlap || p.add ? 1 : p.costly ? kNotHidden : 0;
  return kStart + rounds * multiplied + ((rounds - 1) * shown + 1) * behind;
}

bool takes_warpgroups(const GemmProblem& p, const DeviceSpec& device) {
  return device.sm() == WarpgroupGemm::kComputeCapability && p.n % 8 == 0 && p.k % 8 == 0;
}

std::vector<WarpgroupTiling> warpgroup_gemm_tilings(const GemmProblem& p,
                                                    const DeviceSpec& device) {
  std::vector<std::pair<double, WarpgroupTiling>> all;
  if (!takes_warpgroups(p, device)) return {};
  const std::vector<WarpgroupTiling> tilings = warpgroup_tilings(p.add);
  for (const WarpgroupTiling& tiling : tilings) {
    // Without a next tile there is nothing to overlap with, and the code is four times as long.
    const int64_t tiles = ceil_div(p.m, tiling.rows()) * ceil_div(p.n, tiling.columns);
    const bool shorter = std::any_of(tilings.begin(), tilings.end(), [&](const auto& other) {
      return !other.overlap && other.rows() == tiling.rows() && other.columns == tiling.columns;
    });
    if (tiling.overlap && shorter && tiles <= device.multiprocessors) continue;
    all.emplace_back(warpgroup_gemm_time(p, tiling, device), tiling);
  }
  std::stable_sort(all.begin(), all.end(),
                   [](const auto& x, const auto& y) { return x.first < y.first; });
  std::vector<WarpgroupTiling> result;
  for (auto& [time, tiling] : all) result.push_back(tiling);
  return result;
}

Result<WarpgroupTiling> parse_warpgroup_tiling(std::string_view text, bool add) {
  for (const WarpgroupTiling& tiling : warpgroup_tilings(add)) {
    const std::string name =
        "w" + std::to_string(tiling.rows()) + "x" + std::to_string(tiling.columns);
    if (text == name || (text == name + "s" && !tiling.overlap)) return tiling;
  }
  return Status::error("K1002",
                       "no tiling of a product by warpgroups: '" + std::string(text) + "'");
}

}  // namespace kiln::cuda

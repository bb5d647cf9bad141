#include "backends/cuda/compile/attention_choice.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/status.h"

namespace kiln::cuda {
namespace {

// Smaller is better.
double cost(const AttentionProblem& p, const AttentionTiling& t) {
  double cost = t.warpgroup ? 0 : 100;
  const int64_t keys = p.columns == 0 ? 64 : p.columns <= 64 ? 64 : p.columns <= 128 ? 128 : 64;
  if (t.keys != keys) cost += 10;
  if (t.rows != 64) cost += 1;
  return cost;
}

}  // namespace

std::vector<AttentionTiling> attention_tilings(const AttentionProblem& p,
                                               const DeviceSpec& device) {
  std::vector<std::pair<double, AttentionTiling>> all;
  for (const AttentionTiling& t : attention_tilings()) {
    if (t.warpgroup && (device.sm() != AttentionKernel::kWarpgroupCapability || !p.all_eight ||
                        p.head_dim == 0 || p.value_dim == 0)) {
      continue;
    }
    // More keys at a time than there are, as far as a smaller number does, are zeros.
    if (p.columns > 0 && t.keys > 64 && t.keys - 64 >= p.columns) continue;
    AttentionKernel kernel;
    kernel.matrix = true;
    kernel.tiling = t;
    kernel.head_dim = p.head_dim;
    kernel.value_dim = p.value_dim;
    kernel.once = p.columns > 0 && p.columns <= t.keys;
    kernel.mask_of_columns = true;
    const int64_t shared =
        device.shared_bytes_per_block > 0 ? device.shared_bytes_per_block : int64_t{96} << 10;
    if (kernel.shared_bytes() > shared) continue;
    // Sums of all keys and values are in a thread's registers.
    if (!kernel.once && t.keys > 128) continue;
    if (t.keys / 2 + p.value_dim / 2 + (t.warpgroup ? 0 : p.head_dim / 4) > 176) continue;
    all.emplace_back(cost(p, t), t);
  }
  std::stable_sort(all.begin(), all.end(),
                   [](const auto& x, const auto& y) { return x.first < y.first; });
  std::vector<AttentionTiling> result;
  for (const auto& [time, tiling] : all) result.push_back(tiling);
  return result;
}

Result<AttentionTiling> parse_attention_tiling(std::string_view text) {
  for (const AttentionTiling& tiling : attention_tilings()) {
    if (tiling.to_string() == text) return tiling;
  }
  return Status::error("K1002", "no tiling of attention: '" + std::string(text) + "'");
}

}  // namespace kiln::cuda

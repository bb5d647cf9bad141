#include "backends/cuda/compile/attention_choice.h"

#include <algorithm>
#include <charconv>
#include <string>
#include <utility>

#include "base/status.h"

namespace kiln::cuda {
namespace {

// Of an H200 and heads of 64 (docs/decisions/023). With more keys than these at one time are
// better than with fewer.
constexpr int64_t kMostAtOnce = 256, kManyKeys = 768;
constexpr int64_t kMeasuredHead = 64;

// Smaller is better.
int rank(const AttentionProblem& p, const AttentionTiling& t, bool once) {
  const int64_t keys = p.columns > kManyKeys ? 128 : 64;
  return (t.warpgroup ? 0 : 8) + (once ? 0 : 4) + (once || t.keys == keys ? 0 : 2) +
         (t.rows == 64 ? 0 : 1);
}

}  // namespace

std::vector<AttentionTiling> attention_tilings(const AttentionProblem& p,
                                               const DeviceSpec& device) {
  std::vector<std::pair<int, AttentionTiling>> all;
  const int64_t shared =
      device.shared_bytes_per_block > 0 ? device.shared_bytes_per_block : int64_t{96} << 10;
  const auto add = [&](const AttentionTiling& t, bool once) {
    AttentionKernel kernel;
    kernel.matrix = true;
    kernel.tiling = t;
    kernel.head_dim = p.head_dim;
    kernel.value_dim = p.value_dim;
    kernel.once = once;
    kernel.mask_of_columns = true;
    if (!is_valid(t, once) || kernel.shared_bytes() > shared) return;
    // Scores, sums of values and, by warps, queries are in registers.
    if (t.keys / 2 + p.value_dim / 2 + (t.warpgroup ? 0 : p.head_dim / 4) > 176) return;
    all.emplace_back(rank(p, t, once), t);
  };
  const bool warpgroups = device.sm() == AttentionKernel::kWarpgroupCapability && p.all_eight &&
                          p.head_dim > 0 && p.value_dim > 0;
  const int64_t rows = p.rows == 0 ? 128 : std::max<int64_t>(64, ceil_div(p.rows, 64) * 64);
  if (p.columns > 0 && p.columns <= kMostAtOnce) {
    const int64_t keys = ceil_div(p.columns, 16) * 16;
    for (const int64_t tile : {64, 128}) {
      if (warpgroups && tile <= rows) add({true, tile, keys}, true);
      if (tile <= rows) add({false, tile, keys}, true);
    }
  }
  for (const int64_t keys : {64, 128}) {
    if (p.columns > 0 && p.columns <= keys) continue;
    for (const int64_t tile : {64, 128}) {
      if (warpgroups && tile <= rows) add({true, tile, keys}, false);
      if (tile <= rows) add({false, tile, keys}, false);
    }
  }
  std::stable_sort(all.begin(), all.end(),
                   [](const auto& x, const auto& y) { return x.first < y.first; });
  std::vector<AttentionTiling> result;
  for (const auto& [rank, tiling] : all) result.push_back(tiling);
  return result;
}

int64_t preferred_attention_keys(const AttentionProblem& p, const AttentionTiling& tiling) {
  if (!tiling.warpgroup || p.mask_of_rows) return 0;
  return std::max(p.head_dim, p.value_dim) <= kMeasuredHead ? 1024 : kMostAtOnce;
}

Result<AttentionTiling> parse_attention_tiling(std::string_view text) {
  const auto bad = [&] {
    return Status::error("K1002", "no tiling of attention: '" + std::string(text) + "'");
  };
  AttentionTiling tiling;
  std::string_view rest = text;
  tiling.warpgroup = rest.starts_with('w');
  if (tiling.warpgroup) rest.remove_prefix(1);
  const auto number = [&](int64_t* value) {
    const auto parsed = std::from_chars(rest.data(), rest.data() + rest.size(), *value);
    const bool there = parsed.ec == std::errc() && parsed.ptr != rest.data();
    rest.remove_prefix(static_cast<size_t>(parsed.ptr - rest.data()));
    return there;
  };
  if (!number(&tiling.rows) || !rest.starts_with('x')) return bad();
  rest.remove_prefix(1);
  if (!number(&tiling.keys)) return bad();
  if (!rest.empty() || !is_valid(tiling, true)) return bad();
  return tiling;
}

}  // namespace kiln::cuda

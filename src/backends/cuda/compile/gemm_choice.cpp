#include "backends/cuda/compile/gemm_choice.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <string>
#include <utility>

#include "base/status.h"

namespace kiln::cuda {
namespace {

// Of an H200: 132 multiprocessors, 4.8 TB/s, 1.755 GHz. Times in microseconds.
constexpr double kMultiprocessors = 132, kBandwidth = 4.8e6;  // bytes a microsecond
constexpr double kClocks = 1755;                              // a microsecond
constexpr double kOwnStart = 3.4;           // of a kernel in a graph, with first loads and end
constexpr double kSharedBytes = 128;        // a clock and multiprocessor
constexpr double kMatrixClocks = 10.0 / 4;  // of one instruction, four at a time
constexpr double kLatency = 0.93;
constexpr double kCacheRate = 1.4e7;  // bytes a microsecond
constexpr double kCostly = 0.025;     // of a result and thread
constexpr double kSplitStart = 0.45, kOddSplit = 0.7;
constexpr double kPeerRate = 2.4e4;   // bytes a microsecond from the blocks of a cluster
constexpr double kUnusable = 0.025;   // of the multiprocessors, for each block of a cluster
constexpr double kElementwiseStart = 1.9;

constexpr int64_t kSharedOfMultiprocessor = 227 << 10, kThreadsOfMultiprocessor = 512;

double bytes_of(const GemmProblem& p) {
  const double elements = static_cast<double>(p.n) * static_cast<double>(p.k) +
                          static_cast<double>(p.m) * static_cast<double>(p.k) +
                          static_cast<double>(p.m) * static_cast<double>(p.n) * (p.add ? 2 : 1);
  return 2 * elements;
}

double memory_time(double bytes, const DeviceSpec& device) {
  const auto rate = static_cast<double>(device.memory_bytes_per_second) * 1e-6;
  return bytes / (0.88 * (rate > 0 ? rate : kBandwidth));
}

int64_t multiprocessors(const DeviceSpec& device) { return std::max(device.multiprocessors, 1); }
double scale_of(const DeviceSpec& device) {
  return static_cast<double>(multiprocessors(device)) / kMultiprocessors;
}

// Of one stage of a block that has its multiprocessor to itself.
double stage_time(const GemmTiling& t) {
  const auto warps = static_cast<double>(t.threads() / 32);
  const double written = 32.0 * static_cast<double>(t.rows + t.columns);  // in a step of 16
  const double read = warps * 32.0 * static_cast<double>(t.warp_rows + t.warp_columns);
  const double instructions = static_cast<double>(t.rows * t.columns) / 128;
  const double step =
      std::max((written + read) / kSharedBytes, instructions * kMatrixClocks);
  return static_cast<double>(t.depth / 16) * step / kClocks;
}

}  // namespace

double own_gemm_time(const GemmProblem& p, const GemmTiling& t, const DeviceSpec& device) {
  const int64_t tiles = ceil_div(p.m, t.rows) * ceil_div(p.n, t.columns);
  const int64_t stages = ceil_div(ceil_div(p.k, t.depth), t.split);  // that a block computes
  const double usable = t.split == 1 ? 1 : 1 - kUnusable * static_cast<double>(t.split);
  const auto places = static_cast<int64_t>(
      std::max(1.0, static_cast<double>(multiprocessors(device)) * usable));
  const int64_t waves = ceil_div(tiles * t.split, places);
  const int64_t at_once = std::max<int64_t>(
      1, std::min({kSharedOfMultiprocessor / (t.shared_bytes() + 1024),
                   kThreadsOfMultiprocessor / t.threads(), waves}));
  const auto rounds = static_cast<double>(ceil_div(waves, at_once));
  const auto blocks = static_cast<double>(waves);
  const double compute = blocks * static_cast<double>(stages) * stage_time(t);
  const double late = static_cast<double>(std::max<int64_t>(0, stages - (t.stages - 1)));
  const double latency =
      kLatency * (rounds * late / static_cast<double>(t.stages - 1) + rounds - 1);
  const double cache = 2.0 * static_cast<double>(tiles * (t.rows + t.columns)) *
                       static_cast<double>(p.k) / (kCacheRate * scale_of(device));
  double time =
      kOwnStart + std::max({compute, latency, cache, memory_time(bytes_of(p), device)});
  const auto tile = static_cast<double>(t.rows * t.columns);
  const auto split = static_cast<double>(t.split);
  if (p.costly) time += kCostly * rounds * tile / (static_cast<double>(t.threads()) * split);
  if (t.split > 1) {
    time += kSplitStart + 4 * tile * (split - 1) / split * blocks / kPeerRate;
    if ((t.split & (t.split - 1)) != 0) time += kOddSplit;
  }
  return time;
}

double library_gemm_time(const GemmProblem& p, const DeviceSpec& device) {
  // Millions of products, as many multiprocessors as an H200 has.
  const double work = static_cast<double>(p.m) * static_cast<double>(p.n) *
                      static_cast<double>(p.k) * 1e-6 / scale_of(device);
  const double results =
      static_cast<double>(p.m) * static_cast<double>(p.n) * 1e-6 / scale_of(device);
  // Few tiles wait for the operands, many for the matrix instructions.
  const double few = 3.8 + 0.0014 * static_cast<double>(std::min<int64_t>(p.k, 4096)) +
                     0.0017 * work;
  const double many = 3.5 + 0.00246 * work + (p.add ? 0.8 : 0.33) * results;
  return std::max({few, many, 3.8 + memory_time(bytes_of(p), device)});
}

double elementwise_time(const GemmProblem& p, const DeviceSpec& device) {
  const double bytes = 4.0 * static_cast<double>(p.m) * static_cast<double>(p.n);
  return kElementwiseStart + memory_time(bytes, device);
}

std::vector<GemmTiling> gemm_tilings(const GemmProblem& p, const DeviceSpec& device) {
  std::vector<std::pair<double, GemmTiling>> all;
  const int64_t of_depth = ceil_div(p.k, 64);
  const int64_t shared =
      device.shared_bytes_per_block > 0 ? device.shared_bytes_per_block : int64_t{96} << 10;
  for (GemmTiling t : gemm_tiles()) {
    t.depth = 64;
    // Tiles with more than half of their rows beyond the last are smaller ones' affair.
    if (t.rows > 16 && t.rows / 2 >= p.m) continue;
    const int64_t tiles = ceil_div(p.m, t.rows) * ceil_div(p.n, t.columns);
    for (t.split = 1; t.split <= MultistageGemm::kMaxSplit; ++t.split) {
      // Two stages of the depth for each block at least; no more blocks than run at once.
      if (t.split > 1 && (device.sm() < 90 || of_depth / t.split < 2 ||
                          tiles * t.split > 3 * multiprocessors(device))) {
        break;
      }
      std::vector<int64_t> stages;
      for (const int64_t wanted : {4, 6, 8, 12}) {
        t.stages = std::min(wanted, ceil_div(of_depth, t.split) + 1);
        // Large tiles have room for few.
        while (t.stages > 3 && t.shared_bytes() > shared) --t.stages;
        const bool known = std::find(stages.begin(), stages.end(), t.stages) != stages.end();
        if (known || !is_valid(t) || t.shared_bytes() > shared) continue;
        stages.push_back(t.stages);
        all.emplace_back(own_gemm_time(p, t, device), t);
      }
    }
  }
  std::stable_sort(all.begin(), all.end(),
                   [](const auto& x, const auto& y) { return x.first < y.first; });
  std::vector<GemmTiling> result;
  for (auto& [time, tiling] : all) result.push_back(tiling);
  return result;
}

Result<GemmTiling> parse_gemm_tiling(std::string_view text) {
  const auto bad = [&] {
    return Status::error("K1002", "no tiling of a product: '" + std::string(text) + "'");
  };
  std::array<int64_t, 5> numbers{};
  constexpr std::string_view kBehind = "xx//";
  const char* at = text.data();
  const char* const end = at + text.size();
  for (size_t i = 0; i < numbers.size(); ++i) {
    const auto parsed = std::from_chars(at, end, numbers[i]);
    if (parsed.ec != std::errc() || parsed.ptr == at) return bad();
    at = parsed.ptr;
    if (i + 1 == numbers.size()) break;
    if (at == end || *at != kBehind[i]) return bad();
    ++at;
  }
  if (at != end) return bad();
  for (GemmTiling tiling : gemm_tiles()) {
    if (tiling.rows != numbers[0] || tiling.columns != numbers[1]) continue;
    tiling.depth = numbers[2];
    tiling.stages = numbers[3];
    tiling.split = numbers[4];
    if (is_valid(tiling)) return tiling;
  }
  return bad();
}

}  // namespace kiln::cuda

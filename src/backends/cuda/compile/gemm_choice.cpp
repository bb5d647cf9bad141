#include "backends/cuda/compile/gemm_choice.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <string>
#include <utility>

#include "base/status.h"

namespace kiln::cuda {
namespace {

// Of an H200: 132 multiprocessors, 4.8 TB/s.
constexpr double kMultiprocessors = 132, kBandwidth = 4.8e6;  // bytes a microsecond
// Of the own kernels.
constexpr double kStart = 2.0;           // in a graph, with the first loads
constexpr double kOwnRate = 4.2e6;       // operations a microsecond of one multiprocessor
constexpr double kCacheRate = 5.5e6;     // bytes a microsecond from the L2 cache, in all
constexpr double kLoadRate = 9.0e4;      // and to one multiprocessor
constexpr double kLatency = 0.8;         // of a load
constexpr double kSplitTime = 0.7;       // barriers of a cluster
constexpr double kPeerRate = 3.0e4;      // bytes a microsecond and block from its peers
// Of the library.
constexpr double kLibraryStart = 3.2;
constexpr double kLibraryRate = 5.0e6;
constexpr int64_t kLibraryTile = 128;
constexpr double kLibraryBlock = 1.0e6;  // of a tile alone on its multiprocessor
constexpr double kElementwiseStart = 1.4;

constexpr int64_t kSharedOfMultiprocessor = 226 << 10;
constexpr int64_t kRegisters = 65536, kRegistersOfThread = 168;

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

}  // namespace

double own_gemm_time(const GemmProblem& p, const GemmTiling& t, const DeviceSpec& device) {
  const int64_t tiles = ceil_div(p.m, t.rows) * ceil_div(p.n, t.columns);
  const int64_t stages = ceil_div(ceil_div(p.k, t.depth), t.split);  // that a block computes
  const int64_t waves = ceil_div(tiles * t.split, multiprocessors(device));
  const int64_t by_registers = kRegisters / (t.threads() * kRegistersOfThread);
  const int64_t at_once = std::max<int64_t>(
      1, std::min({kSharedOfMultiprocessor / (t.shared_bytes() + 1024), by_registers, waves}));
  const auto depth = static_cast<double>(stages * t.depth);
  const double all_blocks = static_cast<double>(waves);
  const double flops = 2.0 * static_cast<double>(t.rows * t.columns) * depth * all_blocks;
  // Two warps of a scheduler hide each other's latencies; one does not.
  const double warps = static_cast<double>(at_once * t.threads()) / 128;
  const double reached = std::min(1.0, 0.55 + 0.25 * (warps - 1)) *
                         std::min(1.0, static_cast<double>(t.warp_rows * t.warp_columns) / 2048 +
                                           0.45);
  const double compute = flops / (kOwnRate * reached);
  const double block_bytes = 2.0 * static_cast<double>(t.rows + t.columns) * depth;
  const double held = 2.0 * static_cast<double>((t.rows + t.columns) * t.depth *
                                                (t.stages - 1) * at_once);
  const double load = block_bytes * all_blocks / std::min(kLoadRate, held / kLatency);
  const double scale = static_cast<double>(multiprocessors(device)) / kMultiprocessors;
  const double cache = block_bytes * static_cast<double>(tiles * t.split) / (kCacheRate * scale);
  double time = kStart + std::max({compute, load, cache, memory_time(bytes_of(p), device)});
  if (t.split > 1) {
    const double peers = 4.0 * static_cast<double>(t.rows * t.columns * (t.split - 1)) /
                         static_cast<double>(t.split);
    time += kSplitTime + peers * all_blocks / kPeerRate;
  }
  return time;
}

double library_gemm_time(const GemmProblem& p, const DeviceSpec& device) {
  const int64_t tiles = ceil_div(p.m, kLibraryTile) * ceil_div(p.n, kLibraryTile);
  // The library splits the depth, too, but less so.
  const int64_t blocks = std::min(tiles * 4, std::max(tiles, multiprocessors(device)));
  const double flops =
      2.0 * static_cast<double>(tiles * kLibraryTile * kLibraryTile) * static_cast<double>(p.k);
  const double waves =
      static_cast<double>(ceil_div(blocks, multiprocessors(device))) *
      static_cast<double>(multiprocessors(device)) / static_cast<double>(blocks);
  const double rate = kLibraryRate * static_cast<double>(multiprocessors(device)) / waves;
  const double alone = flops / static_cast<double>(blocks) / (2.5 * kLibraryBlock);
  return kLibraryStart +
         std::max({flops / rate, alone, memory_time(bytes_of(p), device)});
}

double elementwise_time(const GemmProblem& p, const DeviceSpec& device) {
  const double bytes = 4.0 * static_cast<double>(p.m) * static_cast<double>(p.n);
  return kElementwiseStart + memory_time(bytes, device);
}

std::vector<GemmTiling> gemm_tilings(const GemmProblem& p, const DeviceSpec& device) {
  std::vector<std::pair<double, GemmTiling>> all;
  const int64_t of_depth = ceil_div(p.k, 64);
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
      for (const int64_t wanted : {3, 4, 6}) {
        t.stages = std::min(wanted, ceil_div(of_depth, t.split) + 1);
        const bool known = std::find(stages.begin(), stages.end(), t.stages) != stages.end();
        if (known || !is_valid(t)) continue;
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

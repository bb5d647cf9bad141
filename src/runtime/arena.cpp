#include "runtime/arena.h"

#include <algorithm>
#include <numeric>

namespace kiln {
namespace {
constexpr int64_t kAlignment = 64;
}

ArenaLayout plan_arena(const std::vector<ArenaRequest>& requests) {
  ArenaLayout layout;
  layout.offsets.assign(requests.size(), 0);
  std::vector<size_t> by_size(requests.size());
  std::iota(by_size.begin(), by_size.end(), size_t{0});
  std::stable_sort(by_size.begin(), by_size.end(),
                   [&](size_t a, size_t b) { return requests[a].bytes > requests[b].bytes; });
  std::vector<size_t> placed;  // sorted by offset
  for (size_t i : by_size) {
    const ArenaRequest& request = requests[i];
    const int64_t bytes = (request.bytes + kAlignment - 1) / kAlignment * kAlignment;
    int64_t offset = 0;
    for (size_t other : placed) {
      const ArenaRequest& o = requests[other];
      if (o.last < request.first || request.last < o.first) continue;
      if (layout.offsets[other] >= offset + bytes) break;  // the gap before it is large enough
      const int64_t end =
          layout.offsets[other] + (o.bytes + kAlignment - 1) / kAlignment * kAlignment;
      offset = std::max(offset, end);
    }
    layout.offsets[i] = offset;
    layout.bytes = std::max(layout.bytes, offset + bytes);
    auto position =
        std::upper_bound(placed.begin(), placed.end(), offset,
                         [&](int64_t value, size_t p) { return value < layout.offsets[p]; });
    placed.insert(position, i);
  }
  return layout;
}

}  // namespace kiln

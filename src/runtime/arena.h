// Places buffers with known lifetimes in one block of memory.
#pragma once

#include <cstdint>
#include <vector>

namespace kiln {

struct ArenaRequest {
  int64_t bytes = 0;
  int first = 0;  // first step that touches the buffer
  int last = 0;   // last step that touches it, inclusive
};

struct ArenaLayout {
  std::vector<int64_t> offsets;  // per request, multiples of 64
  int64_t bytes = 0;             // size of the block
};

// Greedy by size: largest first, each at the lowest offset that is free during its lifetime
// (Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020).
ArenaLayout plan_arena(const std::vector<ArenaRequest>& requests);

}  // namespace kiln

// What the two implementations of parallel_for have in common.
#pragma once

#include <algorithm>
#include <cstdint>

namespace kiln::detail {

// State of the calling thread.
struct ThreadState {
  int limit = 0;        // of the innermost ScopedNumThreads, 0 for none
  int part = 0;         // index of the part being run
  bool inside = false;  // running a part of a parallel_for
};
extern thread_local ThreadState thread_state;

// How many parts to make of n > 0 indices.
inline int64_t count_parts(int64_t n, int64_t grain, int threads) {
  return std::min<int64_t>(threads, std::max<int64_t>(1, n / std::max<int64_t>(1, grain)));
}

// First index of part `part` of `parts`: sizes differ by at most one, larger ones first.
inline int64_t part_begin(int64_t n, int64_t parts, int64_t part) {
  return n / parts * part + std::min(part, n % parts);
}

// Marks the calling thread as running `part` while it lives.
class InsidePart {
 public:
  explicit InsidePart(int64_t part) : saved_(thread_state) {
    thread_state.part = static_cast<int>(part);
    thread_state.inside = true;
  }
  ~InsidePart() { thread_state = saved_; }
  InsidePart(const InsidePart&) = delete;
  InsidePart& operator=(const InsidePart&) = delete;

 private:
  ThreadState saved_;
};

}  // namespace kiln::detail

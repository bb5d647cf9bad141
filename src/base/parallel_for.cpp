#include "base/parallel_for.h"

#include "base/parallel_parts.h"

namespace kiln {

thread_local detail::ThreadState detail::thread_state;

int thread_index() { return detail::thread_state.part; }

ScopedNumThreads::ScopedNumThreads(int n) : previous_(detail::thread_state.limit) {
  if (n >= 1) detail::thread_state.limit = n;
}

ScopedNumThreads::~ScopedNumThreads() { detail::thread_state.limit = previous_; }

}  // namespace kiln

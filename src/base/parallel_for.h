// The one place from which Kiln takes threads. Two implementations, chosen when building
// (KILN_THREADS): OpenMP, whose pool is shared with torch when torch is loaded, and a pool of
// std::thread, which the thread sanitizer understands.
#pragma once

#include <cstdint>

#include "base/function_ref.h"

namespace kiln {

// Calls `body(begin, end)` so that every index of [0, n) is covered exactly once, by at most
// num_threads() contiguous parts of at least `grain` indices each (fewer only when n < grain), and
// returns when all are done. The parts depend on n, grain and num_threads() alone, so results are
// repeatable at equal thread counts. A call from inside a parallel body runs on the calling thread.
// Several threads may call at once. If bodies throw, one of the exceptions is thrown here after all
// parts have ended. Allocates nothing once the threads exist. n <= 0 does nothing; grain < 1 is 1.
void parallel_for(int64_t n, int64_t grain, FunctionRef<void(int64_t begin, int64_t end)> body);

// How many threads a parallel_for called here may use: 1 inside a parallel body, else the limit
// of the innermost ScopedNumThreads of this thread, else the process's setting (OpenMP: what
// omp_set_num_threads, OMP_NUM_THREADS or torch.set_num_threads asked for; std: OMP_NUM_THREADS,
// else the number of CPUs that the process may run on).
int num_threads();

// The part that the calling thread is working on: in [0, num_threads() of the caller), different
// for parts that run at the same time, 0 outside of a parallel body. Picks per-thread scratch.
int thread_index();

// Limits parallel_for on this thread to `n` threads while it lives; n < 1 means no limit of its
// own. Nests; must be destroyed on the thread that made it, innermost first.
class ScopedNumThreads {
 public:
  explicit ScopedNumThreads(int n);
  ~ScopedNumThreads();
  ScopedNumThreads(const ScopedNumThreads&) = delete;
  ScopedNumThreads& operator=(const ScopedNumThreads&) = delete;

 private:
  int previous_;
};

}  // namespace kiln

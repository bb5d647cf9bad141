// parallel_for on OpenMP.
#include <omp.h>

#include <atomic>
#include <exception>

#include "base/parallel_for.h"
#include "base/parallel_parts.h"

namespace kiln {

int num_threads() {
  // omp_in_parallel: the caller's own OpenMP region (torch's, say) already uses the cores.
  if (detail::thread_state.inside || omp_in_parallel()) return 1;
  if (detail::thread_state.limit > 0) return detail::thread_state.limit;
  return omp_get_max_threads();
}

void parallel_for(int64_t n, int64_t grain, FunctionRef<void(int64_t, int64_t)> body) {
  if (n <= 0) return;
  const int threads = num_threads();
  const int64_t parts = detail::count_parts(n, grain, threads);
  if (parts == 1) {
    // Not marked as inside: a body that has all the work may itself go parallel.
    body(0, n);
    return;
  }
  std::exception_ptr error;
  std::atomic_flag failed = ATOMIC_FLAG_INIT;
  // Always the full team, even for fewer parts: libgomp ends the threads that a smaller team leaves
  // over and must start them again for the next larger one, which costs more than their waiting.
#pragma omp parallel num_threads(threads)
  {
    // OpenMP may give fewer threads than asked for, hence the loop.
    for (int64_t part = omp_get_thread_num(); part < parts; part += omp_get_num_threads()) {
      detail::InsidePart inside(part);
      try {
        body(detail::part_begin(n, parts, part), detail::part_begin(n, parts, part + 1));
      } catch (...) {
        if (!failed.test_and_set()) error = std::current_exception();
      }
    }
  }
  if (error) std::rethrow_exception(error);
}

}  // namespace kiln

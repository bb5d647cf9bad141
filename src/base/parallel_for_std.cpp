// parallel_for on a pool of std::thread. Every state change happens under one mutex: this
// implementation is for the thread sanitizer, where being plainly right matters more than speed.
#include <sched.h>

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <thread>

#include "base/parallel_for.h"
#include "base/parallel_parts.h"

namespace kiln {
namespace {

constexpr int kMaxWorkers = 255;

// One call of parallel_for; lives on its caller's stack until pending is 0.
struct Job {
  FunctionRef<void(int64_t, int64_t)> body;
  int64_t n;
  int64_t parts;
  int64_t next_part = 0;
  int64_t pending;  // parts not yet finished
  std::exception_ptr error;
  std::condition_variable done;
  Job* next = nullptr;
};

class Pool {
 public:
  // Never destroyed: detached workers may outlive static destruction.
  static Pool& get() {
    static Pool* pool = new Pool;
    return *pool;
  }

  void run(Job& job) {
    std::unique_lock lock(mutex_);
    grow(job.parts - 1);
    Job** tail = &jobs_;
    while (*tail != nullptr) tail = &(*tail)->next;
    *tail = &job;
    work_.notify_all();
    while (run_one_part(job, lock)) {
    }
    job.done.wait(lock, [&] { return job.pending == 0; });
  }

 private:
  void grow(int64_t workers) {
    for (; workers_ < std::min<int64_t>(workers, kMaxWorkers); ++workers_) {
      std::thread([this] { work(); }).detach();
    }
  }

  void work() {
    std::unique_lock lock(mutex_);
    while (true) {
      work_.wait(lock, [&] { return jobs_ != nullptr; });
      run_one_part(*jobs_, lock);
    }
  }

  // Takes the next part of the job and runs it without the lock. False when all parts are taken;
  // then the job is off the list. The job must not be touched after its last part has ended.
  bool run_one_part(Job& job, std::unique_lock<std::mutex>& lock) {
    if (job.next_part == job.parts) return false;
    const int64_t part = job.next_part++;
    if (job.next_part == job.parts) unlink(job);
    lock.unlock();
    std::exception_ptr error;
    try {
      detail::InsidePart inside(part);
      job.body(detail::part_begin(job.n, job.parts, part),
               detail::part_begin(job.n, job.parts, part + 1));
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    if (error && !job.error) job.error = error;
    error = nullptr;
    // Under the lock, so that the caller cannot leave before notify_one has returned.
    if (--job.pending == 0) job.done.notify_one();
    return true;
  }

  void unlink(Job& job) {
    Job** link = &jobs_;
    while (*link != &job) link = &(*link)->next;
    *link = job.next;
  }

  std::mutex mutex_;
  std::condition_variable work_;
  Job* jobs_ = nullptr;  // jobs with parts that nobody has taken, oldest first
  int64_t workers_ = 0;
};

// What the process asks for, else what the machine gives it.
int default_num_threads() {
  if (const char* text = std::getenv("OMP_NUM_THREADS")) {
    const int n = std::atoi(text);
    if (n >= 1) return n;
  }
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  if (sched_getaffinity(0, sizeof cpus, &cpus) == 0) return std::max(1, CPU_COUNT(&cpus));
  return std::max(1u, std::thread::hardware_concurrency());
}

}  // namespace

int num_threads() {
  if (detail::thread_state.inside) return 1;
  if (detail::thread_state.limit > 0) return detail::thread_state.limit;
  static const int threads = default_num_threads();
  return threads;
}

void parallel_for(int64_t n, int64_t grain, FunctionRef<void(int64_t, int64_t)> body) {
  if (n <= 0) return;
  const int64_t parts = detail::count_parts(n, grain, num_threads());
  if (parts == 1) {
    // Not marked as inside: a body that has all the work may itself go parallel.
    body(0, n);
    return;
  }
  Job job{.body = body, .n = n, .parts = parts, .pending = parts, .error = {}, .done = {}};
  Pool::get().run(job);
  if (job.error) std::rethrow_exception(job.error);
}

}  // namespace kiln

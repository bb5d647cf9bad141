// Runs one launch of a host-compiled kernel: its blocks one after the other, those of a cluster by
// turns, the threads of a block as fibers that switch at barriers and warp operations. Looks for
// accesses out of bounds, misaligned ones, races, reads of shared memory that nobody wrote,
// barriers and warp operations that not all threads reach. The first finding ends the launch.
//
// One launch at a time in a process: kernels see the machine through one global object.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "backends/cuda/emulated/device/machine.h"

namespace kiln::emulator {

struct Shape {
  std::array<int64_t, 3> grid{1, 1, 1};
  std::array<int, 3> block{1, 1, 1};
  int64_t shared_bytes = 0;  // dynamic

  bool operator==(const Shape&) const = default;
};

// Limits of the machine that is emulated.
constexpr int64_t kMaxStaticShared = 48 << 10;
constexpr int64_t kMaxShared = 227 << 10;
constexpr int kMaxThreads = 1024;

struct Counts {
  int64_t launches = 0, blocks = 0, threads = 0, accesses = 0;
};

using LaunchObserver = std::function<void(const kiln_emulated::Kernel&, const Shape&)>;

class Execution {
 public:
  Execution();
  ~Execution();

  // Empty, or what was found, with kernel, block and thread. `arguments` as the driver gets them;
  // `regions`, parallel, what pointers may touch.
  std::string run(const kiln_emulated::Kernel& kernel, const Shape& shape,
                  const std::vector<kiln_emulated::Parameter>& parameters);
  kiln_emulated::Machine* machine();
  Counts counts() const;
  // A launch with more accesses than this is taken for an endless one.
  void set_access_limit(int64_t limit);
  // Called after each launch that nothing was found in; empty: nobody is.
  void set_observer(LaunchObserver observer);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace kiln::emulator

// The host's twin of backends/cuda/device/async_barrier.h. A phase ends as late as it can, when a
// thread waits for it: until then what bulk copies bring is not there.
#pragma once

#include "device/platform.h"

template <class T>
KILN_DEVICE uint32 shared_address(const Shared<T>& at) {
  return static_cast<uint32>(at.address());
}

struct AsyncBarrier {
  Shared<uint64> word;

  void init(int32 arrivals) const {
    kiln_emulated::machine->async_barrier_init(word.region(), address(), arrivals);
  }
  void arrive() const { arrive_expecting(0); }
  void arrive_expecting(int32 bytes) const {
    kiln_emulated::machine->async_barrier_arrive(word.region(), address(), bytes);
  }
  void wait(uint32 parity, const char* file = __builtin_FILE(),
            int line = __builtin_LINE()) const {
    kiln_emulated::machine->async_barrier_wait(word.region(), address(), parity, file, line);
  }
  void* address() const { return reinterpret_cast<void*>(word.address()); }
};

KILN_DEVICE void fence_barriers() { kiln_emulated::machine->fence_async_barriers(); }

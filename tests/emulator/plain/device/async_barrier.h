// As platform.h beside it: what asynchronous barriers do is not known.
#pragma once

#include "device/platform.h"

extern "C" {
void kiln_async_init(void* word, int32 arrivals);
void kiln_async_arrive(void* word, int32 bytes);
void kiln_async_wait(void* word, uint32 parity);
void kiln_async_fence();
}

template <class T>
KILN_DEVICE uint32 shared_address(Shared<T> at) {
  return static_cast<uint32>(reinterpret_cast<uint64>(at));
}

struct AsyncBarrier {
  Shared<uint64> word;

  KILN_DEVICE void init(int32 arrivals) const { kiln_async_init(word, arrivals); }
  KILN_DEVICE void arrive() const { kiln_async_arrive(word, 0); }
  KILN_DEVICE void arrive_expecting(int32 bytes) const { kiln_async_arrive(word, bytes); }
  KILN_DEVICE void wait(uint32 parity) const { kiln_async_wait(word, parity); }
};

KILN_DEVICE void fence_barriers() { kiln_async_fence(); }

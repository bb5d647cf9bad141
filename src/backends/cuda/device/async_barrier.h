// Barriers in shared memory that count arrivals of threads and bytes of bulk copies (mbarrier;
// sm_90). A barrier is in a phase, whose parity alternates 0, 1, 0, ...; a phase is over when
// `arrivals` threads have arrived and all bytes that were announced are there.
// backends/cuda/emulated/device/async_barrier.h is the host's twin.
#pragma once

#include "device/platform.h"

// Where shared memory lies for instructions that address it by 32 bits.
template <class T>
KILN_DEVICE uint32 shared_address(Shared<T> at) {
  return static_cast<uint32>(__cvta_generic_to_shared(at));
}

struct AsyncBarrier {
  Shared<uint64> word;

  // By one thread, before fence_barriers() and a barrier of the block.
  KILN_DEVICE void init(int32 arrivals) const {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(word)),
                 "r"(arrivals)
                 : "memory");
  }
  KILN_DEVICE void arrive() const {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(word)) : "memory");
  }
  // Arrives, and has the phase wait for this many bytes of bulk copies.
  KILN_DEVICE void arrive_expecting(int32 bytes) const {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(
                     shared_address(word)),
                 "r"(bytes)
                 : "memory");
  }
  // Until the phase of this parity is over. Before any phase is, that of parity 1 counts as over.
  KILN_DEVICE void wait(uint32 parity) const {
    asm volatile(
        "{ .reg .pred over;\n"
        "again:\n"
        " mbarrier.try_wait.parity.shared::cta.b64 over, [%0], %1;\n"
        " @!over bra again; }" ::"r"(shared_address(word)),
        "r"(parity)
        : "memory");
  }
};

// Makes barriers that this thread initialized visible to bulk copies.
KILN_DEVICE void fence_barriers() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

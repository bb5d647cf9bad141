// Copies from device memory to shared memory that go on while the thread does (sm_80 and later).
// backends/cuda/emulated/device/async_copy.h is the host's twin.
#pragma once

#include "device/platform.h"

// The copies that one thread started, in groups. After wait() the thread's own are there; those of
// others after a barrier behind it. What is being copied to must not be touched before.
struct AsyncCopies {
  // Sixteen bytes; both addresses are multiples of 16. Zeros where `there` is false, when `from` is
  // not read.
  template <class T>
  KILN_DEVICE void start(Shared<T> to, const T* from, bool there) {
    asm volatile(
        "{ .reg .u64 a; .reg .u32 s; cvta.to.shared.u64 a, %0; cvt.u32.u64 s, a;"
        " cp.async.cg.shared.global [s], [%1], 16, %2; }" ::"l"(to),
        "l"(from), "r"(there ? 16 : 0)
        : "memory");
  }
  // start() to base + element: with one base for many copies, addresses are sums of 32 bits.
  template <class T>
  KILN_DEVICE void start_at(Shared<T> base, int32 element, const T* from, bool there) {
    asm volatile(
        "{ .reg .u64 a; .reg .u32 s; cvta.to.shared.u64 a, %0; cvt.u32.u64 s, a;"
        " add.u32 s, s, %1; cp.async.cg.shared.global [s], [%2], 16, %3; }" ::"l"(base),
        "r"(element * static_cast<int32>(sizeof(T))), "l"(from), "r"(there ? 16 : 0)
        : "memory");
  }
  // Makes a group, perhaps an empty one, of the copies since the last.
  KILN_DEVICE void commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
  // Until all groups but the last kPending are there.
  template <int kPending>
  KILN_DEVICE void wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
  }
};

// As platform.h beside it: a copy under way is memory that a call may change until it is waited
// for.
#pragma once

#include "device/platform.h"

extern "C" {
void kiln_copy_start(void* to, const void* from, int32 there);
void kiln_copy_commit();
void kiln_copy_wait(int32 pending);
}

struct AsyncCopies {
  template <class T>
  KILN_DEVICE void start(Shared<T> to, const T* from, bool there) {
    kiln_copy_start(to, from, there);
  }
  template <class T>
  KILN_DEVICE void start_at(Shared<T> base, int32 element, const T* from, bool there) {
    kiln_copy_start(base + element, from, there);
  }
  KILN_DEVICE void commit() { kiln_copy_commit(); }
  template <int kPending>
  KILN_DEVICE void wait() {
    kiln_copy_wait(kPending);
  }
};

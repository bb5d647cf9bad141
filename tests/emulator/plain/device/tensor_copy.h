// As platform.h beside it: a copy is a call that may change any memory.
#pragma once

#include "device/async_barrier.h"

struct alignas(64) TensorMap {
  uint64 words[16];
};
#define KILN_TENSOR_MAP(name) const TensorMap name

extern "C" {
void kiln_copy_box(void* to, const void* map, int32 row, int32 column, void* word);
void kiln_fence_for_copies();
void kiln_store_box(const void* map, int32 row, int32 column, const void* from);
void kiln_store_wait(int32 pending);
}

KILN_DEVICE void prefetch(const TensorMap&) {}
template <class T>
KILN_DEVICE void copy_box(Shared<T> to, const TensorMap& map, int32 row, int32 column,
                          AsyncBarrier barrier) {
  kiln_copy_box(to, &map, row, column, barrier.word);
}

KILN_DEVICE void fence_for_copies() { kiln_fence_for_copies(); }
struct BoxStores {
  template <class T>
  KILN_DEVICE void start(const TensorMap& map, int32 row, int32 column, Shared<T> from) {
    kiln_store_box(&map, row, column, from);
  }
  template <int32 kPending>
  KILN_DEVICE void wait() {
    kiln_store_wait(kPending);
  }
};

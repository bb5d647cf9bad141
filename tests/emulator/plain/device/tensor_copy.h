// As platform.h beside it: a copy is a call that may change any memory.
#pragma once

#include "device/async_barrier.h"

struct alignas(64) TensorMap {
  uint64 words[16];
};
#define KILN_TENSOR_MAP(name) const TensorMap name

extern "C" void kiln_copy_box(void* to, const void* map, int32 row, int32 column, void* word);

KILN_DEVICE void prefetch(const TensorMap&) {}
KILN_DEVICE void prefetch_box(const TensorMap&, int32, int32) {}
template <class T>
KILN_DEVICE void copy_box(Shared<T> to, const TensorMap& map, int32 row, int32 column,
                          AsyncBarrier barrier) {
  kiln_copy_box(to, &map, row, column, barrier.word);
}

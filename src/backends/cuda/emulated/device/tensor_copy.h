// The host's twin of backends/cuda/device/tensor_copy.h. Until the barrier's phase ends the target
// holds what nobody should read.
#pragma once

#include "device/async_barrier.h"

struct alignas(64) TensorMap {
  uint64 words[16];
};
#define KILN_TENSOR_MAP(name) TensorMap name

KILN_DEVICE void prefetch(const TensorMap&) {}
KILN_DEVICE void prefetch_box(const TensorMap&, int32, int32) {}

template <class T>
KILN_DEVICE void copy_box(const Shared<T>& to, const TensorMap& map, int32 row, int32 column,
                          AsyncBarrier barrier) {
  kiln_emulated::machine->copy_box(to.region(), reinterpret_cast<void*>(to.address()), &map, row,
                                   column, barrier.word.region(), barrier.address());
}

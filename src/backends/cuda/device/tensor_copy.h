// Bulk copies of boxes of tensors in device memory to shared memory, by the copy engine (TMA;
// sm_90). A tensor map, made by the host, says where the tensor lies, how large a box is and how it
// is swizzled: the 16-byte unit u of the 128-byte row r of a box comes to lie at u ^ (r % 8).
// backends/cuda/emulated/device/tensor_copy.h is the host's twin.
#pragma once

#include "device/async_barrier.h"

struct alignas(64) TensorMap {
  uint64 words[16];
};
// A kernel's parameter that is a tensor map; its address is what the copy engine reads.
#define KILN_TENSOR_MAP(name) const __grid_constant__ TensorMap name

KILN_DEVICE void prefetch(const TensorMap& map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
}
// Brings a box to the L2 cache.
KILN_DEVICE void prefetch_box(const TensorMap& map, int32 row, int32 column) {
  asm volatile("cp.async.bulk.prefetch.tensor.2d.L2.global.tile [%0, {%1, %2}];" ::"l"(&map),
               "r"(column), "r"(row)
               : "memory");
}

// The box whose first element is (row, column), to `to`, a multiple of 1024 bytes; elements outside
// of the tensor are zeros. Its bytes are counted by `barrier`.
template <class T>
KILN_DEVICE void copy_box(Shared<T> to, const TensorMap& map, int32 row, int32 column,
                          AsyncBarrier barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
      " [%0], [%1, {%2, %3}], [%4];" ::"r"(shared_address(to)),
      "l"(&map), "r"(column), "r"(row), "r"(shared_address(barrier.word))
      : "memory");
}

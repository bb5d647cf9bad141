// The host's twin of backends/cuda/device/tensor_copy.h. Until the barrier's phase ends the target
// holds what nobody should read.
#pragma once

#include "device/async_barrier.h"

struct alignas(64) TensorMap {
  uint64 words[16];
};
#define KILN_TENSOR_MAP(name) TensorMap name

KILN_DEVICE void prefetch(const TensorMap&) {}

template <class T>
KILN_DEVICE void copy_box(const Shared<T>& to, const TensorMap& map, int32 row, int32 column,
                          AsyncBarrier barrier) {
  kiln_emulated::machine->copy_box(to.region(), reinterpret_cast<void*>(to.address()), &map, row,
                                   column, barrier.word.region(), barrier.address());
}

KILN_DEVICE void fence_for_copies() { kiln_emulated::machine->fence_for_copies(); }

// A box is taken from shared memory as late as it may be, by the wait for it, and then was read by
// this thread.
class BoxStores {
 public:
  template <class T>
  void start(const TensorMap& map, int32 row, int32 column, const Shared<T>& from) {
    if (count_ == kMost) kiln_emulated::machine->fail("too many boxes are under way");
    boxes_[count_++] = {&map, row, column, from.region(), from.address()};
    kiln_emulated::machine->store_box(&map, row, column, from.region(),
                                      reinterpret_cast<const void*>(from.address()), true);
  }
  template <int32 kPending>
  void wait() {
    int32 first = 0;
    for (; first + kPending < count_; ++first) {
      const Box& box = boxes_[first];
      kiln_emulated::machine->store_box(box.map, box.row, box.column, box.region,
                                        reinterpret_cast<const void*>(box.from), false);
    }
    count_ -= first;
    for (int32 i = 0; i < count_; ++i) boxes_[i] = boxes_[first + i];
  }

 private:
  struct Box {
    const TensorMap* map;
    int32 row, column;
    const kiln_emulated::Region* region;
    uint64 from;
  };
  static constexpr int32 kMost = 16;
  Box boxes_[kMost];
  int32 count_ = 0;
};

// As platform.h beside it: what the matrix instructions do is not known.
#pragma once

#include "device/async_barrier.h"

#define KILN_WARPGROUPS
#define KILN_SOLE_KERNEL(max_threads) extern "C"

struct MatrixDescriptor {
  void* bits;
  KILN_DEVICE MatrixDescriptor moved(int32 bytes) const {
    return {static_cast<unsigned char*>(bits) + bytes};
  }
};
template <class T>
KILN_DEVICE MatrixDescriptor describe_matrix(Shared<T> matrix) {
  return {matrix};
}

extern "C" {
void kiln_warpgroup_begin();
void kiln_warpgroup_product(int32 type, float* d, int32 count, void* a, void* b, bool accumulate);
void kiln_warpgroup_transposed(int32 type, float* d, const uint32* a, void* b, bool accumulate);
void kiln_warpgroup_commit();
void kiln_warpgroup_wait(int32 pending);
void kiln_warpgroup_done(float* d, int32 count);
}

KILN_DEVICE void show_to_products() {}

template <int32 kRegisters>
KILN_DEVICE void take_registers() {}
template <int32 kRegisters>
KILN_DEVICE void give_registers() {}

struct WarpgroupProducts {
  KILN_DEVICE void begin() { kiln_warpgroup_begin(); }
  template <int32 kSums>
  KILN_DEVICE void start(f16, float (&d)[kSums], MatrixDescriptor a, MatrixDescriptor b,
                         bool accumulate) {
    kiln_warpgroup_product(0, d, kSums, a.bits, b.bits, accumulate);
  }
  template <int32 kSums>
  KILN_DEVICE void start(bf16, float (&d)[kSums], MatrixDescriptor a, MatrixDescriptor b,
                         bool accumulate) {
    kiln_warpgroup_product(1, d, kSums, a.bits, b.bits, accumulate);
  }
  KILN_DEVICE void start_transposed(f16, float (&d)[32], const uint32 (&a)[4], MatrixDescriptor b,
                                    bool accumulate) {
    kiln_warpgroup_transposed(0, d, a, b.bits, accumulate);
  }
  KILN_DEVICE void start_transposed(bf16, float (&d)[32], const uint32 (&a)[4], MatrixDescriptor b,
                                    bool accumulate) {
    kiln_warpgroup_transposed(1, d, a, b.bits, accumulate);
  }
  KILN_DEVICE void commit() { kiln_warpgroup_commit(); }
  template <int32 kPending>
  KILN_DEVICE void wait() {
    kiln_warpgroup_wait(kPending);
  }
  template <int32 kSums>
  KILN_DEVICE void done(float (&d)[kSums]) {
    kiln_warpgroup_done(d, kSums);
  }
};

// Products of small matrices by a warp, for 16-bit elements (sm_80 and later). All 32 lanes take
// part in each call.
//
// Of lane l, g = l / 4 and t = l % 4 (PTX ISA, "Matrix Fragments for mma.m16n8k16"):
//   a: 16 x 16, a[0] holds (g, 2t) and (g, 2t + 1), a[1] (g + 8, ...), a[2] (g, 2t + 8 and 9),
//      a[3] (g + 8, 2t + 8 and 9); the lower column in the lower half of the word
//   b: 16 x 8, b[0] holds (2t, g) and (2t + 1, g), b[1] (2t + 8 and 9, g)
//   d: 16 x 8, d[0] and d[1] are (g, 2t) and (g, 2t + 1), d[2] and d[3] those of row g + 8
// backends/cuda/emulated/device/mma.h is the host's twin.
#pragma once

#include "device/platform.h"

// d += a * b; products are exact, sums in f32.
KILN_DEVICE void mma_16x8x16(f16, float (&d)[4], const uint32 (&a)[4], const uint32 (&b)[2]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
KILN_DEVICE void mma_16x8x16(bf16, float (&d)[4], const uint32 (&a)[4], const uint32 (&b)[2]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Loads four matrices of 8 x 8 16-bit elements from shared memory. Lane l gives row l % 8 of matrix
// l / 8: its eight elements, 16-byte aligned. result[i] gets (g, 2t) and (g, 2t + 1) of matrix i,
// transposed: (2t, g) and (2t + 1, g).
template <class T>
KILN_DEVICE void load_matrices(uint32 (&result)[4], Shared<T> row) {
  asm volatile(
      "{ .reg .u64 a; .reg .u32 s; cvta.to.shared.u64 a, %4; cvt.u32.u64 s, a;"
      " ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [s]; }"
      : "=r"(result[0]), "=r"(result[1]), "=r"(result[2]), "=r"(result[3])
      : "l"(row)
      : "memory");
}
template <class T>
KILN_DEVICE void load_matrices_transposed(uint32 (&result)[4], Shared<T> row) {
  asm volatile(
      "{ .reg .u64 a; .reg .u32 s; cvta.to.shared.u64 a, %4; cvt.u32.u64 s, a;"
      " ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [s]; }"
      : "=r"(result[0]), "=r"(result[1]), "=r"(result[2]), "=r"(result[3])
      : "l"(row)
      : "memory");
}
// The same of the row at base + element: with one base for many rows, addresses are sums of 32
// bits.
template <class T>
KILN_DEVICE void load_matrices_at(uint32 (&result)[4], Shared<T> base, int32 element) {
  asm volatile(
      "{ .reg .u64 a; .reg .u32 s; cvta.to.shared.u64 a, %4; cvt.u32.u64 s, a; add.u32 s, s, %5;"
      " ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [s]; }"
      : "=r"(result[0]), "=r"(result[1]), "=r"(result[2]), "=r"(result[3])
      : "l"(base), "r"(element * 2)
      : "memory");
}
template <class T>
KILN_DEVICE void load_matrices_transposed_at(uint32 (&result)[4], Shared<T> base, int32 element) {
  asm volatile(
      "{ .reg .u64 a; .reg .u32 s; cvta.to.shared.u64 a, %4; cvt.u32.u64 s, a; add.u32 s, s, %5;"
      " ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [s]; }"
      : "=r"(result[0]), "=r"(result[1]), "=r"(result[2]), "=r"(result[3])
      : "l"(base), "r"(element * 2)
      : "memory");
}

// Stores four such matrices (sm_90 and later): the other way of load_matrices.
template <class T>
KILN_DEVICE void store_matrices(Shared<T> row, const uint32 (&words)[4]) {
  asm volatile(
      "{ .reg .u64 a; .reg .u32 s; cvta.to.shared.u64 a, %0; cvt.u32.u64 s, a;"
      " stmatrix.sync.aligned.m8n8.x4.shared.b16 [s], {%1,%2,%3,%4}; }" ::"l"(row),
      "r"(words[0]), "r"(words[1]), "r"(words[2]), "r"(words[3])
      : "memory");
}

// Two 16-bit numbers in a word, `low` in its lower half.
KILN_DEVICE uint32 pack_pair(f16, float low, float high) {
  uint32 result;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(result) : "f"(high), "f"(low));
  return result;
}
KILN_DEVICE uint32 pack_pair(bf16, float low, float high) {
  uint32 result;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(result) : "f"(high), "f"(low));
  return result;
}

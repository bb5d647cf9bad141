// As platform.h beside it: what the matrix instructions do is not known.
#pragma once

#include "device/platform.h"

extern "C" {
void kiln_mma(int32 type, float* d, const uint32* a, const uint32* b);
void kiln_load_matrices(int32 transposed, uint32* result, const void* row);
void kiln_store_matrices(void* row, const uint32* words);
}

KILN_DEVICE void mma_16x8x16(f16, float (&d)[4], const uint32 (&a)[4], const uint32 (&b)[2]) {
  kiln_mma(0, d, a, b);
}
KILN_DEVICE void mma_16x8x16(bf16, float (&d)[4], const uint32 (&a)[4], const uint32 (&b)[2]) {
  kiln_mma(1, d, a, b);
}
template <class T>
KILN_DEVICE void load_matrices(uint32 (&result)[4], Shared<T> row) {
  kiln_load_matrices(0, result, row);
}
template <class T>
KILN_DEVICE void load_matrices_transposed(uint32 (&result)[4], Shared<T> row) {
  kiln_load_matrices(1, result, row);
}
template <class T>
KILN_DEVICE void load_matrices_at(uint32 (&result)[4], Shared<T> base, int32 element) {
  kiln_load_matrices(0, result, base + element);
}
template <class T>
KILN_DEVICE void load_matrices_transposed_at(uint32 (&result)[4], Shared<T> base, int32 element) {
  kiln_load_matrices(1, result, base + element);
}
template <class T>
KILN_DEVICE void store_matrices(Shared<T> row, const uint32 (&words)[4]) {
  kiln_store_matrices(row, words);
}

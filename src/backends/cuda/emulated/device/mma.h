// The host's twin of backends/cuda/device/mma.h: what each lane gets is computed from what the
// lanes gave, in double, so that sums do not depend on an order.
#pragma once

#include "device/platform.h"

namespace kiln_emulated {

template <class T>
float half_of(uint32 word, int32 which) {
  T value;
  value.bits = static_cast<uint16>(which == 0 ? word & 0xffffu : word >> 16);
  return to_float(value);
}

template <class T>
void mma(float (&d)[4], const uint32 (&a)[4], const uint32 (&b)[2]) {
  const int32 lane = own_lane(), g = lane / 4, t = lane % 4;
  double sums[4] = {d[0], d[1], d[2], d[3]};
  for (int32 q = 0; q < 4; ++q) {  // columns of a and rows of b that lanes with t = q hold
    uint32 rows[4], columns[2][2];
    for (int32 i = 0; i < 4; ++i) rows[i] = shuffle(a[i], g * 4 + q);
    for (int32 c = 0; c < 2; ++c) {
      for (int32 i = 0; i < 2; ++i) columns[c][i] = shuffle(b[i], (2 * t + c) * 4 + q);
    }
    for (int32 half = 0; half < 2; ++half) {
      for (int32 block = 0; block < 2; ++block) {
        for (int32 c = 0; c < 2; ++c) {
          const double right = half_of<T>(columns[c][block], half);
          sums[c] += half_of<T>(rows[2 * block], half) * right;
          sums[2 + c] += half_of<T>(rows[2 * block + 1], half) * right;
        }
      }
    }
  }
  for (int32 i = 0; i < 4; ++i) d[i] = static_cast<float>(sums[i]);
}

template <class T>
uint32 matrix_words(const Shared<T>& row, int32 matrix, bool transposed) {
  const int32 lane = own_lane(), g = lane / 4, t = lane % 4;
  uint32 word = 0;
  for (int32 c = 0; c < 2; ++c) {
    const int32 r = transposed ? 2 * t + c : g, column = transposed ? g : 2 * t + c;
    const Shared<T> from(shuffle(static_cast<uint64>(row.address()), matrix * 8 + r), row.region());
    if (from.address() % 16 != 0) machine->fail("a row for load_matrices is not 16-byte aligned");
    const T value = from[column];
    word |= static_cast<uint32>(value.bits) << (16 * c);
  }
  return word;
}

}  // namespace kiln_emulated

KILN_DEVICE void mma_16x8x16(f16, float (&d)[4], const uint32 (&a)[4], const uint32 (&b)[2]) {
  kiln_emulated::mma<f16>(d, a, b);
}
KILN_DEVICE void mma_16x8x16(bf16, float (&d)[4], const uint32 (&a)[4], const uint32 (&b)[2]) {
  kiln_emulated::mma<bf16>(d, a, b);
}

template <class T>
KILN_DEVICE void load_matrices(uint32 (&result)[4], const Shared<T>& row) {
  for (int32 i = 0; i < 4; ++i) result[i] = kiln_emulated::matrix_words(row, i, false);
}
template <class T>
KILN_DEVICE void load_matrices_transposed(uint32 (&result)[4], const Shared<T>& row) {
  for (int32 i = 0; i < 4; ++i) result[i] = kiln_emulated::matrix_words(row, i, true);
}
template <class T>
KILN_DEVICE void load_matrices_at(uint32 (&result)[4], const Shared<T>& base, int32 element) {
  load_matrices<T>(result, base + element);
}
template <class T>
KILN_DEVICE void load_matrices_transposed_at(uint32 (&result)[4], const Shared<T>& base,
                                             int32 element) {
  load_matrices_transposed<T>(result, base + element);
}

template <class T>
KILN_DEVICE void store_matrices(const Shared<T>& row, const uint32 (&words)[4]) {
  const int32 lane = kiln_emulated::own_lane(), g = lane / 4, t = lane % 4;
  for (int32 i = 0; i < 4; ++i) {
    const Shared<T> to(shuffle(static_cast<uint64>(row.address()), i * 8 + g), row.region());
    if (to.address() % 16 != 0) {
      kiln_emulated::machine->fail("a row for store_matrices is not 16-byte aligned");
    }
    for (int32 c = 0; c < 2; ++c) {
      T value;
      value.bits = static_cast<uint16>(words[i] >> (16 * c));
      to[2 * t + c] = value;
    }
  }
}

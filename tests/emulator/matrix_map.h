// Tensor maps of matrices of 16-bit elements, for tests that launch kernels themselves.
#pragma once

#include <cstdint>

#include "base/check.h"
#include "emulator/emulator.h"

namespace kiln::emulator {

struct alignas(64) MatrixMapBytes {
  uint64_t words[16];
};

// With boxes of `box_rows` x 64.
inline MatrixMapBytes map_of(uint64_t address, int64_t rows, int64_t columns, int64_t by_row,
                             int64_t box_rows) {
  MatrixMapBytes map;
  const uint64_t dims[] = {static_cast<uint64_t>(columns), static_cast<uint64_t>(rows)};
  const uint64_t strides[] = {static_cast<uint64_t>(by_row) * 2};
  const unsigned box[] = {64, static_cast<unsigned>(box_rows)}, steps[] = {1, 1};
  KILN_CHECK_EQ(Emulator::instance().driver().TensorMapEncodeTiled(
                    &map, 6, 2, reinterpret_cast<void*>(address), dims, strides, box, steps, 0, 3,
                    3, 0),
                0);
  return map;
}

}  // namespace kiln::emulator

// What one output position of resize reads along one dim; private to resize.cpp, in a header
// because that file is compiled once for each SIMD target.
#pragma once

#include <cstdint>

#include "backends/cpu/kernels/resize.h"

namespace kiln::cpu {

template <class T>
struct ResizeTap {
  int64_t offset;  // in elements
  T weight;
};

inline int taps_of(ResizeMode mode) {
  return mode == ResizeMode::kCubic ? 4 : mode == ResizeMode::kLinear ? 2 : 1;
}

}  // namespace kiln::cpu

// Rows to groups of rows side by side: what blocked layouts of weights are made of.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace kiln::cpu {

// 32-bit elements. dst[r / group * group_stride + column_offsets[c] + r % group] =
// src[r * row_stride + c]; the last group is filled up with zeros.
struct RowPackParams {
  int64_t rows = 0, row_stride = 0;
  int64_t group = 16;         // rows of a group, a multiple of 16
  int64_t group_stride = 0;   // in dst
  std::vector<int64_t> column_offsets;  // one per column; multiples of 16
};

// At the speed of memory: whole cache lines are read and written, past the caches when there are
// many, since what is packed is used much later. dst is 64-byte aligned, and so is every group.
// With `scale`, one factor per row, the elements are floats and are multiplied on the way.
void pack_rows(const RowPackParams& params, const void* src, void* dst,
               const float* scale = nullptr);

// dst[r * columns + c] = src[r * columns + c] * scale[r]. dst may be src.
void scale_rows(const float* src, const float* scale, int64_t rows, int64_t columns, float* dst);

}  // namespace kiln::cpu

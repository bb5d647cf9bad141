// Block sizes that the packing code and the scratch computations of the matrix
// kernels share.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kiln::cpu {

inline constexpr int64_t kRowBlock = 48;     // rows of A at a time: a multiple of 6 and of 12
inline constexpr int64_t kDepthBlock = 256;  // columns of A (rows of B) at a time
inline constexpr int64_t kPitch = 272;    // row pitch of a copied block of A: not a power of two,
                                          // so that its rows fall into different cache sets
inline constexpr int64_t kMaxPanel = 32;  // columns of the widest panel of B on any target
inline constexpr int64_t kColumnBlock = 512;   // columns of B packed at a time (half a megabyte)
inline constexpr int64_t kFewRows = 4;         // rows of A up to which B is read in place
inline constexpr int64_t kRowsColumns = 1024;  // columns of C at a time for few rows: stays in L1
inline constexpr size_t kScratchAlign = 64;    // bytes; what every kernel asks of its scratch

inline constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline constexpr int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

}  // namespace kiln::cpu

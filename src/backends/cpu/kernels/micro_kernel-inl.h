// The register-blocked product at the bottom of gemm.cpp and attention.cpp,
// compiled once for each SIMD target: C[rows, kVecs * lanes] (+)= A[rows, k] *
// B[k, kVecs * lanes].
//
// A is a copied block whose row pitch is the compile-time constant kPitch, so
// that all rows are reached from one pointer with constant offsets (12 rows
// with a run-time pitch would need more address registers than x86 has). B is
// read one row of kVecs vectors a step: a packed panel (ldb = panel width) or
// the rows of an unpacked matrix. Per-target header: included by a file that
// uses hwy/foreach_target.h.
#if defined(KILN_MICRO_KERNEL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KILN_MICRO_KERNEL_INL_H_
#undef KILN_MICRO_KERNEL_INL_H_
#else
#define KILN_MICRO_KERNEL_INL_H_
#endif

#include <cstdint>

#include "backends/cpu/kernels/block_sizes.h"
#include "backends/cpu/kernels/half-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace kiln::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Two vectors a row: 12 rows fill 24 of 32 registers, 6 rows 12 of 16.
#if HWY_CAP_GE512
inline constexpr int kMicroRows = 12;
#else
inline constexpr int kMicroRows = 6;
#endif
static_assert(kRowBlock % kMicroRows == 0);

template <class T>
inline constexpr int64_t kLanes = hn::MaxLanes(hn::ScalableTag<T>());
template <class T>
inline constexpr int64_t kPanel = 2 * kLanes<T>;  // columns of a full panel of B

#define KILN_EACH_ROW(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)

// `bias` (kVecs vectors, may be null) is added at the end; C is read only if
// `accumulate`. B may have 16-bit elements where T is float.
template <class T, int kRows, int kVecs, class B>
HWY_NOINLINE void micro_fixed(const T* HWY_RESTRICT a, const B* HWY_RESTRICT b, int64_t ldb,
                              int64_t k, T* HWY_RESTRICT c, int64_t ldc, bool accumulate,
                              const T* HWY_RESTRICT bias) {
  const hn::ScalableTag<T> d;
  using V = hn::Vec<decltype(d)>;
  constexpr int64_t kN = kLanes<T>;
  // Named variables, not arrays: GCC 12 keeps them in registers at -O2.
#define KILN_DECLARE(i) \
  V x##i = hn::Zero(d); \
  [[maybe_unused]] V y##i = x##i;
  KILN_EACH_ROW(KILN_DECLARE)
#undef KILN_DECLARE
  for (int64_t p = 0; p < k; ++p, b += ldb, ++a) {
    const V b0 = load_as(d, b);
    V b1 = b0;
    if constexpr (kVecs == 2) b1 = load_as(d, b + kN);
#define KILN_STEP(i)                                          \
  if constexpr (kRows > i) {                                  \
    const V s = hn::Set(d, a[i * kPitch]);                    \
    x##i = hn::MulAdd(s, b0, x##i);                           \
    if constexpr (kVecs == 2) y##i = hn::MulAdd(s, b1, y##i); \
  }
    KILN_EACH_ROW(KILN_STEP)
#undef KILN_STEP
  }
  if (accumulate) {
#define KILN_ADD(i)                                                                 \
  if constexpr (kRows > i) {                                                        \
    x##i = hn::Add(x##i, hn::LoadU(d, c + i * ldc));                                \
    if constexpr (kVecs == 2) y##i = hn::Add(y##i, hn::LoadU(d, c + i * ldc + kN)); \
  }
    KILN_EACH_ROW(KILN_ADD)
#undef KILN_ADD
  }
  if (bias != nullptr) {
    const V b0 = hn::LoadU(d, bias);
    V b1 = b0;
    if constexpr (kVecs == 2) b1 = hn::LoadU(d, bias + kN);
#define KILN_BIAS(i)                                    \
  if constexpr (kRows > i) {                            \
    x##i = hn::Add(x##i, b0);                           \
    if constexpr (kVecs == 2) y##i = hn::Add(y##i, b1); \
  }
    KILN_EACH_ROW(KILN_BIAS)
#undef KILN_BIAS
  }
#define KILN_STORE(i)                                                \
  if constexpr (kRows > i) {                                         \
    hn::StoreU(x##i, d, c + i * ldc);                                \
    if constexpr (kVecs == 2) hn::StoreU(y##i, d, c + i * ldc + kN); \
  }
  KILN_EACH_ROW(KILN_STORE)
#undef KILN_STORE
}
#undef KILN_EACH_ROW

template <class T, int kVecs, int kRows = kMicroRows, class B>
HWY_INLINE void micro_rows(int64_t rows, const T* a, const B* b, int64_t ldb, int64_t k, T* c,
                           int64_t ldc, bool accumulate, const T* bias) {
  if constexpr (kRows > 0) {
    if (rows == kRows) {
      micro_fixed<T, kRows, kVecs>(a, b, ldb, k, c, ldc, accumulate, bias);
    } else {
      micro_rows<T, kVecs, kRows - 1>(rows, a, b, ldb, k, c, ldc, accumulate, bias);
    }
  }
}

// Any number of rows, one or two vectors wide.
template <class T, class B>
HWY_INLINE void micro_block(int64_t rows, int64_t vecs, const T* a, const B* b, int64_t ldb,
                            int64_t k, T* c, int64_t ldc, bool accumulate, const T* bias) {
  for (int64_t i = 0; i < rows; i += kMicroRows) {
    const int64_t n = rows - i < kMicroRows ? rows - i : kMicroRows;
    if (vecs == 2) {
      micro_rows<T, 2>(n, a + i * kPitch, b, ldb, k, c + i * ldc, ldc, accumulate, bias);
    } else {
      micro_rows<T, 1>(n, a + i * kPitch, b, ldb, k, c + i * ldc, ldc, accumulate, bias);
    }
  }
}

// Columns of the panel that starts at column j of n: full, or one vector when
// that is enough.
template <class T>
HWY_INLINE int64_t panel_width(int64_t n, int64_t j) {
  return n - j <= kLanes<T> ? kLanes<T> : kPanel<T>;
}

// panel[p * width + j] = src[p * row_stride + j * col_stride] for p < k, j <
// cols; zero up to width.
template <class T, class S>
HWY_INLINE void pack_panel(const S* src, int64_t row_stride, int64_t col_stride, int64_t k,
                           int64_t cols, int64_t width, T* HWY_RESTRICT panel) {
  const hn::ScalableTag<T> d;
  if constexpr (kLoadsAs<T, S>) {
    if (col_stride == 1 && cols == width) {
      for (int64_t p = 0; p < k; ++p) {
        for (int64_t j = 0; j < width; j += kLanes<T>) {
          hn::StoreU(load_as(d, src + p * row_stride + j), d, panel + p * width + j);
        }
      }
      return;
    }
    if constexpr (sizeof(T) == 4 && HWY_TARGET != HWY_SCALAR) {
      if (row_stride == 1 && cols == width) {  // transpose 4 x 4 at a time
        const hn::Full128<T> q;
        int64_t p = 0;
        for (; p + 4 <= k; p += 4) {
          for (int64_t j = 0; j < width; j += 4) {
            const S* s = src + p + j * col_stride;
            const auto r0 = load_as(q, s);
            const auto r1 = load_as(q, s + col_stride);
            const auto r2 = load_as(q, s + 2 * col_stride);
            const auto r3 = load_as(q, s + 3 * col_stride);
            const auto a02 = hn::InterleaveLower(q, r0, r2);  // r0[0] r2[0] r0[1] r2[1]
            const auto a13 = hn::InterleaveLower(q, r1, r3);
            const auto b02 = hn::InterleaveUpper(q, r0, r2);
            const auto b13 = hn::InterleaveUpper(q, r1, r3);
            T* to = panel + p * width + j;
            hn::StoreU(hn::InterleaveLower(q, a02, a13), q, to);
            hn::StoreU(hn::InterleaveUpper(q, a02, a13), q, to + width);
            hn::StoreU(hn::InterleaveLower(q, b02, b13), q, to + 2 * width);
            hn::StoreU(hn::InterleaveUpper(q, b02, b13), q, to + 3 * width);
          }
        }
        for (; p < k; ++p) {
          for (int64_t j = 0; j < width; ++j) panel[p * width + j] = src[p + j * col_stride];
        }
        return;
      }
    }
  }
  if (row_stride == 1) {  // walk the source in memory order
    for (int64_t j = 0; j < cols; ++j) {
      for (int64_t p = 0; p < k; ++p)
        panel[p * width + j] = static_cast<T>(src[p + j * col_stride]);
    }
    for (int64_t p = 0; p < k; ++p) {
      for (int64_t j = cols; j < width; ++j) panel[p * width + j] = T(0);
    }
    return;
  }
  for (int64_t p = 0; p < k; ++p) {
    const S* s = src + p * row_stride;
    T* to = panel + p * width;
    for (int64_t j = 0; j < cols; ++j) to[j] = static_cast<T>(s[j * col_stride]);
    for (int64_t j = cols; j < width; ++j) to[j] = T(0);
  }
}

// dst[i * kPitch + p] = src[i * row_stride + p * col_stride] * scale, i < rows,
// p < k <= kDepthBlock.
template <class T, class S>
HWY_INLINE void copy_rows(const S* src, int64_t row_stride, int64_t col_stride, int64_t rows,
                          int64_t k, T scale, T* HWY_RESTRICT dst) {
  const hn::ScalableTag<T> d;
  for (int64_t i = 0; i < rows; ++i) {
    const S* s = src + i * row_stride;
    T* to = dst + i * kPitch;
    int64_t p = 0;
    if constexpr (kLoadsAs<T, S>) {
      if (col_stride == 1) {
        const auto factor = hn::Set(d, scale);
        for (; p + kLanes<T> <= k; p += kLanes<T>) {
          hn::StoreU(hn::Mul(load_as(d, s + p), factor), d, to + p);
        }
      }
    }
    for (; p < k; ++p) to[p] = static_cast<T>(s[p * col_stride]) * scale;
  }
}

// c[r * ldc + j] = a[r, :] . b[j, :] for rows of contiguous elements, r < rows, j < n: reads B
// once.
template <class T, class B>
HWY_INLINE void dot_rows(const T* a, int64_t lda, int64_t rows, const B* b, int64_t ldb, int64_t n,
                         int64_t k, T* c, int64_t ldc) {
  const hn::ScalableTag<T> d;
  constexpr int64_t kN = kLanes<T>;
  for (int64_t j = 0; j < n; j += 4) {
    const B* b0 = b + j * ldb;  // the last row may be read more than once
    const B* b1 = b + (j + 1 < n ? j + 1 : n - 1) * ldb;
    const B* b2 = b + (j + 2 < n ? j + 2 : n - 1) * ldb;
    const B* b3 = b + (j + 3 < n ? j + 3 : n - 1) * ldb;
    for (int64_t r = 0; r < rows; ++r) {
      const T* row = a + r * lda;
      auto s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0;
      int64_t p = 0;
      for (; p + kN <= k; p += kN) {
        const auto v = hn::LoadU(d, row + p);
        s0 = hn::MulAdd(v, load_as(d, b0 + p), s0);
        s1 = hn::MulAdd(v, load_as(d, b1 + p), s1);
        s2 = hn::MulAdd(v, load_as(d, b2 + p), s2);
        s3 = hn::MulAdd(v, load_as(d, b3 + p), s3);
      }
      T sums[4] = {hn::GetLane(hn::SumOfLanes(d, s0)), hn::GetLane(hn::SumOfLanes(d, s1)),
                   hn::GetLane(hn::SumOfLanes(d, s2)), hn::GetLane(hn::SumOfLanes(d, s3))};
      for (; p < k; ++p) {
        sums[0] += row[p] * b0[p];
        sums[1] += row[p] * b1[p];
        sums[2] += row[p] * b2[p];
        sums[3] += row[p] * b3[p];
      }
      for (int64_t t = 0; t < 4 && j + t < n; ++t) c[r * ldc + j + t] = sums[t];
    }
  }
}

}  // namespace kiln::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // KILN_MICRO_KERNEL_INL_H_

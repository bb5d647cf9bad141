// C[m, n] = A[m, k] * B[k, n] (+ bias[n]), batched, any strides, f32 and f64.
//
// Blocked and packed as in Goto and van de Geijn, "Anatomy of High-Performance Matrix
// Multiplication" (2008). Few rows of A take other ways: B is then read once and in memory order,
// so that the speed is that of memory. Weights can be packed once (pack_weights) and used for any
// m.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "backends/cpu/kernels/dims.h"
#include "base/function_ref.h"
#include "base/status.h"
#include "core/dtype.h"

namespace kiln::cpu {

struct GemmParams {
  DType dtype = DType::kF32;  // kF32 or kF64, of everything
  int64_t m = 0, n = 0, k = 0;
  std::array<int64_t, 2> a_strides{}, b_strides{}, c_strides{};  // [row, column], in elements
  int batch_rank = 0;
  Dims batch_sizes{}, a_batch_strides{}, b_batch_strides{}, c_batch_strides{};  // 0 broadcasts A, B
  bool has_bias = false;  // n contiguous values, the same for every batch
  bool packed_b = false;  // B is what pack_weights made: no batch strides, b_strides unused

  Status validate() const;  // K4322
};

// Called for pieces of C as soon as they are final, on the thread that made them, while they are in
// its cache: rows [m0, m1) and columns [n0, n1) of product `batch` (row-major index over the batch
// dims). Every element of C is in exactly one piece.
using GemmEpilogue =
    FunctionRef<void(int64_t batch, int64_t m0, int64_t m1, int64_t n0, int64_t n1)>;

// One matrix product made ready for a number of threads (>= 1); small, trivially copyable, to be
// kept for a shape. Requires params.validate().ok(). The result depends on k alone in how sums are
// split, so it is the same for all thread counts.
class GemmPlan {
 public:
  GemmPlan() = default;
  GemmPlan(const GemmParams& params, int threads);

  size_t scratch_bytes() const;
  // `scratch` is 64-byte aligned. C must not overlap A, B or bias. `bias` may be null without
  // has_bias.
  void run(const void* a, const void* b, const void* bias, void* c, void* scratch) const;
  void run(const void* a, const void* b, const void* bias, void* c, void* scratch,
           GemmEpilogue epilogue) const;

  // Private to gemm.cpp, whose code for each SIMD target is not a member:
  enum class Kind : uint8_t {
    kEmpty,
    kBlocks,  // A block copied, B packed (or packed already)
    kRows,    // few rows, rows of B contiguous: c += a[p] * B[p, :]
    kDots     // few rows, columns of B contiguous: dot products
  };
  GemmParams params;
  bool swapped = false;  // params are those of the transposed product: B^T * A^T = C^T
  Kind kind = Kind::kEmpty;
  int64_t parts = 1, batch = 1;
  int64_t row_units = 1, column_units = 1;  // pieces of one product
  int64_t unit_rows = 0, unit_columns = 0;  // their sizes, but for the last
  void run_kind(const void* a, const void* b, const void* bias, void* c, void* scratch,
                const GemmEpilogue* epilogue) const;
  int64_t a_offset = 0, tile_offset = 0, b_offset = 0, part_size = 0;  // scratch, in elements
};

// Weights [k, n] with strides [row, column] in the order in which the kernel reads them. That order
// depends on the machine: pack at load, do not save.
size_t packed_weights_bytes(DType dtype, int64_t k, int64_t n);
void pack_weights(DType dtype, int64_t k, int64_t n, std::array<int64_t, 2> strides, const void* b,
                  void* packed);

}  // namespace kiln::cpu

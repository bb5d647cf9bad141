#include "backends/cpu/kernels/gemm.h"

// Kernels for each SIMD target: this file is compiled again for each by foreach_target.h.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backends/cpu/kernels/gemm.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// Target headers come after it.
#include <algorithm>
#include <string>
#include <utility>

#include "backends/cpu/kernels/micro_kernel-inl.h"
#include "backends/cpu/kernels/parallel_units.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace kiln::cpu::HWY_NAMESPACE {
namespace {

// One product of a batch, cut down to rows [m0, m1) and columns [n0, n1).
template <class T>
struct Piece {
  const T* a;
  const T* b;
  const T* bias;
  T* c;
  int64_t m0, m1, n0, n1;
  int64_t batch;
  const GemmEpilogue* epilogue;

  void finish(const GemmPlan& plan, int64_t i0, int64_t i1, int64_t j0, int64_t j1) const {
    if (epilogue == nullptr) return;
    if (plan.swapped) {
      (*epilogue)(batch, j0, j1, i0, i1);
    } else {
      (*epilogue)(batch, i0, i1, j0, j1);
    }
  }
};

// C tile = A block * B panel for a panel that does not fit C: by way of a contiguous tile.
template <class T>
HWY_NOINLINE void edge_tile(const GemmPlan& plan, const Piece<T>& piece, int64_t i0, int64_t rows,
                            int64_t j0, int64_t columns, int64_t vecs, const T* a, const T* b,
                            int64_t ldb, int64_t k, bool accumulate, const T* bias, T* tile) {
  const auto [row, column] = plan.params.c_strides;
  T* c = piece.c + i0 * row + j0 * column;
  if (accumulate) {
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < columns; ++j) tile[i * kMaxPanel + j] = c[i * row + j * column];
    }
  }
  T padded_bias[kMaxPanel] = {};
  if (bias != nullptr) std::copy_n(bias, columns, padded_bias);
  micro_block(rows, vecs, a, b, ldb, k, tile, kMaxPanel, accumulate,
              bias == nullptr ? nullptr : padded_bias);
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) c[i * row + j * column] = tile[i * kMaxPanel + j];
  }
}

template <class T>
HWY_NOINLINE void run_blocks(const GemmPlan& plan, const Piece<T>& piece, T* scratch) {
  const GemmParams& p = plan.params;
  T* a_block = scratch + plan.a_offset;
  T* tile = scratch + plan.tile_offset;
  T* b_block = scratch + plan.b_offset;
  for (int64_t n0 = piece.n0; n0 < piece.n1; n0 += kColumnBlock) {
    const int64_t n1 = std::min(n0 + kColumnBlock, piece.n1);
    for (int64_t k0 = 0; k0 == 0 || k0 < p.k; k0 += kDepthBlock) {
      const int64_t kc = std::min(kDepthBlock, p.k - k0);
      const T* bias = p.has_bias && k0 + kc == p.k ? piece.bias : nullptr;
      if (!p.packed_b) {
        for (int64_t j = n0; j < n1; j += kPanel<T>) {
          const int64_t columns = std::min(kPanel<T>, n1 - j);
          pack_panel(piece.b + k0 * p.b_strides[0] + j * p.b_strides[1], p.b_strides[0],
                     p.b_strides[1], kc, columns, panel_width<T>(p.n, j), b_block + (j - n0) * kc);
        }
      }
      for (int64_t i0 = piece.m0; i0 < piece.m1; i0 += kRowBlock) {
        const int64_t rows = std::min(kRowBlock, piece.m1 - i0);
        copy_rows(piece.a + i0 * p.a_strides[0] + k0 * p.a_strides[1], p.a_strides[0],
                  p.a_strides[1], rows, kc, T(1), a_block);
        for (int64_t j = n0; j < n1; j += kPanel<T>) {
          const int64_t width = panel_width<T>(p.n, j);
          const int64_t columns = std::min(width, n1 - j);
          const T* b = p.packed_b ? piece.b + j * p.k + k0 * width : b_block + (j - n0) * kc;
          const T* panel_bias = bias == nullptr ? nullptr : bias + j;
          if (columns == width && p.c_strides[1] == 1) {
            micro_block(rows, width / kLanes<T>, a_block, b, width, kc,
                        piece.c + i0 * p.c_strides[0] + j, p.c_strides[0], k0 > 0, panel_bias);
          } else {
            edge_tile(plan, piece, i0, rows, j, columns, width / kLanes<T>, a_block, b, width, kc,
                      k0 > 0, panel_bias, tile);
          }
        }
        if (k0 + kc == p.k) piece.finish(plan, i0, i0 + rows, n0, n1);
      }
    }
  }
}

// sums[r, j] += sum over 4 rows of B of a[r, p] * B[p, j], for n columns.
template <class T, int kRows>
HWY_INLINE void add_rows(const T* const* b, const T (*a)[4], int64_t n, T* sums) {
  const hn::ScalableTag<T> d;
  constexpr int64_t kN = kLanes<T>;
  int64_t j = 0;
  for (; j + kN <= n; j += kN) {
    const auto b0 = hn::LoadU(d, b[0] + j), b1 = hn::LoadU(d, b[1] + j);
    const auto b2 = hn::LoadU(d, b[2] + j), b3 = hn::LoadU(d, b[3] + j);
    for (int r = 0; r < kRows; ++r) {
      T* to = sums + r * kRowsColumns + j;
      auto sum = hn::LoadU(d, to);
      sum = hn::MulAdd(hn::Set(d, a[r][0]), b0, sum);
      sum = hn::MulAdd(hn::Set(d, a[r][1]), b1, sum);
      sum = hn::MulAdd(hn::Set(d, a[r][2]), b2, sum);
      sum = hn::MulAdd(hn::Set(d, a[r][3]), b3, sum);
      hn::StoreU(sum, d, to);
    }
  }
  for (; j < n; ++j) {
    for (int r = 0; r < kRows; ++r) {
      for (int t = 0; t < 4; ++t) sums[r * kRowsColumns + j] += a[r][t] * b[t][j];
    }
  }
}

template <class T>
HWY_NOINLINE void run_rows(const GemmPlan& plan, const Piece<T>& piece, T* scratch) {
  const GemmParams& p = plan.params;
  T* sums = scratch + plan.tile_offset;
  for (int64_t n0 = piece.n0; n0 < piece.n1; n0 += kRowsColumns) {
    const int64_t n = std::min(kRowsColumns, piece.n1 - n0);
    for (int64_t i = 0; i < p.m; ++i) {
      for (int64_t j = 0; j < n; ++j) {
        sums[i * kRowsColumns + j] = p.has_bias ? piece.bias[n0 + j] : T(0);
      }
    }
    for (int64_t q = 0; q < p.k; q += 4) {
      const T* b[4];
      T a[kFewRows][4];
      for (int64_t t = 0; t < 4; ++t) {
        const int64_t row = std::min(q + t, p.k - 1);  // beyond the end: any row, times zero
        b[t] = piece.b + row * p.b_strides[0] + n0;
        for (int64_t i = 0; i < p.m; ++i) {
          a[i][t] = q + t < p.k ? piece.a[i * p.a_strides[0] + (q + t) * p.a_strides[1]] : T(0);
        }
      }
      if (q + 4 > p.k) {
        // Zero times infinity is NaN, so the missing rows cannot be the last row of B.
        for (int64_t t = p.k - q; t < 4; ++t) b[t] = scratch + plan.b_offset;
      }
      switch (p.m) {
        case 1: add_rows<T, 1>(b, a, n, sums); break;
        case 2: add_rows<T, 2>(b, a, n, sums); break;
        case 3: add_rows<T, 3>(b, a, n, sums); break;
        default: add_rows<T, 4>(b, a, n, sums);
      }
    }
    for (int64_t i = 0; i < p.m; ++i) {
      T* c = piece.c + i * p.c_strides[0] + n0 * p.c_strides[1];
      for (int64_t j = 0; j < n; ++j) c[j * p.c_strides[1]] = sums[i * kRowsColumns + j];
    }
    piece.finish(plan, 0, p.m, n0, n0 + n);
  }
}

template <class T>
HWY_NOINLINE void run_dots(const GemmPlan& plan, const Piece<T>& piece, T* scratch) {
  const GemmParams& p = plan.params;
  T* sums = scratch + plan.tile_offset;
  constexpr int64_t kColumns = 64;
  for (int64_t n0 = piece.n0; n0 < piece.n1; n0 += kColumns) {
    const int64_t n = std::min(kColumns, piece.n1 - n0);
    dot_rows(piece.a, p.a_strides[0], p.m, piece.b + n0 * p.b_strides[1], p.b_strides[1], n, p.k,
             sums, kColumns);
    for (int64_t i = 0; i < p.m; ++i) {
      T* c = piece.c + i * p.c_strides[0] + n0 * p.c_strides[1];
      for (int64_t j = 0; j < n; ++j) {
        c[j * p.c_strides[1]] = sums[i * kColumns + j] + (p.has_bias ? piece.bias[n0 + j] : T(0));
      }
    }
    piece.finish(plan, 0, p.m, n0, n0 + n);
  }
}

template <class T>
void run(const GemmPlan& plan, const T* a, const T* b, const T* bias, T* c, T* scratch,
         const GemmEpilogue* epilogue) {
  const GemmParams& p = plan.params;
  const int64_t pieces = plan.row_units * plan.column_units;
  parallel_units(plan.batch * pieces, plan.parts, [&](int64_t unit, int64_t part) {
    const OffsetWalk<3> walk(p.batch_rank, p.batch_sizes,
                             {&p.a_batch_strides, &p.b_batch_strides, &p.c_batch_strides},
                             unit / pieces);
    const int64_t m0 = unit % pieces / plan.column_units * plan.unit_rows;
    const int64_t n0 = unit % plan.column_units * plan.unit_columns;
    const Piece<T> piece{a + walk.offset(0),
                         p.packed_b ? b : b + walk.offset(1),
                         bias,
                         c + walk.offset(2),
                         m0,
                         std::min(p.m, m0 + plan.unit_rows),
                         n0,
                         std::min(p.n, n0 + plan.unit_columns),
                         unit / pieces,
                         epilogue};
    T* own = scratch + part * plan.part_size;
    switch (plan.kind) {
      case GemmPlan::Kind::kEmpty: break;
      case GemmPlan::Kind::kBlocks: run_blocks(plan, piece, own); break;
      case GemmPlan::Kind::kRows:
        std::fill_n(own + plan.b_offset, kRowsColumns, T(0));
        run_rows(plan, piece, own);
        break;
      case GemmPlan::Kind::kDots: run_dots(plan, piece, own); break;
    }
  });
}

template <class T>
void pack(int64_t k, int64_t n, std::array<int64_t, 2> strides, const T* b, T* packed) {
  const int64_t panels = ceil_div(n, kPanel<T>);
  parallel_for(panels, std::max<int64_t>(1, 8192 / std::max<int64_t>(1, k * kPanel<T>)),
               [&](int64_t begin, int64_t end) {
                 for (int64_t panel = begin; panel < end; ++panel) {
                   const int64_t j = panel * kPanel<T>;
                   const int64_t width = panel_width<T>(n, j);
                   pack_panel(b + j * strides[1], strides[0], strides[1], k, std::min(width, n - j),
                              width, packed + j * k);
                 }
               });
}

}  // namespace

void gemm_f32(const GemmPlan& plan, const float* a, const float* b, const float* bias, float* c,
              float* scratch, const GemmEpilogue* epilogue) {
  run(plan, a, b, bias, c, scratch, epilogue);
}
void gemm_f64(const GemmPlan& plan, const double* a, const double* b, const double* bias, double* c,
              double* scratch, const GemmEpilogue* epilogue) {
  run(plan, a, b, bias, c, scratch, epilogue);
}
void pack_f32(int64_t k, int64_t n, std::array<int64_t, 2> strides, const float* b, float* packed) {
  pack(k, n, strides, b, packed);
}
void pack_f64(int64_t k, int64_t n, std::array<int64_t, 2> strides, const double* b,
              double* packed) {
  pack(k, n, strides, b, packed);
}

}  // namespace kiln::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kiln::cpu {

HWY_EXPORT(gemm_f32);
HWY_EXPORT(gemm_f64);
HWY_EXPORT(pack_f32);
HWY_EXPORT(pack_f64);

namespace {

// Cost of a cut into row_units x column_units on all parts, in units of one multiply-add of a row
// of C. Copying A and packing B cost about as much as 8 and 16 multiply-adds of a vector an
// element.
double cut_cost(const GemmPlan& plan, int64_t rows, int64_t columns, int64_t units) {
  const double rounds = static_cast<double>(ceil_div(plan.batch * units, plan.parts));
  const double r = static_cast<double>(rows), c = static_cast<double>(columns);
  const double packing = plan.params.packed_b ? 0.0 : 16.0 * c;
  return rounds *
         (r * c + 8.0 * r * static_cast<double>(ceil_div(columns, kColumnBlock)) + packing);
}

void choose_units(GemmPlan& plan) {
  const GemmParams& p = plan.params;
  const int64_t most = plan.parts == 1 ? 1 : 4 * plan.parts;
  double best = -1.0;
  for (int64_t r = 1; r <= most; r += r < 4 ? 1 : r / 4) {
    const int64_t rows = round_up(ceil_div(p.m, r), 12);
    const int64_t row_units = ceil_div(p.m, rows);
    for (int64_t c = 1; r * c <= most; c += c < 4 ? 1 : c / 4) {
      const int64_t columns = round_up(ceil_div(p.n, c), kMaxPanel);
      const int64_t column_units = ceil_div(p.n, columns);
      const double cost = cut_cost(plan, rows, columns, row_units * column_units);
      if (best >= 0.0 && cost >= best) continue;
      best = cost;
      plan.row_units = row_units, plan.unit_rows = rows;
      plan.column_units = column_units, plan.unit_columns = columns;
    }
  }
}

}  // namespace

Status GemmParams::validate() const {
  if (dtype != DType::kF32 && dtype != DType::kF64) {
    return Status::error(
        "K4322", "matrix product: no kernel for this dtype, got " + std::string(dtype_name(dtype)));
  }
  for (int64_t size : {m, n, k}) {
    if (size < 0) {
      return Status::error("K4322",
                           "matrix product: a size is negative, got " + std::to_string(size));
    }
  }
  if (batch_rank < 0 || batch_rank > kMaxRank) {
    return Status::error("K4322",
                         "matrix product: too many batch dims, got " + std::to_string(batch_rank));
  }
  return Status();
}

GemmPlan::GemmPlan(const GemmParams& gemm_params, int threads) : params(gemm_params) {
  GemmParams& p = params;
  parts = std::max(threads, 1);
  batch = element_count(p.batch_rank, p.batch_sizes);
  if (batch == 0 || p.m == 0 || p.n == 0) return;
  if (p.c_strides[1] != 1 && p.c_strides[0] == 1 && !p.has_bias && !p.packed_b) {
    swapped = true;  // then whole vectors can be stored
    std::swap(p.m, p.n);
    std::swap(p.a_strides, p.b_strides);
    std::swap(p.a_batch_strides, p.b_batch_strides);
    for (auto* strides : {&p.a_strides, &p.b_strides, &p.c_strides}) {
      std::swap((*strides)[0], (*strides)[1]);
    }
  }

  const bool few = p.m <= kFewRows && !p.packed_b;
  if (few && p.b_strides[0] == 1 && p.a_strides[1] == 1 && p.k >= 16) {
    kind = Kind::kDots;
  } else if (few && p.b_strides[1] == 1) {
    kind = Kind::kRows;
  } else {
    kind = Kind::kBlocks;
  }
  int64_t own = 0;
  auto take = [&own](int64_t size) {
    const int64_t offset = own;
    own += round_up(size, 16);
    return offset;
  };
  if (kind == Kind::kBlocks) {
    choose_units(*this);
    a_offset = take(kRowBlock * kPitch);
    tile_offset = take(kRowBlock * kMaxPanel);
    if (!p.packed_b) {
      b_offset = take(std::min(kDepthBlock, p.k) *
                      round_up(std::min(unit_columns, kColumnBlock), kMaxPanel));
    }
  } else {
    unit_rows = p.m;
    const int64_t pieces = parts == 1 ? 1 : std::max<int64_t>(1, 2 * parts / batch);
    // At least a few thousand elements of B for each piece.
    const int64_t smallest = std::max<int64_t>(kMaxPanel, 8192 / std::max<int64_t>(1, p.k));
    unit_columns =
        std::max(round_up(ceil_div(p.n, pieces), kMaxPanel), round_up(smallest, kMaxPanel));
    column_units = ceil_div(p.n, unit_columns);
    tile_offset = take(kFewRows * kRowsColumns);
    b_offset = take(kRowsColumns);
  }
  part_size = round_up(own, 64);
}

size_t GemmPlan::scratch_bytes() const {
  return static_cast<size_t>(parts * part_size) * dtype_bytes(params.dtype);
}

void GemmPlan::run(const void* a, const void* b, const void* bias, void* c, void* scratch) const {
  run_kind(a, b, bias, c, scratch, nullptr);
}

void GemmPlan::run(const void* a, const void* b, const void* bias, void* c, void* scratch,
                   GemmEpilogue epilogue) const {
  run_kind(a, b, bias, c, scratch, &epilogue);
}

void GemmPlan::run_kind(const void* a, const void* b, const void* bias, void* c, void* scratch,
                        const GemmEpilogue* epilogue) const {
  if (kind == Kind::kEmpty) return;
  if (swapped) std::swap(a, b);
  if (params.dtype == DType::kF64) {
    HWY_DYNAMIC_DISPATCH(gemm_f64)
    (*this, static_cast<const double*>(a), static_cast<const double*>(b),
     static_cast<const double*>(bias), static_cast<double*>(c), static_cast<double*>(scratch),
     epilogue);
  } else {
    HWY_DYNAMIC_DISPATCH(gemm_f32)
    (*this, static_cast<const float*>(a), static_cast<const float*>(b),
     static_cast<const float*>(bias), static_cast<float*>(c), static_cast<float*>(scratch),
     epilogue);
  }
}

size_t packed_weights_bytes(DType dtype, int64_t k, int64_t n) {
  return static_cast<size_t>(k * round_up(n, kMaxPanel)) * dtype_bytes(dtype);
}

void pack_weights(DType dtype, int64_t k, int64_t n, std::array<int64_t, 2> strides, const void* b,
                  void* packed) {
  if (dtype == DType::kF64) {
    HWY_DYNAMIC_DISPATCH(pack_f64)
    (k, n, strides, static_cast<const double*>(b), static_cast<double*>(packed));
  } else {
    HWY_DYNAMIC_DISPATCH(pack_f32)
    (k, n, strides, static_cast<const float*>(b), static_cast<float*>(packed));
  }
}

}  // namespace kiln::cpu
#endif  // HWY_ONCE

#include "backends/cpu/kernels/attention.h"

// Kernels for each SIMD target: this file is compiled again for each by
// foreach_target.h.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backends/cpu/kernels/attention.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// Target headers come after it.
#include "backends/cpu/kernels/attention_plan.h"
#include "backends/cpu/kernels/exp-inl.h"
#include "backends/cpu/kernels/micro_kernel-inl.h"

#include <algorithm>
#include <limits>

#include "backends/cpu/kernels/parallel_units.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace kiln::cpu::HWY_NAMESPACE {
namespace {

// The mask of one row over one block of keys as a contiguous additive row, or
// null.
template <class T>
class MaskRow {
 public:
  MaskRow(const AttentionParams& p, const void* mask, int64_t b, int64_t h, T* buffer)
      : p_(p), mask_(mask), buffer_(buffer) {
    base_ = b * p.mask_strides[0] + h * p.mask_strides[1];
  }

  const T* get(int64_t i, int64_t j0, int64_t n) {
    if (p_.mask == AttentionMask::kNone) return nullptr;
    const int64_t offset = base_ + i * p_.mask_strides[2] + j0 * p_.mask_strides[3];
    const int64_t stride = p_.mask_strides[3];
    if (p_.mask == AttentionMask::kAdditive && stride == 1 && p_.mask_dtype == kOwn) {
      return static_cast<const T*>(mask_) + offset;
    }
    if (offset == last_offset_ && n <= last_n_) return buffer_;  // all rows may share one mask row
    if (p_.mask == AttentionMask::kAdditive) {
      switch (p_.mask_dtype) {
        case DType::kF16: convert(static_cast<const F16*>(mask_) + offset, stride, n); break;
        case DType::kBF16: convert(static_cast<const BF16*>(mask_) + offset, stride, n); break;
        default: convert(static_cast<const T*>(mask_) + offset, stride, n); break;
      }
    } else {
      const uint8_t* from = static_cast<const uint8_t*>(mask_) + offset;
      const T off = -std::numeric_limits<T>::infinity();
      for (int64_t j = 0; j < n; ++j) buffer_[j] = from[j * stride] != 0 ? T(0) : off;
    }
    last_offset_ = offset;
    last_n_ = n;
    return buffer_;
  }

 private:
  static constexpr DType kOwn = sizeof(T) == 4 ? DType::kF32 : DType::kF64;

  template <class S>
  void convert(const S* from, int64_t stride, int64_t n) {
    int64_t j = 0;
    if constexpr (kLoadsAs<T, S>) {
      const hn::ScalableTag<T> d;
      for (; stride == 1 && j + kLanes<T> <= n; j += kLanes<T>) {
        hn::StoreU(load_as(d, from + j), d, buffer_ + j);
      }
    }
    for (; j < n; ++j) buffer_[j] = static_cast<T>(from[j * stride]);
  }

  const AttentionParams& p_;
  const void* mask_;
  T* buffer_;
  int64_t base_;
  int64_t last_offset_ = std::numeric_limits<int64_t>::min(), last_n_ = 0;
};

// Turns scores s[0, n) into weights exp(s - max), zero from `valid` on, and
// updates the running maximum and sum. Answers the factor by which what was
// summed before must be multiplied. s has room for one vector beyond n.
template <class T>
HWY_INLINE T softmax_block(T* HWY_RESTRICT s, const T* mask, int64_t valid, int64_t n,
                           T& running_max, T& running_sum) {
  const hn::ScalableTag<T> d;
  constexpr int64_t kN = kLanes<T>;
  constexpr T kNegInf = -std::numeric_limits<T>::infinity();
  auto vmax = hn::Set(d, running_max);
  int64_t j = 0;
  if (mask != nullptr) {
    for (; j + kN <= valid; j += kN) {
      const auto v = hn::Add(hn::LoadU(d, s + j), hn::LoadU(d, mask + j));
      hn::StoreU(v, d, s + j);
      vmax = hn::Max(vmax, v);
    }
    for (int64_t t = j; t < valid; ++t) s[t] += mask[t];
  } else {
    for (; j + kN <= valid; j += kN) vmax = hn::Max(vmax, hn::LoadU(d, s + j));
  }
  const int64_t padded = round_up(valid, kN);
  for (int64_t t = valid; t < padded; ++t) s[t] = kNegInf;
  if (j < valid) vmax = hn::Max(vmax, hn::LoadU(d, s + j));
  const T new_max = hn::GetLane(hn::MaxOfLanes(d, vmax));
  // -inf - -inf is NaN: while everything is masked, measure from 0 (every
  // weight is then 0).
  const T shift = new_max == kNegInf ? T(0) : new_max;
  const auto vshift = hn::Set(d, shift);
  auto vsum = hn::Zero(d);
  for (j = 0; j < padded; j += kN) {
    const auto w = exp_nonpositive(d, hn::Sub(hn::LoadU(d, s + j), vshift));
    vsum = hn::Add(vsum, w);
    hn::StoreU(w, d, s + j);
  }
  for (j = padded; j < n; ++j) s[j] = T(0);
  const T factor = running_max == kNegInf ? T(0) : std::exp(running_max - shift);
  running_sum = running_sum * factor + hn::GetLane(hn::SumOfLanes(d, vsum));
  running_max = new_max;
  return factor;
}

template <class T>
HWY_INLINE void scale_row(T* row, int64_t n,
                          T factor) {  // n is a multiple of the vector
  const hn::ScalableTag<T> d;
  const auto f = hn::Set(d, factor);
  for (int64_t j = 0; j < n; j += kLanes<T>)
    hn::StoreU(hn::Mul(hn::LoadU(d, row + j), f), d, row + j);
}

template <class T, class S>
HWY_INLINE void write_row(const T* row, int64_t n, T factor, S* out, int64_t stride) {
  const hn::ScalableTag<T> d;
  int64_t j = 0;
  if (stride == 1) {
    const auto f = hn::Set(d, factor);
    for (; j + kLanes<T> <= n; j += kLanes<T>) {
      store_as(d, hn::Mul(hn::LoadU(d, row + j), f), out + j);
    }
  }
  for (; j < n; ++j) out[j * stride] = S(row[j] * factor);
}

// Packs keys [j0, j0 + n) of one key/value head, j0 a multiple of kDepthBlock.
// K: panels of keys, [key panel][head_dim][keys]; V: [value
// panel][kv_len][values].
template <class T, class S>
HWY_NOINLINE void pack_keys(const AttentionParams& p, const S* k, const S* v, int64_t j0, int64_t n,
                            T* k_pack, T* v_pack) {
  for (int64_t j = j0; j < j0 + n; j += kPanel<T>) {
    pack_panel(k + j * p.k_strides[2], p.k_strides[3], p.k_strides[2], p.head_dim,
               std::min(kPanel<T>, p.kv_len - j), panel_width<T>(p.kv_len, j),
               k_pack + j * p.head_dim);
  }
  for (int64_t c = 0; c < p.value_dim; c += kPanel<T>) {
    const int64_t width = panel_width<T>(p.value_dim, c);
    pack_panel(v + j0 * p.v_strides[2] + c * p.v_strides[3], p.v_strides[2], p.v_strides[3], n,
               std::min(kPanel<T>, p.value_dim - c), width, v_pack + c * p.kv_len + j0 * width);
  }
}

// Rows [i0, i0 + rows) of one head, against packed keys and values.
template <class S, class T>
HWY_NOINLINE void attend_rows(const AttentionParams& p, const AttentionPlan& plan,
                              const AttentionBuffers& buffers, int64_t b, int64_t h, int64_t i0,
                              int64_t rows, const T* k_pack, const T* v_pack, T* scratch) {
  constexpr T kNegInf = -std::numeric_limits<T>::infinity();
  T* q_block = scratch + plan.q_offset;
  T* scores = scratch + plan.scores_offset;
  T* sums = scratch + plan.sums_offset;
  T row_max[kRowBlock], row_sum[kRowBlock];
  std::fill_n(row_max, rows, kNegInf);
  std::fill_n(row_sum, rows, T(0));
  const int64_t pitch = plan.value_pitch;

  const S* q = static_cast<const S*>(buffers.q) + b * p.q_strides[0] + h * p.q_strides[1] +
               i0 * p.q_strides[2];
  for (int64_t e = 0; e < p.head_dim; e += kDepthBlock) {
    copy_rows(q + e * p.q_strides[3], p.q_strides[2], p.q_strides[3], rows,
              std::min(kDepthBlock, p.head_dim - e), static_cast<T>(p.scale),
              q_block + e / kDepthBlock * kRowBlock * kPitch);
  }
  MaskRow<T> mask(p, buffers.mask, b, h, scratch + plan.mask_offset);

  const int64_t key_end = p.causal ? std::min(p.kv_len, i0 + rows) : p.kv_len;
  for (int64_t j0 = 0; j0 < key_end; j0 += kDepthBlock) {
    const int64_t n = std::min(kDepthBlock, key_end - j0);
    for (int64_t j = j0; j < j0 + n; j += kPanel<T>) {
      const int64_t width = panel_width<T>(p.kv_len, j);
      for (int64_t e = 0; e == 0 || e < p.head_dim; e += kDepthBlock) {
        micro_block(rows, width / kLanes<T>, q_block + e / kDepthBlock * kRowBlock * kPitch,
                    k_pack + j * p.head_dim + e * width, width,
                    std::min(kDepthBlock, p.head_dim - e), scores + (j - j0), kPitch, e > 0,
                    static_cast<const T*>(nullptr));
      }
    }
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t valid = p.causal ? std::clamp<int64_t>(i0 + r + 1 - j0, 0, n) : n;
      const T factor = softmax_block(scores + r * kPitch, mask.get(i0 + r, j0, n), valid, n,
                                     row_max[r], row_sum[r]);
      if (j0 > 0 && factor != T(1)) scale_row(sums + r * pitch, pitch, factor);
    }
    for (int64_t c = 0; c < p.value_dim; c += kPanel<T>) {
      const int64_t width = panel_width<T>(p.value_dim, c);
      micro_block(rows, width / kLanes<T>, scores, v_pack + c * p.kv_len + j0 * width, width, n,
                  sums + c, pitch, j0 > 0, static_cast<const T*>(nullptr));
    }
  }
  S* out = static_cast<S*>(buffers.out) + b * p.out_strides[0] + h * p.out_strides[1] +
           i0 * p.out_strides[2];
  for (int64_t r = 0; r < rows; ++r) {
    if (row_sum[r] == T(0)) {  // fully masked
      for (int64_t c = 0; c < p.value_dim; ++c) {
        out[r * p.out_strides[2] + c * p.out_strides[3]] = S(T(0));
      }
    } else {
      write_row(sums + r * pitch, p.value_dim, T(1) / row_sum[r], out + r * p.out_strides[2],
                p.out_strides[3]);
    }
  }
}

// One block of keys of one key/value head for all its query rows (few):
// maximum, sum and weighted values go to `partial`, [row][2 + value_pitch].
template <class S, class T>
HWY_NOINLINE void decode_block(const AttentionParams& p, const AttentionPlan& plan,
                               const AttentionBuffers& buffers, int64_t b, int64_t g, int64_t j0,
                               T* partial, T* scratch) {
  const int64_t group = p.heads / p.kv_heads;
  const int64_t rows = group * p.q_len;
  const int64_t n = std::min(kDepthBlock, p.kv_len - j0);
  const int64_t partial_pitch = 2 + plan.value_pitch;
  T* q_rows = scratch + plan.q_offset;
  T* scores = scratch + plan.scores_offset;
  for (int64_t r = 0; r < rows; ++r) {
    const S* q = static_cast<const S*>(buffers.q) + b * p.q_strides[0] +
                 (g * group + r / p.q_len) * p.q_strides[1] + r % p.q_len * p.q_strides[2];
    for (int64_t e = 0; e < p.head_dim; ++e) {
      q_rows[r * p.head_dim + e] = static_cast<T>(q[e]) * static_cast<T>(p.scale);
    }
  }
  const S* k = static_cast<const S*>(buffers.k) + b * p.k_strides[0] + g * p.k_strides[1] +
               j0 * p.k_strides[2];
  dot_rows(q_rows, p.head_dim, rows, k, p.k_strides[2], n, p.head_dim, scores, kPitch);
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t i = r % p.q_len;
    MaskRow<T> mask(p, buffers.mask, b, g * group + r / p.q_len, scratch + plan.mask_offset);
    const int64_t valid = p.causal ? std::clamp<int64_t>(i + 1 - j0, 0, n) : n;
    T& row_max = partial[r * partial_pitch];
    T& row_sum = partial[r * partial_pitch + 1];
    row_max = -std::numeric_limits<T>::infinity();
    row_sum = T(0);
    softmax_block(scores + r * kPitch, mask.get(i, j0, n), valid, n, row_max, row_sum);
  }
  const S* v = static_cast<const S*>(buffers.v) + b * p.v_strides[0] + g * p.v_strides[1] +
               j0 * p.v_strides[2];
  const T* no_bias = nullptr;
  int64_t c = 0;
  for (; c + kPanel<T> <= p.value_dim; c += kPanel<T>) {
    micro_block(rows, 2, scores, v + c, p.v_strides[2], n, partial + 2 + c, partial_pitch, false,
                no_bias);
  }
  for (; c < p.value_dim; c += kLanes<T>) {
    if (p.value_dim - c < kLanes<T>) {  // a vector would read past the row
      T* tail = scratch + plan.tail_offset;
      pack_panel(v + c, p.v_strides[2], int64_t{1}, n, p.value_dim - c, kLanes<T>, tail);
      micro_block(rows, 1, scores, tail, kLanes<T>, n, partial + 2 + c, partial_pitch, false,
                  no_bias);
    } else {
      micro_block(rows, 1, scores, v + c, p.v_strides[2], n, partial + 2 + c, partial_pitch, false,
                  no_bias);
    }
  }
}

// Joins the partial results of all blocks of keys of one key/value head.
template <class S, class T>
HWY_NOINLINE void decode_join(const AttentionParams& p, const AttentionPlan& plan,
                              const AttentionBuffers& buffers, int64_t b, int64_t g,
                              const T* partials, T* sums) {
  constexpr T kNegInf = -std::numeric_limits<T>::infinity();
  const int64_t group = p.heads / p.kv_heads;
  const int64_t rows = group * p.q_len;
  const int64_t pitch = 2 + plan.value_pitch;
  for (int64_t r = 0; r < rows; ++r) {
    S* out = static_cast<S*>(buffers.out) + b * p.out_strides[0] +
             (g * group + r / p.q_len) * p.out_strides[1] + r % p.q_len * p.out_strides[2];
    const T* first = partials + r * pitch;
    T max = kNegInf, sum = T(0);
    for (int64_t s = 0; s < plan.key_blocks; ++s) max = std::max(max, first[s * rows * pitch]);
    const T shift = max == kNegInf ? T(0) : max;
    std::fill_n(sums, plan.value_pitch, T(0));
    for (int64_t s = 0; s < plan.key_blocks; ++s) {
      const T* part = first + s * rows * pitch;
      // A NaN maximum or score shows in the sum, so it reaches the result
      // whatever std::max did.
      const T factor = part[0] == kNegInf ? T(0) : std::exp(part[0] - shift);
      sum += part[1] * factor;
      for (int64_t c = 0; c < p.value_dim; ++c) sums[c] += part[2 + c] * factor;
    }
    const T inverse = sum == T(0) ? T(0) : T(1) / sum;
    for (int64_t c = 0; c < p.value_dim; ++c) out[c * p.out_strides[3]] = S(sums[c] * inverse);
  }
}

// Elements are stored as S and computed with as T.
template <class T, class S>
void run(const AttentionParams& p, const AttentionPlan& plan, const AttentionBuffers& buffers,
         T* scratch) {
  const int64_t group = p.heads / p.kv_heads;
  const int64_t kv_units = p.batch * p.kv_heads;
  const int64_t q_blocks = ceil_div(p.q_len, plan.q_rows);
  T* const shared = scratch + plan.shared_offset;
  auto keys = [&](int64_t b, int64_t g) {
    return static_cast<const S*>(buffers.k) + b * p.k_strides[0] + g * p.k_strides[1];
  };
  auto values = [&](int64_t b, int64_t g) {
    return static_cast<const S*>(buffers.v) + b * p.v_strides[0] + g * p.v_strides[1];
  };
  auto for_units = [&](int64_t units, auto&& body) {
    parallel_units(units, plan.parts, [&](int64_t unit, int64_t part) {
      body(unit, scratch + part * plan.part_size);
    });
  };
  auto head_blocks = [&](int64_t b, int64_t h, int64_t first, int64_t last, const T* k_pack,
                         const T* v_pack, T* own) {
    for (int64_t block = first; block < last; ++block) {
      const int64_t i0 = block * plan.q_rows;
      attend_rows<S>(p, plan, buffers, b, h, i0, std::min(plan.q_rows, p.q_len - i0), k_pack,
                     v_pack, own);
    }
  };

  switch (plan.kind) {
    case AttentionPlan::Kind::kDecode: {
      const int64_t rows = group * p.q_len;
      const int64_t unit_size = rows * (2 + plan.value_pitch);
      for_units(kv_units * plan.key_blocks, [&](int64_t unit, T* own) {
        const int64_t bg = unit / plan.key_blocks;
        decode_block<S>(p, plan, buffers, bg / p.kv_heads, bg % p.kv_heads,
                     unit % plan.key_blocks * kDepthBlock, shared + unit * unit_size, own);
      });
      for_units(kv_units, [&](int64_t bg, T* own) {
        decode_join<S>(p, plan, buffers, bg / p.kv_heads, bg % p.kv_heads,
                    shared + bg * plan.key_blocks * unit_size, own + plan.sums_offset);
      });
      return;
    }
    case AttentionPlan::Kind::kPackEach:
      for_units(kv_units, [&](int64_t bg, T* own) {
        const int64_t b = bg / p.kv_heads, g = bg % p.kv_heads;
        T* k_pack = own + plan.pack_offset;
        T* v_pack = k_pack + plan.k_pack_size;
        for (int64_t j0 = 0; j0 < p.kv_len; j0 += kDepthBlock) {
          pack_keys(p, keys(b, g), values(b, g), j0, std::min(kDepthBlock, p.kv_len - j0), k_pack,
                    v_pack);
        }
        for (int64_t h = g * group; h < (g + 1) * group; ++h) {
          head_blocks(b, h, 0, q_blocks, k_pack, v_pack, own);
        }
      });
      return;
    case AttentionPlan::Kind::kPackShared: {
      const int64_t pack_size = plan.k_pack_size + plan.v_pack_size;
      for_units(kv_units * plan.key_blocks, [&](int64_t unit, T*) {
        const int64_t bg = unit / plan.key_blocks;
        const int64_t b = bg / p.kv_heads, g = bg % p.kv_heads;
        const int64_t j0 = unit % plan.key_blocks * kDepthBlock;
        T* k_pack = shared + bg * pack_size;
        pack_keys(p, keys(b, g), values(b, g), j0, std::min(kDepthBlock, p.kv_len - j0), k_pack,
                  k_pack + plan.k_pack_size);
      });
      for_units(p.batch * p.heads * q_blocks, [&](int64_t unit, T* own) {
        const int64_t bh = unit / q_blocks;
        const int64_t b = bh / p.heads, h = bh % p.heads;
        const T* k_pack = shared + (b * p.kv_heads + h / group) * pack_size;
        head_blocks(b, h, unit % q_blocks, unit % q_blocks + 1, k_pack, k_pack + plan.k_pack_size,
                    own);
      });
      return;
    }
  }
}

}  // namespace

void attention_f32(const AttentionParams& p, const AttentionPlan& plan,
                   const AttentionBuffers& buffers, void* scratch) {
  auto* floats = static_cast<float*>(scratch);
  switch (p.dtype) {
    case DType::kF16: return run<float, F16>(p, plan, buffers, floats);
    case DType::kBF16: return run<float, BF16>(p, plan, buffers, floats);
    default: return run<float, float>(p, plan, buffers, floats);
  }
}

void attention_f64(const AttentionParams& p, const AttentionPlan& plan,
                   const AttentionBuffers& buffers, void* scratch) {
  run<double, double>(p, plan, buffers, static_cast<double*>(scratch));
}

}  // namespace kiln::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kiln::cpu {

HWY_EXPORT(attention_f32);
HWY_EXPORT(attention_f64);

namespace {

// Below this many query rows of one key/value head the keys are read once, so
// packing cannot pay.
constexpr int64_t kDecodeRows = 6;

AttentionPlan make_plan(const AttentionParams& p, int threads) {
  AttentionPlan plan;
  plan.parts = std::max(threads, 1);
  plan.key_blocks = ceil_div(p.kv_len, kDepthBlock);
  plan.value_pitch = round_up(std::max<int64_t>(p.value_dim, 1), kMaxPanel);
  plan.k_pack_size = round_up(p.kv_len, kMaxPanel) * p.head_dim;
  plan.v_pack_size = plan.value_pitch * p.kv_len;
  const int64_t kv_units = p.batch * p.kv_heads;
  const int64_t group = p.heads / p.kv_heads;

  int64_t own = 0;  // elements of the scratch of one part; every offset a
                    // multiple of 64 bytes
  auto take = [&own](int64_t size) {
    const int64_t offset = own;
    own += round_up(size, 16);
    return offset;
  };
  const bool unit_strides =
      p.q_strides[3] == 1 && p.k_strides[3] == 1 && (p.v_strides[3] == 1 || p.value_dim <= 1);
  int64_t shared = 0;
  if (group * p.q_len <= kDecodeRows && unit_strides && p.kv_len > 0) {
    plan.kind = AttentionPlan::Kind::kDecode;
    const int64_t rows = group * p.q_len;
    plan.q_rows = rows;
    plan.q_offset = take(rows * p.head_dim);
    plan.scores_offset = take(rows * kPitch);
    plan.mask_offset = take(kPitch);
    plan.sums_offset = take(plan.value_pitch);
    plan.tail_offset = take(kDepthBlock * kMaxPanel / 2);
    shared = kv_units * plan.key_blocks * rows * (2 + plan.value_pitch);
  } else {
    const bool balanced = kv_units % plan.parts == 0 || kv_units >= 4 * plan.parts;
    plan.kind = balanced ? AttentionPlan::Kind::kPackEach : AttentionPlan::Kind::kPackShared;
    plan.q_rows = kRowBlock;
    if (!balanced) {  // smaller blocks of queries while there are too few for
                      // all parts
      while (plan.q_rows > 12 &&
             p.batch * p.heads * ceil_div(p.q_len, plan.q_rows) < 2 * plan.parts) {
        plan.q_rows /= 2;
      }
    }
    plan.q_offset =
        take(ceil_div(std::max<int64_t>(p.head_dim, 1), kDepthBlock) * kRowBlock * kPitch);
    plan.scores_offset = take(kRowBlock * kPitch);
    plan.mask_offset = take(kPitch);
    plan.sums_offset = take(kRowBlock * plan.value_pitch);
    const int64_t pack = plan.k_pack_size + plan.v_pack_size;
    if (balanced) {
      plan.pack_offset = take(pack);
    } else {
      shared = kv_units * pack;
    }
  }
  plan.part_size = round_up(own, 64);
  plan.shared_offset = plan.parts * plan.part_size;
  plan.total_size = plan.shared_offset + shared;
  return plan;
}

bool empty(const AttentionParams& p) {
  return p.batch == 0 || p.heads == 0 || p.q_len == 0 || p.value_dim == 0;
}

}  // namespace

Status AttentionParams::validate() const {
  auto bad = [](const char* what, int64_t value) {
    return Status::error("K4321",
                         std::string("attention: ") + what + ", got " + std::to_string(value));
  };
  if (!is_float(dtype)) {
    return Status::error(
        "K4321", "attention: no kernel for this dtype, got " + std::string(dtype_name(dtype)));
  }
  if (mask == AttentionMask::kAdditive && mask_dtype != dtype &&
      (mask_dtype != DType::kF32 || dtype == DType::kF64)) {
    return Status::error("K4321", "attention: no kernel for this dtype of masks, got " +
                                      std::string(dtype_name(mask_dtype)));
  }
  for (int64_t size : {batch, heads, kv_heads, q_len, kv_len, head_dim, value_dim}) {
    if (size < 0) return bad("a size is negative", size);
  }
  if (kv_heads == 0 && heads != 0) return bad("no key heads for these query heads", heads);
  if (kv_heads != 0 && heads % kv_heads != 0) {
    return bad("query heads are not a multiple of key heads", heads);
  }
  return Status();
}

size_t attention_scratch_bytes(const AttentionParams& params, int threads) {
  if (empty(params)) return 0;
  return static_cast<size_t>(make_plan(params, threads).total_size) *
         (params.dtype == DType::kF64 ? sizeof(double) : sizeof(float));
}

void attention(const AttentionParams& params, const AttentionBuffers& buffers, void* scratch,
               int threads) {
  if (empty(params)) return;
  const AttentionPlan plan = make_plan(params, threads);
  if (params.dtype == DType::kF64) {
    HWY_DYNAMIC_DISPATCH(attention_f64)(params, plan, buffers, scratch);
  } else {
    HWY_DYNAMIC_DISPATCH(attention_f32)(params, plan, buffers, scratch);
  }
}

}  // namespace kiln::cpu
#endif  // HWY_ONCE

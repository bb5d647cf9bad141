#include "backends/cpu/kernels/copy.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

#include "backends/cpu/kernels/element.h"
#include "base/parallel_for.h"
#include "hwy/highway.h"

namespace kiln::cpu {
namespace {

constexpr int64_t kTile = 32;                 // edge of a transpose tile, in elements
constexpr int64_t kParallelBytes = 32 << 10;  // what a thread should at least get
constexpr int64_t kUnitBytes = 16 << 10;      // size of the pieces of one long run

struct Dim {
  int64_t size, src, dst;
};

// Drops dims of size 1, orders by the stride in dst (largest first), joins what is contiguous in
// both.
int normalise(const CopyParams& p, Dim* dims) {
  int n = 0;
  for (int i = 0; i < p.rank; ++i) {
    if (p.sizes[i] != 1) dims[n++] = {p.sizes[i], p.src_strides[i], p.dst_strides[i]};
  }
  insertion_sort(dims, n, [](const Dim& a, const Dim& b) {
    const int64_t da = std::abs(a.dst), db = std::abs(b.dst);
    return da != db ? da > db : std::abs(a.src) > std::abs(b.src);
  });
  int joined = 0;
  for (int i = 0; i < n; ++i) {
    if (joined > 0) {
      Dim& outer = dims[joined - 1];
      if (outer.src == dims[i].src * dims[i].size && outer.dst == dims[i].dst * dims[i].size) {
        outer = {outer.size * dims[i].size, dims[i].src, dims[i].dst};
        continue;
      }
    }
    dims[joined++] = dims[i];
  }
  return joined;
}

template <class T>
void transpose_tile(const T* src, int64_t src_stride, T* dst, int64_t dst_stride, int64_t rows,
                    int64_t cols) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) dst[r * dst_stride + c] = src[c * src_stride + r];
  }
}

// dst[r, c] = src[c, r]: 4 x 4 at a time, in 128-bit vectors that every target has.
template <>
void transpose_tile(const uint32_t* src, int64_t src_stride, uint32_t* dst, int64_t dst_stride,
                    int64_t rows, int64_t cols) {
#if HWY_TARGET == HWY_SCALAR
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) dst[r * dst_stride + c] = src[c * src_stride + r];
  }
#else
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::Full128<uint32_t> d;
  int64_t r = 0;
  for (; r + 4 <= rows; r += 4) {
    int64_t c = 0;
    for (; c + 4 <= cols; c += 4) {
      const uint32_t* s = src + c * src_stride + r;
      const auto r0 = hn::LoadU(d, s);
      const auto r1 = hn::LoadU(d, s + src_stride);
      const auto r2 = hn::LoadU(d, s + 2 * src_stride);
      const auto r3 = hn::LoadU(d, s + 3 * src_stride);
      const auto low02 = hn::InterleaveLower(d, r0, r2);
      const auto low13 = hn::InterleaveLower(d, r1, r3);
      const auto high02 = hn::InterleaveUpper(d, r0, r2);
      const auto high13 = hn::InterleaveUpper(d, r1, r3);
      uint32_t* to = dst + r * dst_stride + c;
      hn::StoreU(hn::InterleaveLower(d, low02, low13), d, to);
      hn::StoreU(hn::InterleaveUpper(d, low02, low13), d, to + dst_stride);
      hn::StoreU(hn::InterleaveLower(d, high02, high13), d, to + 2 * dst_stride);
      hn::StoreU(hn::InterleaveUpper(d, high02, high13), d, to + 3 * dst_stride);
    }
    for (; c < cols; ++c) {
      for (int64_t t = r; t < r + 4; ++t) dst[t * dst_stride + c] = src[c * src_stride + t];
    }
  }
  for (; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) dst[r * dst_stride + c] = src[c * src_stride + r];
  }
#endif
}

// First of the indices [0, n) that part `part` of `parts` has.
int64_t part_begin(int64_t n, int64_t parts, int64_t part) {
  return n / parts * part + std::min(part, n % parts);
}

int64_t parallel_grain(int64_t unit_bytes) {
  return std::max<int64_t>(1, kParallelBytes / std::max<int64_t>(1, unit_bytes));
}

}  // namespace

Status CopyParams::validate() const {
  KILN_RETURN_IF_ERROR(validate_element_bytes("copy", element_bytes));
  return validate_sizes("copy", rank, sizes);
}

CopyPlan::CopyPlan(const CopyParams& params) : element_bytes_(params.element_bytes) {
  const int64_t count = element_count(params.rank, params.sizes);
  if (count == 0) return;
  Dim dims[kMaxRank];
  int n = normalise(params, dims);
  if (n == 0) dims[n++] = {1, 1, 1};

  const Dim inner = dims[--n];
  inner_size_ = inner.size, inner_src_ = inner.src, inner_dst_ = inner.dst;
  int cross = -1;
  if (inner.dst == 1 && inner.src != 1) {
    for (int i = 0; i < n; ++i) {
      if (dims[i].src == 1 && dims[i].size > 1 && inner.src != 0) cross = i;
    }
  }
  if (inner.src == 1 && inner.dst == 1) {
    kind_ = Kind::kRuns;
    const int64_t bytes = inner_size_ * element_bytes_;
    // A long run is cut, so that several threads can work on it.
    tiles_ = std::max<int64_t>(1, bytes / kUnitBytes);
    unit_bytes_ = std::max<int64_t>(1, bytes / tiles_);
  } else if (cross >= 0) {
    kind_ = Kind::kTranspose;
    cross_size_ = dims[cross].size, cross_dst_ = dims[cross].dst;
    std::copy(dims + cross + 1, dims + n, dims + cross);
    --n;
    tiles_ = (cross_size_ + kTile - 1) / kTile;
    unit_bytes_ = std::min(kTile, cross_size_) * inner_size_ * element_bytes_;
  } else {
    kind_ = Kind::kLines;
    const int64_t bytes = inner_size_ * element_bytes_;
    tiles_ = std::max<int64_t>(1, bytes / kUnitBytes);
    unit_bytes_ = std::max<int64_t>(1, bytes / tiles_);
  }
  units_ = tiles_;
  rank_ = n;
  for (int i = 0; i < n; ++i) {
    sizes_[i] = dims[i].size, src_strides_[i] = dims[i].src, dst_strides_[i] = dims[i].dst;
    units_ *= dims[i].size;
  }
}

void CopyPlan::run_runs(const unsigned char* src, unsigned char* dst, int64_t begin,
                        int64_t end) const {
  const int64_t bytes = inner_size_ * element_bytes_;
  OffsetWalk<2> walk(rank_, sizes_, {&src_strides_, &dst_strides_}, begin / tiles_);
  int64_t tile = begin % tiles_;
  for (int64_t unit = begin; unit < end;) {
    // All pieces of one run that are in range go together.
    const int64_t last = std::min(tiles_, tile + (end - unit));
    const int64_t from = part_begin(bytes, tiles_, tile);
    const int64_t to = part_begin(bytes, tiles_, last);
    std::memcpy(dst + walk.offset(1) * element_bytes_ + from,
                src + walk.offset(0) * element_bytes_ + from, static_cast<size_t>(to - from));
    unit += last - tile;
    tile = 0;
    walk.next();
  }
}

template <class T>
void CopyPlan::run_lines(const T* src, T* dst, int64_t begin, int64_t end) const {
  OffsetWalk<2> walk(rank_, sizes_, {&src_strides_, &dst_strides_}, begin / tiles_);
  int64_t tile = begin % tiles_;
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t first = part_begin(inner_size_, tiles_, tile);
    const int64_t size = part_begin(inner_size_, tiles_, tile + 1) - first;
    const T* from = src + walk.offset(0) + first * inner_src_;
    T* to = dst + walk.offset(1) + first * inner_dst_;
    if (inner_src_ == 0 && inner_dst_ == 1) {
      std::fill_n(to, size, *from);
    } else {
      for (int64_t i = 0; i < size; ++i) to[i * inner_dst_] = from[i * inner_src_];
    }
    if (++tile == tiles_) {
      tile = 0;
      walk.next();
    }
  }
}

template <class T>
void CopyPlan::run_tiles(const T* src, T* dst, int64_t begin, int64_t end) const {
  OffsetWalk<2> walk(rank_, sizes_, {&src_strides_, &dst_strides_}, begin / tiles_);
  int64_t tile = begin % tiles_;
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t row = tile * kTile;
    const int64_t rows = std::min(kTile, cross_size_ - row);
    for (int64_t col = 0; col < inner_size_; col += kTile) {
      transpose_tile(src + walk.offset(0) + row + col * inner_src_, inner_src_,
                     dst + walk.offset(1) + row * cross_dst_ + col, cross_dst_, rows,
                     std::min(kTile, inner_size_ - col));
    }
    if (++tile == tiles_) {
      tile = 0;
      walk.next();
    }
  }
}

void CopyPlan::run_units(const void* src, void* dst, int64_t begin, int64_t end) const {
  if (begin >= end) return;
  if (kind_ == Kind::kRuns) {
    run_runs(static_cast<const unsigned char*>(src), static_cast<unsigned char*>(dst), begin, end);
    return;
  }
  with_element(element_bytes_, [&]<class T>(T) {
    if (kind_ == Kind::kTranspose) {
      run_tiles(static_cast<const T*>(src), static_cast<T*>(dst), begin, end);
    } else {
      run_lines(static_cast<const T*>(src), static_cast<T*>(dst), begin, end);
    }
  });
}

void CopyPlan::run(const void* src, void* dst) const {
  parallel_for(units_, parallel_grain(unit_bytes_),
               [&](int64_t begin, int64_t end) { run_units(src, dst, begin, end); });
}

void copy_strided(const CopyParams& params, const void* src, void* dst) {
  CopyPlan(params).run(src, dst);
}

void copy_all(std::span<const CopyTask> tasks) {
  // One line of bytes through all tasks, cut into equal pieces; a piece is turned back into the
  // units of the tasks that it covers.
  int64_t total = 0;
  for (const CopyTask& task : tasks) total += task.plan->units() * task.plan->unit_bytes();
  const int64_t pieces = std::max<int64_t>(1, total / kParallelBytes);
  parallel_for(pieces, 1, [&](int64_t begin, int64_t end) {
    int64_t position = 0;
    const int64_t from = total / pieces * begin;
    const int64_t to = end == pieces ? total : total / pieces * end;
    for (const CopyTask& task : tasks) {
      const int64_t unit_bytes = task.plan->unit_bytes();
      const int64_t bytes = task.plan->units() * unit_bytes;
      if (bytes > 0 && position < to && position + bytes > from) {
        // A unit belongs to the piece in which its first byte lies.
        const int64_t first = std::max<int64_t>(0, (from - position + unit_bytes - 1) / unit_bytes);
        const int64_t last =
            std::min(task.plan->units(), (to - position + unit_bytes - 1) / unit_bytes);
        task.plan->run_units(task.src, task.dst, first, last);
      }
      position += bytes;
    }
  });
}

void fill_strided(int element_bytes, int rank, const Dims& sizes, const Dims& strides,
                  const void* value, void* dst) {
  CopyParams params;
  params.element_bytes = element_bytes;
  params.rank = rank;
  params.sizes = sizes;
  params.dst_strides = strides;
  copy_strided(params, value, dst);
}

}  // namespace kiln::cpu

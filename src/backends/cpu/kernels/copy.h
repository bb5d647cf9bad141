// Strided copies: transpose, concat, slice, expand, flip (negative strides), layout changes.
//
// Nothing here knows about dtypes, only about element sizes. Dims are collapsed and reordered
// first, so that a copy which is contiguous in any order of dims becomes memcpy, and one whose unit
// strides lie in different dims becomes a transpose in cache-sized tiles.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "backends/cpu/kernels/dims.h"
#include "base/status.h"

namespace kiln::cpu {

// dst[sum i*dst_strides] = src[sum i*src_strides]. Strides in elements, any sign; 0 in src
// broadcasts. The places written must be distinct, and src and dst must not overlap.
struct CopyParams {
  int element_bytes = 4;  // 1, 2, 4, 8 or 16
  int rank = 0;
  Dims sizes{}, src_strides{}, dst_strides{};

  Status validate() const;  // K4311: element size, rank, negative size
};

// A copy made ready: collapse and order of dims, kind of inner loop. Small and trivially copyable,
// so it can be made once for a shape and kept. Requires params.validate().ok().
class CopyPlan {
 public:
  CopyPlan() = default;
  explicit CopyPlan(const CopyParams& params);

  // Work is cut into units(); run_units does [begin, end) on the calling thread.
  int64_t units() const { return units_; }
  int64_t unit_bytes() const { return unit_bytes_; }
  void run_units(const void* src, void* dst, int64_t begin, int64_t end) const;
  // All units, in parallel where that pays.
  void run(const void* src, void* dst) const;

 private:
  enum class Kind : uint8_t { kEmpty, kRuns, kTranspose, kLines };

  template <class T>
  void run_lines(const T* src, T* dst, int64_t begin, int64_t end) const;
  template <class T>
  void run_tiles(const T* src, T* dst, int64_t begin, int64_t end) const;
  void run_runs(const unsigned char* src, unsigned char* dst, int64_t begin, int64_t end) const;

  Kind kind_ = Kind::kEmpty;
  int element_bytes_ = 0;
  int rank_ = 0;  // of the outer dims, over which units are counted
  Dims sizes_{}, src_strides_{}, dst_strides_{};
  int64_t inner_size_ = 1, inner_src_ = 1, inner_dst_ = 1;  // the innermost dim of dst
  int64_t cross_size_ = 1, cross_dst_ = 1, tiles_ = 1;      // kTranspose: the innermost dim of src
  int64_t units_ = 0, unit_bytes_ = 0;
};

void copy_strided(const CopyParams& params, const void* src, void* dst);

struct CopyTask {
  const CopyPlan* plan;
  const void* src;
  void* dst;
};

// Several copies in one parallel region (concat, stack). They must not depend on each other.
void copy_all(std::span<const CopyTask> tasks);

// Sets every element to the `element_bytes` bytes at `value`; strides as for a destination.
void fill_strided(int element_bytes, int rank, const Dims& sizes, const Dims& strides,
                  const void* value, void* dst);

}  // namespace kiln::cpu

#include "backends/cpu/kernels/scan.h"

#include <algorithm>
#include <string>

#include "backends/cpu/kernels/element.h"
#include "base/parallel_for.h"

namespace kiln::cpu {
namespace {

template <class T, ScanOp kOp>
void scan_typed(const ScanParams& p, const T* src, T* dst) {
  using Sum = std::conditional_t<std::is_integral_v<T>, T, double>;
  Dims sizes = p.sizes;
  const int64_t length = sizes[p.dim];
  sizes[p.dim] = 1;
  const int64_t src_step = p.src_strides[p.dim], dst_step = p.dst_strides[p.dim];
  parallel_for(element_count(p.rank, sizes), std::max<int64_t>(1, 8192 / length),
               [&](int64_t begin, int64_t end) {
                 OffsetWalk<2> walk(p.rank, sizes, {&p.src_strides, &p.dst_strides}, begin);
                 for (int64_t line = begin; line < end; ++line, walk.next()) {
                   const T* from = src + walk.offset(0);
                   T* to = dst + walk.offset(1);
                   Sum sum = static_cast<Sum>(kOp == ScanOp::kSum ? 0 : 1);
                   for (int64_t i = 0; i < length; ++i) {
                     const Sum value = static_cast<Sum>(from[i * src_step]);
                     sum = kOp == ScanOp::kSum ? add(sum, value) : multiply(sum, value);
                     if constexpr (std::is_integral_v<T> || std::is_same_v<T, double>) {
                       to[i * dst_step] = sum;
                     } else {
                       to[i * dst_step] = static_cast<T>(static_cast<float>(sum));
                     }
                   }
                 }
               });
}

}  // namespace

Status ScanParams::validate() const {
  KILN_RETURN_IF_ERROR(validate_sizes("cumulative op", rank, sizes));
  if (rank < 1 || dim < 0 || dim >= rank) {
    return Status::error("K4311", "cumulative op: dim is out of range, got " + std::to_string(dim) +
                                      " for rank " + std::to_string(rank));
  }
  return Status();
}

void scan(const ScanParams& p, const void* src, void* dst) {
  if (element_count(p.rank, p.sizes) == 0) return;
  with_dtype(p.dtype, [&]<class T>(T) {
    if (p.op == ScanOp::kSum) {
      scan_typed<T, ScanOp::kSum>(p, static_cast<const T*>(src), static_cast<T*>(dst));
    } else {
      scan_typed<T, ScanOp::kProd>(p, static_cast<const T*>(src), static_cast<T*>(dst));
    }
  });
}

}  // namespace kiln::cpu

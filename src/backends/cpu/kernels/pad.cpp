#include "backends/cpu/kernels/pad.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>

#include "backends/cpu/kernels/copy.h"
#include "backends/cpu/kernels/element.h"
#include "base/parallel_for.h"

namespace kiln::cpu {
namespace {

int64_t out_size(const PadParams& p, int d) { return p.before[d] + p.sizes[d] + p.after[d]; }

// Index in src of position i along dim d of dst.
int64_t source_index(const PadParams& p, int d, int64_t i) {
  const int64_t n = p.sizes[d];
  int64_t at = i - p.before[d];
  switch (p.mode) {
    case PadMode::kReflect:
      if (at < 0) at = -at;
      if (at >= n) at = 2 * (n - 1) - at;
      return at;
    case PadMode::kReplicate: return std::clamp<int64_t>(at, 0, n - 1);
    case PadMode::kCircular: at %= n; return at < 0 ? at + n : at;
    case PadMode::kConstant: break;
  }
  return at;
}

// One copy for what both tensors have, one fill for each side of each dim.
void pad_constant(const PadParams& p, const void* src, const void* value, void* dst) {
  CopyPlan plans[2 * kMaxRank + 1];
  CopyTask tasks[2 * kMaxRank + 1];
  size_t count = 0;
  const unsigned char* from = static_cast<const unsigned char*>(src);
  unsigned char* to = static_cast<unsigned char*>(dst);

  CopyParams copy;
  copy.element_bytes = p.element_bytes;
  copy.rank = p.rank;
  copy.dst_strides = p.dst_strides;
  Dims low{}, high{};  // the part of dst that comes from src
  int64_t src_offset = 0, dst_offset = 0;
  for (int d = 0; d < p.rank; ++d) {
    const int64_t size = out_size(p, d);
    low[d] = std::clamp<int64_t>(p.before[d], 0, size);
    high[d] = std::clamp<int64_t>(p.before[d] + p.sizes[d], low[d], size);
    copy.sizes[d] = high[d] - low[d];
    dst_offset += low[d] * p.dst_strides[d];
    src_offset += (low[d] - p.before[d]) * p.src_strides[d];
  }
  copy.src_strides = p.src_strides;
  plans[count] = CopyPlan(copy);
  tasks[count] = {&plans[count], from + src_offset * p.element_bytes,
                  to + dst_offset * p.element_bytes};
  ++count;

  copy.src_strides = Dims{};
  for (int d = 0; d < p.rank; ++d) {
    for (bool after : {false, true}) {
      const int64_t first = after ? high[d] : 0, last = after ? out_size(p, d) : low[d];
      if (first == last) continue;
      int64_t offset = first * p.dst_strides[d];
      for (int e = 0; e < p.rank; ++e) {
        copy.sizes[e] = e < d ? high[e] - low[e] : out_size(p, e);
        if (e < d) offset += low[e] * p.dst_strides[e];
      }
      copy.sizes[d] = last - first;
      plans[count] = CopyPlan(copy);
      tasks[count] = {&plans[count], value, to + offset * p.element_bytes};
      ++count;
    }
  }
  copy_all({tasks, count});
}

template <class T>
void pad_mapped(const PadParams& p, const T* src, T* dst, int64_t* tables) {
  // Dims by stride in dst, so that the innermost loop writes memory in order.
  int order[kMaxRank];
  for (int d = 0; d < p.rank; ++d) order[d] = d;
  insertion_sort(order, p.rank, [&](int a, int b) {
    return std::abs(p.dst_strides[a]) > std::abs(p.dst_strides[b]);
  });
  Dims sizes{}, dst_strides{};
  const int64_t* table[kMaxRank];  // offset in src for every position of a dim
  for (int i = 0; i < p.rank; ++i) {
    const int d = order[i];
    sizes[i] = out_size(p, d), dst_strides[i] = p.dst_strides[d];
    table[i] = tables;
    for (int64_t k = 0; k < sizes[i]; ++k) *tables++ = source_index(p, d, k) * p.src_strides[d];
  }
  const int last = p.rank - 1;
  const int64_t inner = sizes[last], step = dst_strides[last];
  const int64_t* map = table[last];
  const int d = order[last];
  const bool whole = p.before[d] == 0 && p.after[d] == 0 && step == 1 && p.src_strides[d] == 1;
  const int64_t bytes = inner * static_cast<int64_t>(sizeof(T));
  parallel_for(element_count(last, sizes), std::max<int64_t>(1, (32 << 10) / bytes),
               [&](int64_t begin, int64_t end) {
                 OffsetWalk<1> walk(last, sizes, {&dst_strides}, begin);
                 for (int64_t line = begin; line < end; ++line, walk.next()) {
                   const T* from = src;
                   for (int i = 0; i < last; ++i) from += table[i][walk.index(i)];
                   T* to = dst + walk.offset(0);
                   if (whole) {
                     std::memcpy(to, from, static_cast<size_t>(bytes));
                   } else {
                     for (int64_t k = 0; k < inner; ++k) to[k * step] = from[map[k]];
                   }
                 }
               });
}

}  // namespace

Status PadParams::validate() const {
  KILN_RETURN_IF_ERROR(validate_element_bytes(op, element_bytes));
  KILN_RETURN_IF_ERROR(validate_sizes(op, rank, sizes));
  for (int d = 0; d < rank; ++d) {
    const int64_t n = sizes[d], pad = std::max(before[d], after[d]), size = out_size(*this, d);
    auto error = [&](const char* what) {
      return Status::error("K4313", std::string(op) + ": " + what + ", got " +
                                        std::to_string(before[d]) + " and " +
                                        std::to_string(after[d]) + " for size " +
                                        std::to_string(n) + " in dim " + std::to_string(d));
    };
    if (size < 0) return error("pads leave a negative size");
    if (mode == PadMode::kReflect && pad >= n && pad > 0)
      return error("reflected pads must be smaller than the size");
    if (mode != PadMode::kConstant && n == 0 && size > 0) return error("nothing to pad with");
  }
  return Status();
}

size_t pad_scratch_bytes(const PadParams& params) {
  if (params.mode == PadMode::kConstant) return 0;
  int64_t count = 0;
  for (int d = 0; d < params.rank; ++d) count += out_size(params, d);
  return static_cast<size_t>(count) * sizeof(int64_t);
}

void pad(const PadParams& p, const void* src, const void* value, void* dst, void* scratch) {
  for (int d = 0; d < p.rank; ++d) {
    if (out_size(p, d) == 0) return;
  }
  if (p.rank == 0) {
    std::memcpy(dst, src, static_cast<size_t>(p.element_bytes));
  } else if (p.mode == PadMode::kConstant) {
    pad_constant(p, src, value, dst);
  } else {
    with_element(p.element_bytes, [&]<class T>(T) {
      pad_mapped(p, static_cast<const T*>(src), static_cast<T*>(dst),
                 static_cast<int64_t*>(scratch));
    });
  }
}

}  // namespace kiln::cpu

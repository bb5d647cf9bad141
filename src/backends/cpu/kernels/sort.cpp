#include "backends/cpu/kernels/sort.h"

#include <algorithm>
#include <string>

#include "backends/cpu/kernels/element.h"
#include "backends/cpu/kernels/parallel_units.h"

namespace kiln::cpu {
namespace {

constexpr size_t kEntryBytes = 16;  // key and position, for the widest key

template <class T>
struct Entry {
  T key;
  int64_t position;
};

// 16-bit floats compare as float.
template <class T>
using Key = std::conditional_t<std::is_same_v<T, F16> || std::is_same_v<T, BF16>, float, T>;

template <class K>
bool precedes(const Entry<K>& a, const Entry<K>& b, bool descending) {
  const bool nan_a = is_nan(a.key), nan_b = is_nan(b.key);
  if (nan_a || nan_b) {
    if (nan_a != nan_b) return nan_a == descending;
  } else if (a.key != b.key) {
    return (a.key < b.key) != descending;
  }
  return a.position < b.position;  // makes an unstable algorithm stable
}

template <class T>
void sort_line(const SortParams& p, const T* src, T* values, int64_t* indices,
               Entry<Key<T>>* entries) {
  const int64_t n = p.sizes[p.dim], step = p.src_strides[p.dim];
  for (int64_t i = 0; i < n; ++i) entries[i] = {static_cast<Key<T>>(src[i * step]), i};
  auto before = [descending = p.descending](const Entry<Key<T>>& a, const Entry<Key<T>>& b) {
    return precedes(a, b, descending);
  };
  const int64_t k = p.k < 0 ? n : p.k;
  if (k < n && k > 0) std::nth_element(entries, entries + k - 1, entries + n, before);
  if (p.sorted || p.k < 0) {
    std::sort(entries, entries + k, before);
  } else {
    std::sort(entries, entries + k,
              [](const auto& a, const auto& b) { return a.position < b.position; });
  }
  for (int64_t i = 0; i < k; ++i) {
    if (values != nullptr) values[i * p.value_strides[p.dim]] = src[entries[i].position * step];
    if (indices != nullptr) indices[i * p.index_strides[p.dim]] = entries[i].position;
  }
}

}  // namespace

Status SortParams::validate() const {
  KILN_RETURN_IF_ERROR(validate_sizes("sort", rank, sizes));
  if (rank < 1 || dim < 0 || dim >= rank) {
    return Status::error("K4311", "sort: dim is out of range, got " + std::to_string(dim) +
                                      " for rank " + std::to_string(rank));
  }
  if (k < -1 || k > sizes[dim]) {
    return Status::error("K4314", "topk: k is out of range, got " + std::to_string(k) +
                                      " for size " + std::to_string(sizes[dim]));
  }
  return Status();
}

size_t sort_scratch_bytes(const SortParams& params, int threads) {
  return static_cast<size_t>(std::max(threads, 1) * params.sizes[params.dim]) * kEntryBytes;
}

void sort(const SortParams& p, const void* src, void* values, int64_t* indices, void* scratch,
          int threads) {
  if (element_count(p.rank, p.sizes) == 0) return;
  Dims outer = p.sizes;
  outer[p.dim] = 1;
  const int64_t lines = element_count(p.rank, outer);
  // Lines go to the parts in pieces, so that a claim costs nothing next to the work.
  const int64_t piece = std::max<int64_t>(1, 2048 / p.sizes[p.dim]);
  with_dtype(p.dtype, [&]<class T>(T) {
    static_assert(sizeof(Entry<Key<T>>) <= kEntryBytes);
    const int64_t pieces = (lines + piece - 1) / piece;
    parallel_units(pieces, std::max(threads, 1), [&](int64_t unit, int64_t part) {
      unsigned char* own = static_cast<unsigned char*>(scratch) +
                           static_cast<size_t>(part * p.sizes[p.dim]) * kEntryBytes;
      const int64_t first = unit * piece, last = std::min(lines, first + piece);
      OffsetWalk<3> walk(p.rank, outer, {&p.src_strides, &p.value_strides, &p.index_strides},
                         first);
      for (int64_t line = first; line < last; ++line, walk.next()) {
        sort_line(p, static_cast<const T*>(src) + walk.offset(0),
                  values == nullptr ? nullptr : static_cast<T*>(values) + walk.offset(1),
                  indices == nullptr ? nullptr : indices + walk.offset(2),
                  reinterpret_cast<Entry<Key<T>>*>(own));
      }
    });
  });
}

}  // namespace kiln::cpu

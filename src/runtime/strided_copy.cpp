#include "runtime/strided_copy.h"

#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/check.h"

namespace kiln {
namespace {

struct Loop {
  int64_t extent, source, target;
};

template <size_t kBytes>
void copy_row(const char* source, char* target, const Loop& loop) {
  if (loop.source == 1 && loop.target == 1) {
    std::memcpy(target, source, static_cast<size_t>(loop.extent) * kBytes);
    return;
  }
  const int64_t source_step = loop.source * static_cast<int64_t>(kBytes);
  const int64_t target_step = loop.target * static_cast<int64_t>(kBytes);
  for (int64_t i = 0; i < loop.extent; ++i) {
    std::memcpy(target, source, kBytes);
    source += source_step;
    target += target_step;
  }
}

template <size_t kBytes>
void copy_loops(const char* source, char* target, const Loop* loops, int count) {
  if (count == 0) {
    std::memcpy(target, source, kBytes);
    return;
  }
  if (count == 1) return copy_row<kBytes>(source, target, loops[0]);
  for (int64_t i = 0; i < loops[0].extent; ++i) {
    copy_loops<kBytes>(source, target, loops + 1, count - 1);
    source += loops[0].source * static_cast<int64_t>(kBytes);
    target += loops[0].target * static_cast<int64_t>(kBytes);
  }
}

}  // namespace

void strided_copy(const void* source, const int64_t* source_strides, void* target,
                  const int64_t* target_strides, const int64_t* dims, int rank, size_t element) {
  KILN_CHECK_LE(rank, kMaxRank);
  Loop loops[kMaxRank];
  int count = 0;
  for (int i = 0; i < rank; ++i) {
    if (dims[i] == 0) return;
    if (dims[i] != 1) loops[count++] = {dims[i], source_strides[i], target_strides[i]};
  }
  // The order of the target, so that writes are sequential; then neighbours merge.
  // Insertion sort: std::stable_sort allocates.
  for (int i = 1; i < count; ++i) {
    for (int j = i; j > 0 && std::llabs(loops[j].target) > std::llabs(loops[j - 1].target); --j) {
      std::swap(loops[j], loops[j - 1]);
    }
  }
  int merged = 0;
  for (int i = 1; i < count; ++i) {
    Loop& outer = loops[merged];
    const Loop& inner = loops[i];
    if (outer.source == inner.source * inner.extent &&
        outer.target == inner.target * inner.extent) {
      outer = {outer.extent * inner.extent, inner.source, inner.target};
    } else {
      loops[++merged] = inner;
    }
  }
  if (count > 0) count = merged + 1;
  const auto* from = static_cast<const char*>(source);
  auto* to = static_cast<char*>(target);
  switch (element) {
    case 1: return copy_loops<1>(from, to, loops, count);
    case 2: return copy_loops<2>(from, to, loops, count);
    case 4: return copy_loops<4>(from, to, loops, count);
    case 8: return copy_loops<8>(from, to, loops, count);
    case 16: return copy_loops<16>(from, to, loops, count);
    default: KILN_CHECK_MSG(false, "element size");
  }
}

}  // namespace kiln

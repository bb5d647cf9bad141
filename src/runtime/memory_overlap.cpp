#include "runtime/memory_overlap.h"

#include <algorithm>
#include <vector>

#include "core/dtype.h"

namespace kiln {
namespace {

// Calls `use(address)` for each element.
template <typename F>
void for_elements(const TensorView& view, F use) {
  const auto size = static_cast<int64_t>(dtype_bytes(view.dtype));
  std::vector<int64_t> strides(static_cast<size_t>(view.rank)), index(strides.size(), 0);
  int64_t contiguous = size;
  for (size_t i = strides.size(); i-- > 0;) {
    if (view.shape[i] == 0) return;
    strides[i] = view.strides != nullptr ? view.strides[i] * size : contiguous;
    contiguous *= view.shape[i];
  }
  auto address = reinterpret_cast<uintptr_t>(view.data);
  while (true) {
    use(address);
    size_t dim = strides.size();
    while (dim > 0) {
      --dim;
      address += static_cast<uintptr_t>(strides[dim]);
      if (++index[dim] < view.shape[dim]) break;
      address -= static_cast<uintptr_t>(strides[dim] * index[dim]);
      index[dim] = 0;
      if (dim == 0) return;
    }
    if (strides.empty()) return;
  }
}

}  // namespace

MemorySpan span_of(const TensorView& view) {
  const auto bytes = static_cast<int64_t>(dtype_bytes(view.dtype));
  // Sizes of an empty tensor may multiply to anything.
  for (int i = 0; i < view.rank; ++i) {
    if (view.shape[i] == 0) return {};
  }
  int64_t low = 0, high = bytes, contiguous = bytes;
  for (int i = view.rank; i-- > 0;) {
    const int64_t stride = view.strides != nullptr ? view.strides[i] * bytes : contiguous;
    const int64_t reach = (view.shape[i] - 1) * stride;
    (reach < 0 ? low : high) += reach;
    contiguous *= view.shape[i];
  }
  const auto base = reinterpret_cast<uintptr_t>(view.data);
  return {base + static_cast<uintptr_t>(low), base + static_cast<uintptr_t>(high)};
}

bool share_memory(const TensorView& a, const TensorView& b) {
  const MemorySpan span_a = span_of(a), span_b = span_of(b);
  if (!span_a.overlaps(span_b)) return false;
  if (a.data == b.data) return true;  // the first elements
  const uintptr_t low = std::max(span_a.low, span_b.low);
  const uintptr_t high = std::min(span_a.high, span_b.high);
  std::vector<bool> taken(high - low, false);
  const size_t size_a = dtype_bytes(a.dtype), size_b = dtype_bytes(b.dtype);
  for_elements(a, [&](uintptr_t address) {
    for (size_t i = 0; i < size_a; ++i) {
      if (address + i >= low && address + i < high) taken[address + i - low] = true;
    }
  });
  bool shared = false;
  for_elements(b, [&](uintptr_t address) {
    for (size_t i = 0; i < size_b; ++i) {
      if (address + i >= low && address + i < high) shared = shared || taken[address + i - low];
    }
  });
  return shared;
}

int repeated_dim(const TensorView& view) {
  for (int i = 0; i < view.rank; ++i) {
    if (view.shape[i] == 0) return -1;
  }
  for (int i = 0; i < view.rank; ++i) {
    if (view.strides != nullptr && view.strides[i] == 0 && view.shape[i] > 1) return i;
  }
  return -1;
}

}  // namespace kiln

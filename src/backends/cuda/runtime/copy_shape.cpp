// Copies between strided tensors on a device: their shapes and the kernel for them.
//
// Family "strided_copy": params {element_bytes, rank, wide}. Arguments: from, to, elements, then
// for each dim from the innermost: its extent, the source's stride, the target's stride (in
// elements; int64 when `wide`, else int32). Thread i copies element i of the target's order.
#include <algorithm>
#include <cstdlib>

#include "backends/cuda/runtime/cuda_device.h"
#include "base/check.h"

namespace kiln::cuda {
namespace {

constexpr int64_t kMaxBlocks = int64_t{1} << 20;  // threads go on in steps of the grid

}  // namespace

bool CopyShape::fits_32_bits() const {
  // The kernel moves 16 bytes as four words and counts these.
  const int64_t limit = (int64_t{1} << 31) / (element_bytes == 16 ? 4 : 1);
  if (elements >= limit - kMaxBlocks * kThreads) return false;
  for (const int64_t* strides : {from, to}) {
    int64_t reach = 0;
    for (int d = 0; d < rank; ++d) {
      int64_t part = 0;
      if (__builtin_mul_overflow(dims[d] - 1, std::llabs(strides[d]), &part) ||
          __builtin_add_overflow(reach, part, &reach) || reach >= limit) {
        return false;
      }
    }
  }
  return true;
}

CopyShape CopyShape::make(const void* from_address, const int64_t* from_strides,
                          const void* to_address, const int64_t* to_strides,
                          const int64_t* all_dims, int all_rank, size_t bytes) {
  KILN_CHECK_LE(all_rank, 16);
  CopyShape shape;
  shape.element_bytes = static_cast<int64_t>(bytes);
  for (int i = 0; i < all_rank; ++i) {
    shape.elements *= all_dims[i];
    if (all_dims[i] == 1) continue;
    shape.dims[shape.rank] = all_dims[i];
    shape.from[shape.rank] = from_strides[i];
    shape.to[shape.rank++] = to_strides[i];
  }
  if (shape.elements == 0) return shape;
  auto swap = [&](int i, int j) {
    std::swap(shape.dims[i], shape.dims[j]);
    std::swap(shape.from[i], shape.from[j]);
    std::swap(shape.to[i], shape.to[j]);
  };
  // The target's order; insertion sort, which keeps the order of equals.
  for (int i = 1; i < shape.rank; ++i) {
    for (int j = i; j > 0 && std::llabs(shape.to[j]) > std::llabs(shape.to[j - 1]); --j) {
      swap(j, j - 1);
    }
  }
  int last = 0;
  for (int i = 1; i < shape.rank; ++i) {
    if (shape.from[last] == shape.from[i] * shape.dims[i] &&
        shape.to[last] == shape.to[i] * shape.dims[i]) {
      shape.dims[last] *= shape.dims[i];
      shape.from[last] = shape.from[i];
      shape.to[last] = shape.to[i];
    } else {
      ++last;
      shape.dims[last] = shape.dims[i];
      shape.from[last] = shape.from[i];
      shape.to[last] = shape.to[i];
    }
  }
  if (shape.rank > 0) shape.rank = last + 1;
  // Two elements as one, while both sides allow it.
  auto even = [](int64_t value) { return value % 2 == 0; };
  while (shape.rank > 0 && shape.element_bytes < 16) {
    const int inner = shape.rank - 1;
    const auto wide = static_cast<uintptr_t>(shape.element_bytes * 2);
    bool fits = shape.from[inner] == 1 && shape.to[inner] == 1 && even(shape.dims[inner]) &&
                reinterpret_cast<uintptr_t>(from_address) % wide == 0 &&
                reinterpret_cast<uintptr_t>(to_address) % wide == 0;
    for (int d = 0; d < inner; ++d) fits = fits && even(shape.from[d]) && even(shape.to[d]);
    if (!fits) break;
    shape.element_bytes *= 2;
    shape.elements /= 2;
    shape.dims[inner] /= 2;
    for (int d = 0; d < inner; ++d) {
      shape.from[d] /= 2;
      shape.to[d] /= 2;
    }
    if (shape.dims[inner] == 1) --shape.rank;
  }
  return shape;
}

KernelDesc CopyShape::kernel() const {
  Json params = Json::object();
  params.set("element_bytes", element_bytes);
  params.set("rank", static_cast<int64_t>(rank));
  params.set("wide", !fits_32_bits());
  return {"strided_copy", std::move(params)};
}

unsigned CopyShape::blocks() const {
  return static_cast<unsigned>(std::min((elements + kThreads - 1) / kThreads, kMaxBlocks));
}

// Of an int32 the driver reads the low half.
void CopyShape::fill(const void* from_address, const void* to_address, Arguments& arguments) const {
  size_t count = 0;
  auto add = [&](uint64_t value) {
    arguments.values[count] = value;
    arguments.pointers[count] = &arguments.values[count];
    ++count;
  };
  add(reinterpret_cast<uintptr_t>(from_address));
  add(reinterpret_cast<uintptr_t>(to_address));
  add(static_cast<uint64_t>(elements));
  for (int d = rank; d-- > 0;) {
    add(static_cast<uint64_t>(dims[d]));
    add(static_cast<uint64_t>(from[d]));
    add(static_cast<uint64_t>(to[d]));
  }
}

}  // namespace kiln::cuda

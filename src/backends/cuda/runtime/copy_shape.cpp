// Copies between strided tensors on a device: their shapes and the kernel for them.
//
// Family "strided_copy": params {element_bytes, rank, wide}, the rank being 2, 4, 8 or 16.
// Arguments: from, to, elements, then for each dim from the innermost: its extent, the source's
// stride, the target's stride (in elements; int64 when `wide`, else int32). Thread i copies element
// i of the target's order.
#include <algorithm>
#include <cstdlib>
#include <set>
#include <tuple>

#include "backends/cuda/runtime/cuda_device.h"
#include "base/check.h"
#include "core/dtype.h"

namespace kiln::cuda {
namespace {

constexpr int64_t kMaxBlocks = int64_t{1} << 20;  // threads go on in steps of the grid

constexpr int kLeastRank = 2;

// 2, 4, 8 or 16.
int padded_rank(int rank) {
  int padded = kLeastRank;
  while (padded < rank) padded *= 2;
  return padded;
}

KernelDesc copy_kernel(int64_t element_bytes, int rank, bool wide) {
  Json params = Json::object();
  params.set("element_bytes", element_bytes);
  params.set("rank", static_cast<int64_t>(rank));
  params.set("wide", wide);
  return {std::string(kStridedCopyFamily), std::move(params)};
}

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

int CopyShape::kernel_rank() const { return padded_rank(rank); }

KernelDesc CopyShape::kernel() const {
  return copy_kernel(element_bytes, kernel_rank(), !fits_32_bits());
}

std::vector<KernelDesc> copy_kernels(const EnginePlan& plan) {
  std::set<std::tuple<int64_t, int, bool>> wanted;
  const auto add = [&](const TensorSignature& signature) {
    if (signature.is_object) return;
    const int last = padded_rank(static_cast<int>(signature.dims.size()));
    for (auto bytes = static_cast<int64_t>(dtype_bytes(signature.dtype)); bytes <= 16; bytes *= 2) {
      for (int rank = kLeastRank; rank <= last; rank *= 2) {
        for (const bool wide : {false, true}) wanted.emplace(bytes, rank, wide);
      }
    }
  };
  for (const TensorSignature& input : plan.inputs) add(input);
  for (const PlanOutput& output : plan.outputs) add(output.signature);
  std::vector<KernelDesc> kernels;
  for (const auto& [bytes, rank, wide] : wanted) kernels.push_back(copy_kernel(bytes, rank, wide));
  return kernels;
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
  for (int d = rank; d < kernel_rank(); ++d) {
    add(1);
    add(0);
    add(0);
  }
}

}  // namespace kiln::cuda

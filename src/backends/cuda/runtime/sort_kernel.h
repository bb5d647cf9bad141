// "sort": values and i64 places along one axis, stable; NaN is larger than every number. Where the
// results are shorter than the operand they hold the first elements (topk).
//
// A line of up to kChunk elements is sorted by one block in shared memory (kDirect). Longer ones
// are sorted in chunks (kChunks) of (key, place) in scratch memory, which are merged two by two
// (kMerge), and written at the end (kOutput). Keys are unsigned numbers in the order of the values.
#pragma once

#include "backends/cuda/runtime/kernel_sizes.h"
#include "core/dtype.h"

namespace kiln::cuda {

struct SortKernel {
  static constexpr const char* kFamily = "sort";
  static constexpr int64_t kChunk = 1024;
  enum class Phase : uint8_t { kDirect, kChunks, kMerge, kOutput };

  Phase phase = Phase::kDirect;
  DType dtype = DType::kF32;
  bool descending = false;
  int64_t axis = 0;
  std::vector<int> order;  // of the operand's dims
  bool wide = true;
  KernelSizes sizes;

  // Bytes of a key in scratch memory.
  int64_t key_bytes() const { return dtype_bytes(dtype) == 8 ? 8 : 4; }
  Json to_json() const;
  static Result<SortKernel> from_json(const Json& params);  // K3212
};
// The parameter of a step that names the kernel of a phase: "direct", "chunks", "merge", "output".
// A step has "direct", or the three others, or all four.
const char* sort_phase_name(SortKernel::Phase phase);

template <class View>
NamedSizes<SizeOf<View>> sort_sizes(const View& from, const View& values, const View& places,
                                    size_t axis) {
  NamedSizes<SizeOf<View>> sizes;
  sizes.add_each("n", from.dims);
  sizes.add("k", values.dims[axis]);
  sizes.add_each("a", from.strides);
  sizes.add_each("b", values.strides);
  sizes.add_each("c", places.strides);
  return sizes;
}

}  // namespace kiln::cuda

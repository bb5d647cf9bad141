// "pad": padding in all of torch's modes, and roll, which is circular without a change of size.
#pragma once

#include <string>

#include "backends/cuda/runtime/kernel_sizes.h"

namespace kiln::cuda {

struct PadKernel {
  static constexpr const char* kFamily = "pad";
  enum class Mode : uint8_t { kConstant, kReflect, kReplicate, kCircular };

  Mode mode = Mode::kConstant;
  int64_t bytes = 4;   // of an element that is moved: `width` of the dtype's, along the last dim of
  int64_t width = 1;   // `order`, which is not padded then
  uint64_t value = 0;  // kConstant: the bits of one element (0 where width > 1)
  int64_t together = 1;    // elements along that dim that a thread writes as one, 16 bytes at most
  std::vector<int> order;  // of the target's dims, outermost in memory first
  bool wide = true;
  KernelSizes sizes;

  int rank() const { return static_cast<int>(order.size()); }
  size_t inner() const { return order.empty() ? 0 : static_cast<size_t>(order.back()); }
  Json to_json() const;
  static Result<PadKernel> from_json(const Json& params);  // K3212
};

// `low`: elements before index 0 along each dim, negative ones crop.
template <class View>
NamedSizes<SizeOf<View>> pad_sizes(const View& from, const View& to,
                                   const std::vector<SizeOf<View>>& low) {
  NamedSizes<SizeOf<View>> sizes;
  sizes.add_each("n", to.dims);
  sizes.add_each("m", from.dims);
  sizes.add_each("l", low);
  sizes.add_each("a", from.strides);
  sizes.add_each("b", to.strides);
  return sizes;
}

// Members that say in what order dims are walked. K3212 unless it is a permutation of `rank` dims
// (any number up to the largest rank when negative).
Result<std::vector<int>> order_param(const Json& params, std::string_view key, int rank = -1);

}  // namespace kiln::cuda

// "gather" and "scatter": an index tensor picks the position along one axis of a table. For each
// position of the index tensor, place is that position with its coordinate along `axis` replaced by
// the index; gather reads table[place], scatter writes it.
#pragma once

#include <string>

#include "backends/cuda/runtime/kernel_sizes.h"
#include "core/dtype.h"

namespace kiln::cuda {

struct GatherKernel {
  static constexpr const char* kFamily = "gather";
  int64_t bytes = 4;  // of an element
  DType index = DType::kI64;
  int64_t axis = 0;
  std::vector<int> order;  // of the result's dims, outermost in memory first
  bool wide = true;
  KernelSizes sizes;

  Json to_json() const;
  static Result<GatherKernel> from_json(const Json& params);  // K3212
};

// "dense" is the result of a gather, the values of a scatter.
template <class View>
NamedSizes<SizeOf<View>> gather_sizes(const View& table, const View& index, const View& dense,
                                      size_t axis) {
  NamedSizes<SizeOf<View>> sizes;
  sizes.add_each("n", index.dims);
  sizes.add("t", table.dims[axis]);
  sizes.add_each("a", table.strides);
  sizes.add_each("x", index.strides);
  sizes.add_each("b", dense.strides);
  return sizes;
}

// Values that meet in one place are combined in the order of the positions along the axis, as on
// the CPU: the positions of a line (all coordinates but the axis') are walked by one thread, or by
// several that own different places each.
struct ScatterKernel {
  static constexpr const char* kFamily = "scatter";
  DType dtype = DType::kF32;
  DType index = DType::kI64;
  int64_t axis = 0;
  std::string reduce = "none";  // add, multiply, mean, amax, amin
  bool include_self = true;
  std::vector<int> order;  // of the table's dims
  bool wide = true;
  KernelSizes sizes;

  Json to_json() const;
  static Result<ScatterKernel> from_json(const Json& params);  // K3212
};

}  // namespace kiln::cuda

// Sizes and strides that a kernel's source depends on. The family's own function lists them by
// name, from the views of a plan (expressions) when the kernel is described and from concrete views
// when a step is bound. Those that are constant are baked into the source, the others are arguments
// of the kernel (int64, after the addresses, in this order).
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "backends/cuda/runtime/launch.h"
#include "base/json.h"
#include "core/dim.h"
#include "core/dtype.h"
#include "runtime/step.h"

namespace kiln::cuda {

// The type of the sizes of PlanView (DimExpr) or ConcreteView (int64_t).
template <class View>
using SizeOf = typename std::decay_t<decltype(std::declval<View>().strides)>::value_type;

template <class Size>
struct NamedSizes {
  struct Entry {
    std::string name;
    Size size;
    // A stride along a dim of one element, which nothing steps along: any will do. A kernel that
    // was made for symbols may hold another one than the views have, where a dim was broadcast.
    bool any = false;
  };
  std::vector<Entry> entries;

  void add(std::string name, Size size, bool any = false) {
    entries.push_back({std::move(name), std::move(size), any});
  }
  // prefix0, prefix1, ...
  void add_each(std::string_view prefix, const std::vector<Size>& sizes) {
    for (size_t i = 0; i < sizes.size(); ++i) {
      add(std::string(prefix) + std::to_string(i), sizes[i]);
    }
  }
  // The same of strides of dims `dims`.
  void add_strides(std::string_view prefix, const std::vector<Size>& strides,
                   const std::vector<Size>& dims);
};

// What a kernel description holds of them.
class KernelSizes {
 public:
  struct Entry {
    std::string name;  // an identifier
    std::optional<int64_t> baked;
  };

  KernelSizes() = default;
  explicit KernelSizes(const NamedSizes<DimExpr>& sizes);
  Json to_json() const;                                      // {"n0": 64, "n1": null}
  static Result<KernelSizes> from_json(const Json& params);  // of the member "sizes"; K3212

  // Appends arguments for what is not baked; K3212 where the names or the baked values differ.
  Status bind(const NamedSizes<int64_t>& actual, std::vector<Argument>* arguments) const;
  const std::vector<Entry>& entries() const { return entries_; }

 private:
  std::vector<Entry> entries_;
};

// Kernels compute offsets in 32 bits ("wide": false) where no offset and no count of elements of
// any view reaches this.
inline constexpr int64_t kOffsetLimit = (int64_t{1} << 31) - (int64_t{1} << 17);
bool is_narrow(const ConcreteView& view);
// K3212 unless `wide` or all views are narrow.
Status check_narrow(bool wide, std::initializer_list<const ConcreteView*> views);

// A member that names a dtype; K3212.
Result<DType> kernel_dtype(const Json& params, std::string_view key);

// Whether `count` divides the size, for all values of its symbols.
inline bool divides(int64_t count, int64_t size) { return size % count == 0; }
bool divides(int64_t count, const DimExpr& size);
inline int64_t quotient(int64_t size, int64_t count) { return size / count; }
DimExpr quotient(const DimExpr& size, int64_t count);
inline bool is_one(int64_t size) { return size == 1; }
inline bool is_one(const DimExpr& size) { return size.is_value(1); }

template <class Size>
void NamedSizes<Size>::add_strides(std::string_view prefix, const std::vector<Size>& strides,
                                   const std::vector<Size>& dims) {
  for (size_t i = 0; i < strides.size(); ++i) {
    add(std::string(prefix) + std::to_string(i), strides[i], is_one(dims[i]));
  }
}

// Whether `width` elements in a row along `dim` can be taken as one: the dim is contiguous, and its
// size, the offset and the strides of all other dims that may have more than one element are
// multiples of `width`. Bases of slots are aligned to 16 bytes at least.
template <class View>
bool takes_width(const View& view, size_t dim, int64_t width) {
  if (width == 1) return true;
  if (view.dims.empty() || !is_one(view.strides[dim]) || !divides(width, view.dims[dim]) ||
      !divides(width, view.offset)) {
    return false;
  }
  for (size_t i = 0; i < view.dims.size(); ++i) {
    if (i != dim && !is_one(view.dims[i]) && !divides(width, view.strides[i])) return false;
  }
  return true;
}

// The view of elements that are `width` of the old ones. Precondition: takes_width. A stride that
// cannot be divided is of a dim of one element and means nothing; that the others are divided
// whatever their dim is keeps the strides that a kernel was made with those of each call.
template <class View>
View widened(View view, size_t dim, int64_t width) {
  if (width == 1) return view;
  for (size_t i = 0; i < view.dims.size(); ++i) {
    if (i == dim) {
      view.dims[i] = quotient(view.dims[i], width);
    } else if (divides(width, view.strides[i])) {
      view.strides[i] = quotient(view.strides[i], width);
    }
  }
  view.offset = quotient(view.offset, width);
  return view;
}

// The kernel that a step names by its parameter `key`.
struct StepKernel {
  std::shared_ptr<const KernelCode> code;
  int index = 0;
  const Json* params = nullptr;
};
Result<StepKernel> step_kernel(const StepDesc& desc, const StepEnvironment& environment,
                               std::string_view family, std::string_view key = "kernel");

inline constexpr int64_t kThreads = 256;  // of a block, where a kernel has no reason for others
inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
// One launch of blocks in a row.
Launch launch_blocks(const StepKernel& kernel, int64_t blocks, std::vector<Argument> arguments,
                     int64_t threads = kThreads);
Result<std::unique_ptr<BoundStep>> bind_launch(const StepKernel& kernel, Launch launch,
                                               const BindContext& context,
                                               std::string_view implementation);

}  // namespace kiln::cuda

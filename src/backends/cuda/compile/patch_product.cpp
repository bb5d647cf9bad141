#include "backends/cuda/compile/patch_product.h"

#include <algorithm>

#include "base/check.h"
#include "core/layout.h"
#include "ir/op_def.h"
#include "ops/window.h"

namespace kiln::cuda {
namespace {

// A pixel's channels that are a multiple of this are read as vectors.
constexpr int64_t kVector = 8;

// Dims from `first` on as one; a copy where strides cannot say it.
PlanView merge_from(const PlanView& view, size_t first, EngineLowering& lowering,
                    const Origin& origin) {
  const auto split = view.dims.begin() + static_cast<std::ptrdiff_t>(first);
  Shape dims(view.dims.begin(), split);
  dims.push_back(num_elements(Shape(split, view.dims.end())));
  PlanView merged;
  if (reshape_view(view, dims, &merged)) return merged;
  KILN_CHECK(reshape_view(lowering.materialize(view, {}, origin), dims, &merged));
  return merged;
}

}  // namespace

bool is_patch_product(Node& conv) {
  if (!conv.is("conv") || conv.get_int("groups") != 1) return false;
  const DimExpr& channels = conv.operand(0)->shape()[1];
  if (!channels.is_constant() || channels.value() % kVector == 0) return false;
  const Window window = conv_window(conv);
  bool several_pixels = false;
  for (size_t i = 0; i < window.kernel.size(); ++i) {
    if (window.kernel[i] != window.stride[i]) return false;
    if (window.padding_low[i] != 0 || window.padding_high[i] != 0) return false;
    if (window.dilation[i] != 1 && window.kernel[i] != 1) return false;
    several_pixels = several_pixels || window.kernel[i] > 1;
  }
  return several_pixels;
}

PlanView channels_at_end(PlanView view) {
  std::rotate(view.dims.begin() + 1, view.dims.begin() + 2, view.dims.end());
  std::rotate(view.strides.begin() + 1, view.strides.begin() + 2, view.strides.end());
  return view;
}

PatchViews patch_views(Node& conv, Value* x, Value* weight, EngineLowering& lowering,
                       const Origin& origin) {
  const Window window = conv_window(conv);
  const auto spatial = static_cast<size_t>(window.rank());
  const PlanView image = lowering.view(x);
  const Shape& y = conv.result()->shape();
  const bool channels_last = image.strides[1].is_value(1) && !image.strides.back().is_value(1);

  PlanView windows = image;
  windows.dims = {image.dims[0]};
  windows.strides = {image.strides[0]};
  const auto add = [&](const DimExpr& size, const DimExpr& stride) {
    windows.dims.push_back(size);
    windows.strides.push_back(stride);
  };
  for (size_t i = 0; i < spatial; ++i) add(y[2 + i], image.strides[2 + i] * window.stride[i]);
  if (!channels_last) add(image.dims[1], image.strides[1]);
  for (size_t i = 0; i < spatial; ++i) add(window.kernel[i], image.strides[2 + i]);
  if (channels_last) add(image.dims[1], image.strides[1]);

  const std::vector<int> order = channels_last
                                     ? Layout::channels_last(static_cast<int>(spatial) + 2).order
                                     : std::vector<int>{};
  PlanView factors =
      lowering.is_constant(weight) ? lowering.constant(weight, order) : lowering.view(weight);
  if (channels_last) factors = channels_at_end(std::move(factors));
  return {merge_from(windows, spatial + 1, lowering, origin),
          merge_from(factors, 1, lowering, origin)};
}

}  // namespace kiln::cuda

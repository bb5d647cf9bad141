#include "backends/cuda/compile/conv_operands.h"

#include "backends/cuda/compile/plan_views.h"

namespace kiln::cuda {

KernelWindow kernel_window(const Window& window) {
  return {window.stride, window.padding_low, window.dilation};
}

bool conv_is_wide(const Window& window, const PlanView& x, const PlanView& weight,
                  const PlanView* bias, const PlanView& y, const SymbolRanges& symbols) {
  constexpr int64_t kSmall = 1 << 14;
  bool wide = !all_narrow({&x, &weight, bias, &y}, symbols);
  for (size_t i = 0; i < window.stride.size(); ++i) {
    const int64_t out = y.dims[2 + i].range(symbols).max;
    wide = wide || window.stride[i] > kSmall || window.dilation[i] > kSmall ||
           window.padding_low[i] > kOffsetLimit / 4 || window.kernel[i] > kSmall ||
           out > kOffsetLimit / (4 * window.stride[i]);
  }
  return wide;
}

PlanView conv_weight(Value* weight, const std::vector<int>& order, EngineLowering& lowering) {
  return !order.empty() && lowering.is_constant(weight) ? lowering.constant_in_order(weight, order)
                                                        : lowering.view(weight);
}

}  // namespace kiln::cuda

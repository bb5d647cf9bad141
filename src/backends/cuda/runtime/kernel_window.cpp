#include "backends/cuda/runtime/kernel_window.h"

#include <string>
#include <utility>

#include "base/status.h"

namespace kiln::cuda {

void KernelWindow::add_to(Json& params) const {
  params.set("stride", Json(stride));
  params.set("padding", Json(padding));
  params.set("dilation", Json(dilation));
}

Result<KernelWindow> KernelWindow::from_json(const Json& params, int64_t axes) {
  constexpr int64_t kMaxEntry = int64_t{1} << 30;
  KernelWindow window;
  KILN_ASSIGN_OR_RETURN(window.stride, params.ints_at("stride"));
  KILN_ASSIGN_OR_RETURN(window.padding, params.ints_at("padding"));
  KILN_ASSIGN_OR_RETURN(window.dilation, params.ints_at("dilation"));
  bool fits = true;
  for (const auto& [list, low] : {std::pair{&window.stride, 1}, std::pair{&window.padding, 0},
                                  std::pair{&window.dilation, 1}}) {
    fits = fits && static_cast<int64_t>(list->size()) == axes;
    for (const int64_t entry : *list) fits = fits && entry >= low && entry <= kMaxEntry;
  }
  if (!fits) return Status::error("K3212", "convolution kernel: parameters of the window");
  return window;
}

Status KernelWindow::check_reach(const char* step, bool wide, const ConcreteView& weight,
                                 const ConcreteView& y) const {
  const int64_t limit = wide ? int64_t{1} << 61 : kOffsetLimit;
  for (size_t i = 0; i < stride.size(); ++i) {
    const __int128 reach = static_cast<__int128>(y.dims[2 + i]) * stride[i] +
                           static_cast<__int128>(weight.dims[2 + i]) * dilation[i] + padding[i];
    if (reach >= limit) {
      return Status::error("K3212", std::string(step) + ": a window reaches too far");
    }
  }
  return {};
}

int64_t strip_columns(int64_t results, int64_t taps, const KernelWindow& window) {
  return (results - 1) * window.stride.back() + (taps - 1) * window.dilation.back() + 1;
}

}  // namespace kiln::cuda

#include "ops/resize_geometry.h"

#include <algorithm>
#include <cmath>

namespace kiln {

std::optional<ResizeMode> resize_mode(std::string_view name) {
  if (name == "nearest") return ResizeMode::kNearest;
  if (name == "nearest_exact") return ResizeMode::kNearestExact;
  if (name == "linear" || name == "bilinear" || name == "trilinear") return ResizeMode::kLinear;
  if (name == "bicubic") return ResizeMode::kCubic;
  return std::nullopt;
}

namespace {

int64_t nearest_index(ResizeMode mode, int rank, int64_t output, int64_t outputs, int64_t inputs,
                      double scale) {
  if (mode == ResizeMode::kNearest && rank == 2) {  // here the sizes go before the user's scale
    if (outputs == inputs) return output;
    if (outputs == 2 * inputs) return output / 2;
  }
  const float step = scale > 0 ? static_cast<float>(1.0 / scale)
                               : static_cast<float>(inputs) / static_cast<float>(outputs);
  float position;
  if (mode == ResizeMode::kNearest) {
    position = static_cast<float>(output) * step;
  } else if (rank == 2) {
    position = static_cast<float>((static_cast<double>(output) + 0.5) * step);
  } else {
    // One rounding, as torch's kernel is compiled.
    const float centre = std::fma(step, static_cast<float>(output) + 0.5f, -0.5f);
    position = centre + 0.5f;
  }
  return std::min(static_cast<int64_t>(std::floor(position)), inputs - 1);
}

}  // namespace

std::vector<ResizeTap> resize_taps(ResizeMode mode, int rank, int64_t output, int64_t outputs,
                                   int64_t inputs, bool align_corners, double scale) {
  if (mode == ResizeMode::kNearest || mode == ResizeMode::kNearestExact) {
    return {{nearest_index(mode, rank, output, outputs, inputs, scale), 1.0}};
  }
  // An axis that keeps its size is copied whatever the user's scale, but not by bicubic.
  if (mode == ResizeMode::kLinear && outputs == inputs) return {{output, 1.0}};
  double position;
  if (align_corners) {
    position = outputs > 1 ? static_cast<double>(inputs - 1) / static_cast<double>(outputs - 1) *
                                 static_cast<double>(output)
                           : 0.0;
  } else {
    const double step =
        scale > 0 ? 1.0 / scale : static_cast<double>(inputs) / static_cast<double>(outputs);
    position = step * (static_cast<double>(output) + 0.5) - 0.5;
  }
  auto clamped = [inputs](int64_t i) { return std::clamp<int64_t>(i, 0, inputs - 1); };
  if (mode == ResizeMode::kLinear) {
    position = std::max(position, 0.0);
    const int64_t low = std::min(static_cast<int64_t>(position), inputs - 1);
    const double t = std::min(position - static_cast<double>(low), 1.0);
    return {{low, 1 - t}, {clamped(low + 1), t}};
  }
  // Cubic convolution with A = -0.75 (R. Keys, "Cubic convolution interpolation for digital image
  // processing", 1981); taps beyond the border repeat the border.
  constexpr double kA = -0.75;
  const double floor = std::floor(position);
  const auto low = static_cast<int64_t>(floor);
  const double t = position - floor;
  auto near = [](double x) { return ((kA + 2) * x - (kA + 3)) * x * x + 1; };         // |x| <= 1
  auto far = [](double x) { return ((kA * x - 5 * kA) * x + 8 * kA) * x - 4 * kA; };  // 1..2
  return {{clamped(low - 1), far(t + 1)},
          {clamped(low), near(t)},
          {clamped(low + 1), near(1 - t)},
          {clamped(low + 2), far(2 - t)}};
}

}  // namespace kiln

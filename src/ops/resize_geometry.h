// Where an output of `resize` reads: taps and weights along one axis, with the arithmetic of torch's
// upsample functions (single precision where they use it, because rounding decides which element is
// nearest).
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace kiln {

enum class ResizeMode : uint8_t { kNearest, kNearestExact, kLinear, kCubic };

// "linear", "bilinear" and "trilinear" are kLinear; nullopt for an unknown name.
std::optional<ResizeMode> resize_mode(std::string_view name);

struct ResizeTap {
  int64_t index = 0;
  double weight = 0;
};

// Taps of output `output` of `outputs` over `inputs` elements. `scale` is the factor outputs/inputs
// that the user gave; 0: the sizes decide.
std::vector<ResizeTap> resize_taps(ResizeMode mode, int64_t output, int64_t outputs,
                                   int64_t inputs, bool align_corners, double scale);

}  // namespace kiln

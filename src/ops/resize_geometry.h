// Where an output of `resize` reads: taps and weights along one axis, with the arithmetic of
// torch's upsample functions (single precision where they use it, because rounding decides which
// element is nearest).
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

// Taps of output `output` of `outputs` over `inputs` elements of one of `rank` spatial axes.
// `scale` is the factor outputs/inputs that the user gave; 0: the sizes decide.
//
// Where torch's kernels for one mode disagree with each other (nearest modes, by number of axes and
// memory format), this follows the one for contiguous tensors.
std::vector<ResizeTap> resize_taps(ResizeMode mode, int rank, int64_t output, int64_t outputs,
                                   int64_t inputs, bool align_corners, double scale);

}  // namespace kiln

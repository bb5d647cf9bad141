// "conv": convolution and transposed convolution of any kind as an implicit matrix product: rows
// are output positions of the whole batch, columns output channels of a group, depth the taps and
// input channels of a group.
//
// Views are x [batch, in, spatial...], weight as torch has it ([out, in / groups, spatial...], or
// [in, out / groups, spatial...] when transposed), perhaps bias [out], and y [batch, out,
// spatial...].
#pragma once

#include <string>

#include "backends/cuda/runtime/kernel_window.h"
#include "core/dtype.h"

namespace kiln::cuda {

struct ConvKernel {
  static constexpr const char* kFamily = "conv";

  DType dtype = DType::kF32;
  int64_t spatial = 2;
  bool transposed = false;
  int64_t groups = 1;
  KernelWindow window;
  bool bias = false;
  bool wide = true;
  bool matrix = false;   // by matrix instructions
  int64_t tile = 64;     // 64 or 128
  bool channels = true;  // depth runs over the channels of a tap, else over the taps of a channel
  bool x_along = false, x_eight = false;  // as in GemmKernel
  bool w_along = false, w_eight = false;
  KernelSizes sizes;

  Json to_json() const;
  static Result<ConvKernel> from_json(const Json& params);  // K3212
};

// K3246 where channels do not fit. `bias`: null without one.
template <class View>
Result<NamedSizes<SizeOf<View>>> conv_sizes(const View& x, const View& weight, const View* bias,
                                            const View& y, int64_t groups, bool transposed) {
  const size_t rank = x.dims.size();
  const auto mismatch = [] {
    return Status::error("K3246", "conv: channels of the operands do not fit");
  };
  if (weight.dims.size() != rank || y.dims.size() != rank || rank < 3 ||
      !divides(groups, x.dims[1]) || !divides(groups, y.dims[1])) {
    return mismatch();
  }
  const SizeOf<View> in = quotient(x.dims[1], groups), out = quotient(y.dims[1], groups);
  const bool fits = transposed ? weight.dims[0] == x.dims[1] && weight.dims[1] == out
                               : weight.dims[0] == y.dims[1] && weight.dims[1] == in;
  if (!fits || !(x.dims[0] == y.dims[0]) ||
      (bias != nullptr && (bias->dims.size() != 1 || !(bias->dims[0] == y.dims[1])))) {
    return mismatch();
  }
  NamedSizes<SizeOf<View>> sizes;
  sizes.add("batch", x.dims[0]);
  sizes.add("in", in);
  sizes.add("out", out);
  sizes.add("xb", x.strides[0]);
  sizes.add("xc", x.strides[1]);
  sizes.add("yb", y.strides[0]);
  sizes.add("yc", y.strides[1]);
  sizes.add("wi", weight.strides[transposed ? 0 : 1]);
  sizes.add("wo", weight.strides[transposed ? 1 : 0]);
  if (bias != nullptr) sizes.add("h", bias->strides[0]);
  for (size_t i = 0; i + 2 < rank; ++i) {
    const std::string n = std::to_string(i);
    sizes.add("m" + n, x.dims[2 + i]);
    sizes.add("n" + n, y.dims[2 + i]);
    sizes.add("t" + n, weight.dims[2 + i]);
    sizes.add("x" + n, x.strides[2 + i]);
    sizes.add("ys" + n, y.strides[2 + i]);
    sizes.add("w" + n, weight.strides[2 + i]);
  }
  return sizes;
}

// Whether weights lie in the order of depth, the taps of a channel or the channels of a tap in a
// row, so that depth is one dim of stride 1. Only constant sizes are compared as numbers.
template <class View>
bool weight_along_depth(const View& weight, bool transposed, bool channels) {
  SizeOf<View> expected(1);
  const size_t input = transposed ? 0 : 1;
  const auto next = [&](size_t dim) {
    const bool fits = is_one(weight.dims[dim]) || weight.strides[dim] == expected;
    expected = expected * weight.dims[dim];
    return fits;
  };
  bool fits = !channels || next(input);
  for (size_t i = weight.dims.size(); i-- > 2;) fits = next(i) && fits;
  if (!channels) fits = next(input) && fits;
  return fits;
}

// Whether eight elements along depth may be read as one: of x, whose channels then lie in a row ...
template <class View>
bool conv_x_eight(const View& x, int64_t groups) {
  return takes_width(x, 1, 8) && divides(8 * groups, x.dims[1]);
}
// ... and of weights along depth: the depth is a multiple of 8, and so is where a column begins.
template <class View>
bool conv_weight_eight(const View& weight, bool transposed) {
  const size_t input = transposed ? 0 : 1, output = transposed ? 1 : 0;
  SizeOf<View> depth = weight.dims[input];
  for (size_t i = 2; i < weight.dims.size(); ++i) depth = depth * weight.dims[i];
  return !transposed && divides(8, depth) && divides(8, weight.strides[output]) &&
         divides(8, weight.offset);
}

}  // namespace kiln::cuda

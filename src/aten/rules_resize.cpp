// Resampling of images, and exchanges between channels and pixels.
#include "aten/view_nodes.h"

namespace kiln {
namespace {

// Positions of the arguments; -1: the overload has none.
struct ResizeArguments {
  int align_corners = -1;
  int scales = -1;   // one float per spatial axis from here on (plain overloads)
  int factors = -1;  // a list of floats (.vec overloads)
};

void resize(ImportCall& call, const std::string& mode, const ResizeArguments& at) {
  Value* x = call.tensor(0);
  const Shape& seen = call.captured().tensor().shape;
  const size_t spatial = x->shape().size() - 2;
  if (x->shape().size() < 3 || seen.size() != x->shape().size()) call.refuse("wrong rank");
  // The size is an argument, or capture's: floor(input * factor).
  const Shape size = call.is_none(1) ? Shape(seen.begin() + 2, seen.end()) : call.dims(1);
  std::vector<double> scales;
  if (at.factors >= 0 && !call.is_none(at.factors)) {
    const auto* list = call.arg(at.factors).get<CallArg::List>();
    if (list == nullptr) call.refuse("scale factors are no list");
    for (const CallArg& item : *list) {
      const auto* number = item.get<double>();
      const auto* integer = item.get<DimExpr>();
      if (number == nullptr && (integer == nullptr || !integer->is_constant())) {
        call.refuse("scale factor is no number");
      }
      scales.push_back(number != nullptr ? *number : static_cast<double>(integer->value()));
    }
  }
  for (size_t i = 0; at.scales >= 0 && i < spatial; ++i) {
    const int position = at.scales + static_cast<int>(i);
    scales.push_back(call.is_none(position) ? 0 : call.number(position));
  }
  AttrList attrs{{"mode", mode}, {"size", size}};
  if (at.align_corners >= 0) attrs.emplace_back("align_corners", call.boolean(at.align_corners));
  for (double scale : scales) {
    if (scale == 0) continue;
    attrs.emplace_back("scales", scales);
    break;
  }
  call.result(call.emit("resize", {x}, std::move(attrs)));
}

void nearest_vec(ImportCall& call) { resize(call, "nearest", {-1, -1, 2}); }
void nearest(ImportCall& call) { resize(call, "nearest", {-1, 2, -1}); }
void nearest_exact_vec(ImportCall& call) { resize(call, "nearest_exact", {-1, -1, 2}); }
void nearest_exact(ImportCall& call) { resize(call, "nearest_exact", {-1, 2, -1}); }
KILN_ATEN_RULE(nearest_vec,
               "aten::upsample_nearest1d.vec(Tensor input, SymInt[]? output_size, float[]? "
               "scale_factors) -> Tensor");
KILN_ATEN_RULE(nearest_vec,
               "aten::upsample_nearest2d.vec(Tensor input, SymInt[]? output_size, float[]? "
               "scale_factors) -> Tensor");
KILN_ATEN_RULE(nearest_vec,
               "aten::upsample_nearest3d.vec(Tensor input, SymInt[]? output_size, float[]? "
               "scale_factors) -> Tensor");
KILN_ATEN_RULE(nearest,
               "aten::upsample_nearest1d(Tensor self, SymInt[1] output_size, float? scales=None) "
               "-> Tensor");
KILN_ATEN_RULE(nearest,
               "aten::upsample_nearest2d(Tensor self, SymInt[2] output_size, float? "
               "scales_h=None, float? scales_w=None) -> Tensor");
KILN_ATEN_RULE(nearest,
               "aten::upsample_nearest3d(Tensor self, SymInt[3] output_size, float? "
               "scales_d=None, float? scales_h=None, float? scales_w=None) -> Tensor");
KILN_ATEN_RULE(nearest_exact_vec,
               "aten::_upsample_nearest_exact1d.vec(Tensor input, SymInt[]? output_size, "
               "float[]? scale_factors) -> Tensor");
KILN_ATEN_RULE(nearest_exact_vec,
               "aten::_upsample_nearest_exact2d.vec(Tensor input, SymInt[]? output_size, "
               "float[]? scale_factors) -> Tensor");
KILN_ATEN_RULE(nearest_exact_vec,
               "aten::_upsample_nearest_exact3d.vec(Tensor input, SymInt[]? output_size, "
               "float[]? scale_factors) -> Tensor");
KILN_ATEN_RULE(nearest_exact,
               "aten::_upsample_nearest_exact1d(Tensor self, SymInt[1] output_size, float? "
               "scales=None) -> Tensor");
KILN_ATEN_RULE(nearest_exact,
               "aten::_upsample_nearest_exact2d(Tensor self, SymInt[2] output_size, float? "
               "scales_h=None, float? scales_w=None) -> Tensor");
KILN_ATEN_RULE(nearest_exact,
               "aten::_upsample_nearest_exact3d(Tensor self, SymInt[3] output_size, float? "
               "scales_d=None, float? scales_h=None, float? scales_w=None) -> Tensor");

void linear_vec(ImportCall& call) { resize(call, "linear", {2, -1, 3}); }
void linear(ImportCall& call) { resize(call, "linear", {2, 3, -1}); }
void bilinear_vec(ImportCall& call) { resize(call, "bilinear", {2, -1, 3}); }
void bilinear(ImportCall& call) { resize(call, "bilinear", {2, 3, -1}); }
void trilinear_vec(ImportCall& call) { resize(call, "trilinear", {2, -1, 3}); }
void trilinear(ImportCall& call) { resize(call, "trilinear", {2, 3, -1}); }
void bicubic_vec(ImportCall& call) { resize(call, "bicubic", {2, -1, 3}); }
void bicubic(ImportCall& call) { resize(call, "bicubic", {2, 3, -1}); }
KILN_ATEN_RULE(linear_vec,
               "aten::upsample_linear1d.vec(Tensor input, SymInt[]? output_size, bool "
               "align_corners, float[]? scale_factors) -> Tensor");
KILN_ATEN_RULE(linear,
               "aten::upsample_linear1d(Tensor self, SymInt[1] output_size, bool align_corners, "
               "float? scales=None) -> Tensor");
KILN_ATEN_RULE(bilinear_vec,
               "aten::upsample_bilinear2d.vec(Tensor input, SymInt[]? output_size, bool "
               "align_corners, float[]? scale_factors) -> Tensor");
KILN_ATEN_RULE(bilinear,
               "aten::upsample_bilinear2d(Tensor self, SymInt[2] output_size, bool "
               "align_corners, float? scales_h=None, float? scales_w=None) -> Tensor");
KILN_ATEN_RULE(trilinear_vec,
               "aten::upsample_trilinear3d.vec(Tensor input, SymInt[]? output_size, bool "
               "align_corners, float[]? scale_factors) -> Tensor");
KILN_ATEN_RULE(trilinear,
               "aten::upsample_trilinear3d(Tensor self, SymInt[3] output_size, bool "
               "align_corners, float? scales_d=None, float? scales_h=None, float? scales_w=None) "
               "-> Tensor");
KILN_ATEN_RULE(bicubic_vec,
               "aten::upsample_bicubic2d.vec(Tensor input, SymInt[]? output_size, bool "
               "align_corners, float[]? scale_factors) -> Tensor");
KILN_ATEN_RULE(bicubic,
               "aten::upsample_bicubic2d(Tensor self, SymInt[2] output_size, bool align_corners, "
               "float? scales_h=None, float? scales_w=None) -> Tensor");

// ---- [..., C * r * r, H, W] and [..., C, H * r, W * r]

std::vector<int64_t> with_leading_axes(size_t leading, const std::vector<int64_t>& order) {
  std::vector<int64_t> all;
  for (size_t i = 0; i < leading; ++i) all.push_back(static_cast<int64_t>(i));
  for (int64_t axis : order) all.push_back(axis + static_cast<int64_t>(leading));
  return all;
}

void pixel_shuffle(ImportCall& call) {
  Value* x = call.tensor(0);
  const int64_t r = call.integer(1);
  if (rank_of(x) < 3 || r < 1 || r > 1024) call.refuse("pixel shuffle of less than an image");
  const size_t leading = x->shape().size() - 3;
  const DimExpr height = size_of(call, x, -2), width = size_of(call, x, -1);
  DimExpr channels;
  if (!DimExpr::divide_exactly(size_of(call, x, -3), r * r, &channels)) {
    call.refuse("channels are not divisible");
  }
  Shape split(x->shape().begin(), x->shape().end() - 3), joined = split;
  split.insert(split.end(), {channels, r, r, height, width});
  joined.insert(joined.end(), {channels, height * r, width * r});
  Value* y =
      emit_permute(call, call.reshape(x, split), with_leading_axes(leading, {0, 3, 1, 4, 2}));
  call.fresh_result(call.reshape(y, joined));
}
KILN_ATEN_RULE(pixel_shuffle, "aten::pixel_shuffle(Tensor self, int upscale_factor) -> Tensor");

void pixel_unshuffle(ImportCall& call) {
  Value* x = call.tensor(0);
  const int64_t r = call.integer(1);
  if (rank_of(x) < 3 || r < 1 || r > 1024) call.refuse("pixel unshuffle of less than an image");
  const size_t leading = x->shape().size() - 3;
  const DimExpr channels = size_of(call, x, -3);
  DimExpr height, width;
  if (!DimExpr::divide_exactly(size_of(call, x, -2), r, &height) ||
      !DimExpr::divide_exactly(size_of(call, x, -1), r, &width)) {
    call.refuse("size is not divisible");
  }
  Shape split(x->shape().begin(), x->shape().end() - 3), joined = split;
  split.insert(split.end(), {channels, height, r, width, r});
  joined.insert(joined.end(), {channels * (r * r), height, width});
  Value* y =
      emit_permute(call, call.reshape(x, split), with_leading_axes(leading, {0, 2, 4, 1, 3}));
  call.fresh_result(call.reshape(y, joined));
}
KILN_ATEN_RULE(pixel_unshuffle,
               "aten::pixel_unshuffle(Tensor self, int downscale_factor) -> Tensor");

void channel_shuffle(ImportCall& call) {
  Value* x = call.tensor(0);
  DimExpr per_group;
  const DimExpr groups = call.dim(1);
  if (rank_of(x) < 3 || !DimExpr::divide_exactly(size_of(call, x, 1), groups, &per_group)) {
    call.refuse("groups do not divide the channels");
  }
  Shape split{x->shape()[0], groups, per_group};
  split.insert(split.end(), x->shape().begin() + 2, x->shape().end());
  Value* y = emit_transpose(call, call.reshape(x, split), 1, 2);
  call.fresh_result(call.reshape(y, x->shape()));
}
KILN_ATEN_RULE(channel_shuffle, "aten::channel_shuffle(Tensor self, SymInt groups) -> Tensor");

}  // namespace
}  // namespace kiln

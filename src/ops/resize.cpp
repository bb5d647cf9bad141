// resize: interpolation over the spatial axes, as torch's upsample functions do it.
#include <cmath>

#include "ops/aten_args.h"
#include "ops/dtype_class.h"
#include "ops/fields.h"
#include "ops/operand_checks.h"
#include "ops/reference_data.h"
#include "ops/resize_geometry.h"
#include "ops/sample_types.h"

namespace kiln {
namespace {

// Spatial axes that a mode works on; 0: one to three.
int mode_rank(const std::string& mode) {
  if (mode == "linear") return 1;
  if (mode == "bilinear" || mode == "bicubic") return 2;
  return mode == "trilinear" ? 3 : 0;
}

Result<std::vector<Type>> infer(const OpContext& c) {
  KILN_RETURN_IF_ERROR(check_rank(c, 0, 3, 5));
  KILN_RETURN_IF_ERROR(check_dtype(c, 0, DTypeClass::kFloat));
  const TensorType& x = c.tensor(0);
  const int rank = x.rank() - 2;
  const std::string& mode = c.get_string("mode");
  if (!resize_mode(mode)) return refuse(c, "K2205", "unknown mode '" + mode + "'");
  if (mode_rank(mode) != 0 && mode_rank(mode) != rank) {
    return refuse(
        c, "K2205",
        "mode '" + mode + "' does not fit the number of spatial axes " + std::to_string(rank));
  }
  if (c.get_bool("align_corners") && mode_rank(mode) == 0) {
    return refuse(c, "K2205", "align_corners has no meaning in mode '" + mode + "'");
  }
  const Shape& size = c.get_dims("size");
  if (static_cast<int>(size.size()) != rank) {
    return refuse(c, "K2205", "size has not one entry per spatial axis");
  }
  const auto& scales = std::get<std::vector<double>>(c.attr("scales"));
  if (!scales.empty() && static_cast<int>(scales.size()) != rank) {
    return refuse(c, "K2205", "scales has not one entry per spatial axis");
  }
  for (double scale : scales) {
    if (!std::isfinite(scale) || scale < 0) return refuse(c, "K2205", "scale is not positive");
  }
  Shape shape{x.shape[0], x.shape[1]};
  for (int axis = 0; axis < rank; ++axis) {
    const DimExpr& output = size[static_cast<size_t>(axis)];
    if (output.is_constant() && output.value() < 1) {
      return refuse(c, "K2205", "size is not positive: " + output.to_string());
    }
    if (x.shape[static_cast<size_t>(axis + 2)].is_value(0)) {
      return refuse(c, "K2204", "resized axis is empty: " + std::to_string(axis));
    }
    shape.push_back(output);
  }
  return std::vector<Type>{tensor_like(c, 0, x.dtype, std::move(shape))};
}

Status reference(const ReferenceContext& c) {
  const HostTensor& x = c.in(0);
  HostTensor& y = c.out();
  const int rank = x.rank() - 2;
  const ResizeMode mode = *resize_mode(c.node->get_string("mode"));
  const bool align_corners = c.node->get_bool("align_corners");
  const auto& scales = std::get<std::vector<double>>(c.node->attr("scales"));
  const std::vector<int64_t> strides = row_major_strides(x.shape());
  std::vector<std::vector<std::vector<ResizeTap>>> taps(static_cast<size_t>(rank));
  for (int a = 0; a < rank; ++a) {
    const auto i = static_cast<size_t>(a);
    for (int64_t o = 0; o < y.size(a + 2); ++o) {
      taps[i].push_back(resize_taps(mode, rank, o, y.size(a + 2), x.size(a + 2), align_corners,
                                    scales.empty() ? 0.0 : scales[i]));
    }
  }
  const bool moves = mode == ResizeMode::kNearest || mode == ResizeMode::kNearestExact;
  for (IndexWalk at(y.shape()); !at.done(); at.next()) {
    const int64_t base = at[0] * strides[0] + at[1] * strides[1];
    std::vector<int64_t> tap_counts;
    for (int a = 0; a < rank; ++a) {
      const auto i = static_cast<size_t>(a);
      tap_counts.push_back(static_cast<int64_t>(taps[i][static_cast<size_t>(at[a + 2])].size()));
    }
    double sum = 0;
    for (IndexWalk tap(tap_counts); !tap.done(); tap.next()) {
      int64_t position = base;
      double weight = 1;
      for (int a = 0; a < rank; ++a) {
        const auto i = static_cast<size_t>(a);
        const ResizeTap& one = taps[i][static_cast<size_t>(at[a + 2])][static_cast<size_t>(tap[a])];
        position += one.index * strides[i + 2];
        weight *= one.weight;
      }
      if (moves) {
        copy_element(x, position, y, at.flat());
      } else {
        sum += weight * x.get_double(position);
      }
    }
    if (!moves) y.set_double(at.flat(), sum);
  }
  return {};
}

Result<std::vector<Value*>> to_aten(Node& node, AtenEmitter& emit) {
  const std::string& mode = node.get_string("mode");
  const Shape& size = node.get_dims("size");
  const auto& scales = std::get<std::vector<double>>(node.attr("scales"));
  std::string name = "aten::upsample_" + mode;
  if (mode == "nearest_exact") name = "aten::_upsample_nearest_exact";
  name += std::to_string(size.size()) + "d";
  std::vector<AtenEmitter::Arg> args{node.operand(0), dims_arg(size)};
  if (mode_rank(mode) != 0) args.emplace_back(node.get_bool("align_corners"));
  for (size_t i = 0; i < size.size(); ++i) {
    args.emplace_back(scales.empty() || scales[i] == 0 ? none_arg() : CallArg(scales[i]));
  }
  return emit.call(name, "", std::move(args), {node.result()->type});
}

std::vector<OpSample> samples() {
  auto f32 = [](Shape shape) { return tensor_of(DType::kF32, std::move(shape)); };
  auto attrs = [](std::string mode, Shape size, bool align_corners = false,
                  std::vector<double> scales = {}) {
    return AttrList{{"mode", std::move(mode)},
                    {"size", std::move(size)},
                    {"align_corners", align_corners},
                    {"scales", std::move(scales)}};
  };
  const DimExpr batch = DimExpr::symbol("b");
  const DimExpr height = DimExpr::symbol("h");
  std::vector<OpSample> list{
      make_sample("nearest, twice the size", {f32({2, 5, 7, 9})}, attrs("nearest", {14, 18})),
      make_sample("nearest, odd ratio up and down", {f32({1, 3, 7, 13})},
                  attrs("nearest", {11, 5})),
      make_sample("nearest with the user's scale instead of the size ratio", {f32({1, 2, 7, 7})},
                  attrs("nearest", {10, 10}, false, {1.5, 1.5})),
      make_sample("nearest, one spatial axis", {f32({2, 3, 10})}, attrs("nearest", {23})),
      make_sample("nearest, three spatial axes", {f32({1, 2, 3, 4, 5})},
                  attrs("nearest", {5, 7, 10})),
      make_sample("nearest_exact looks from the centre", {f32({1, 3, 7, 13})},
                  attrs("nearest_exact", {11, 5})),
      make_sample("nearest to the same size under a scale above one", {f32({1, 3, 9, 8})},
                  attrs("nearest", {9, 16}, false, {1.05, 2.1})),
      make_sample("nearest_exact to the same size and twice the size under larger scales",
                  {f32({1, 2, 3, 4})}, attrs("nearest_exact", {3, 8}, false, {1.3, 2.2})),
      make_sample("nearest to the same size under a scale above one, one spatial axis",
                  {f32({1, 2, 3})}, attrs("nearest", {3}, false, {1.3})),
      make_sample("bilinear to the same size under a scale above one", {f32({1, 3, 9, 8})},
                  attrs("bilinear", {9, 8}, false, {1.05, 1.05})),
      make_sample("linear", {f32({2, 3, 9})}, attrs("linear", {20})),
      make_sample("bilinear, twice the size", {f32({2, 5, 7, 9})}, attrs("bilinear", {14, 18})),
      make_sample("bilinear, down, no anti-aliasing", {f32({1, 3, 17, 19})},
                  attrs("bilinear", {5, 7})),
      make_sample("bilinear with aligned corners", {f32({1, 3, 6, 5})},
                  attrs("bilinear", {13, 9}, true)),
      make_sample("bilinear with aligned corners to one element", {f32({1, 3, 6, 5})},
                  attrs("bilinear", {1, 9}, true)),
      make_sample("bilinear with the user's scale", {f32({1, 2, 7, 5})},
                  attrs("bilinear", {16, 11}, false, {2.3, 2.3})),
      make_sample("bicubic up: positional embeddings", {f32({1, 4, 7, 7})},
                  attrs("bicubic", {12, 10})),
      make_sample("bicubic down with aligned corners", {f32({1, 2, 11, 13})},
                  attrs("bicubic", {6, 7}, true)),
      make_sample("trilinear", {f32({1, 2, 3, 4, 5})}, attrs("trilinear", {6, 7, 8})),
      make_sample("trilinear with aligned corners", {f32({1, 2, 3, 4, 5})},
                  attrs("trilinear", {6, 7, 8}, true)),
      make_sample("dynamic batch and height, size follows", {f32({batch, 3, height, 8})},
                  attrs("bilinear", {height * 2, 16})),
  };
  for (DType dtype : {DType::kF64, DType::kF16, DType::kBF16}) {
    list.push_back(make_sample("dtype " + std::string(dtype_name(dtype)),
                               {tensor_of(dtype, {1, 8, 7, 7})}, attrs("bilinear", {11, 13})));
    // Torch rounds the weights to the dtype.
    if (is_half(dtype)) list.back().tolerance *= 2;
  }
  return list;
}

}  // namespace

KILN_OP(resize) {
  OpDef def;
  def.formula = "y[n,c,p] = sum_t weight(p,t) * x[n,c,index(p,t)], taps by mode along each axis";
  def.operand_names = {"x"};
  def.fields = {
      required_string("mode",
                      "nearest, nearest_exact (one to three spatial axes), linear (one), bilinear, "
                      "bicubic (two), trilinear (three)"),
      required_dims("size", "output size per spatial axis"),
      bool_field("align_corners", false,
                 "corner elements keep their place; otherwise the borders of the image do"),
      make_field(AttrKind::kFloats, "scales", std::vector<double>{}, false,
                 "output / input per spatial axis as the user gave it, used for positions instead "
                 "of the ratio of the sizes; empty, or 0 for an axis: the ratio"),
  };
  def.infer = infer;
  def.reference = reference;
  def.to_aten = to_aten;
  def.samples = samples;
  return def;
}

}  // namespace kiln

// conv_transpose: the transpose (gradient) of conv, as used for upsampling.
#include <algorithm>

#include "ops/aten_args.h"
#include "ops/dtype_class.h"
#include "ops/fields.h"
#include "ops/operand_checks.h"
#include "ops/reference_data.h"
#include "ops/sample_types.h"
#include "ops/window.h"

namespace kiln {
namespace {

using Ints = std::vector<int64_t>;

Ints output_padding_of(const Ints& field, int rank) {
  return field.empty() ? Ints(static_cast<size_t>(rank), 0) : field;
}

Result<std::vector<Type>> infer(const OpContext& c) {
  KILN_RETURN_IF_ERROR(check_rank(c, 0, 3, 5));
  const TensorType& x = c.tensor(0);
  const TensorType& weight = c.tensor(1);
  KILN_RETURN_IF_ERROR(check_rank(c, 1, x.rank(), x.rank()));
  KILN_RETURN_IF_ERROR(check_rank(c, 2, 1, 1));
  KILN_RETURN_IF_ERROR(check_dtype(c, 0, DTypeClass::kFloat));
  KILN_RETURN_IF_ERROR(check_same_dtype(c, 0, 1));
  KILN_RETURN_IF_ERROR(check_same_dtype(c, 0, 2));
  KILN_ASSIGN_OR_RETURN(const Window window, infer_conv_window(c));
  const int64_t groups = c.get_int("groups");
  if (groups < 1) return refuse(c, "K2205", "groups is not positive: " + std::to_string(groups));
  const Ints& extra = c.get_ints("output_padding");
  if (!extra.empty() && static_cast<int>(extra.size()) != window.rank()) {
    return refuse(c, "K2205", "output_padding has not one entry per spatial axis");
  }
  const Ints output_padding = output_padding_of(extra, window.rank());
  KILN_RETURN_IF_ERROR(
      check_equal_dims(c, "channels of x and weight", x.shape[1], weight.shape[0]));
  DimExpr per_group;
  if (!DimExpr::divide_exactly(x.shape[1], groups, &per_group)) {
    return refuse(c, "K2204", "groups do not divide the input channels: " + x.shape[1].to_string());
  }
  const DimExpr channels = weight.shape[1] * groups;
  if (c.has(2)) {
    KILN_RETURN_IF_ERROR(
        check_equal_dims(c, "bias and output channels", c.tensor(2).shape[0], channels));
  }
  Shape shape{x.shape[0], channels};
  for (int axis = 0; axis < window.rank(); ++axis) {
    const auto i = static_cast<size_t>(axis);
    if (output_padding[i] < 0 ||
        output_padding[i] >= std::max(window.stride[i], window.dilation[i])) {
      return refuse(
          c, "K2205",
          "output_padding is not below stride or dilation: " + std::to_string(output_padding[i]));
    }
    const DimExpr size = (x.shape[2 + i] - 1) * window.stride[i] +
                         DimExpr(window.extent(axis) - window.padding_low[i] -
                                 window.padding_high[i] + output_padding[i]);
    if (size.is_constant() && size.value() < 1) {
      return refuse(c, "K2204", "padding removes the whole output, size " + size.to_string());
    }
    shape.push_back(size);
  }
  return std::vector<Type>{tensor_like(c, 0, x.dtype, std::move(shape))};
}

// Scatters every input element times the window into an fp64 image of the output.
Status reference(const ReferenceContext& c) {
  const Window window = conv_window(*c.node);
  const int rank = window.rank();
  const std::vector<double> x = doubles_of(c.in(0));
  const std::vector<double> weight = doubles_of(c.in(1));
  HostTensor& y = c.out();
  const int64_t groups = c.node->get_int("groups");
  const int64_t group_in = c.in(0).size(1) / groups;
  const int64_t group_out = y.size(1) / groups;
  const Ints strides = row_major_strides(y.shape());
  std::vector<double> sum(static_cast<size_t>(y.num_elements()), 0.0);
  int64_t taps = 1;
  for (int64_t k : window.kernel) taps *= k;
  for (IndexWalk in(c.in(0).shape()); !in.done(); in.next()) {
    for (IndexWalk tap(window.kernel); !tap.done(); tap.next()) {
      int64_t at = in[0] * strides[0];
      bool inside = true;
      for (int a = 0; a < rank && inside; ++a) {
        const auto i = static_cast<size_t>(a);
        const int64_t p =
            in[2 + a] * window.stride[i] - window.padding_low[i] + tap[a] * window.dilation[i];
        inside = p >= 0 && p < y.size(2 + a);
        at += p * strides[i + 2];
      }
      if (!inside) continue;
      const int64_t first = in[1] / group_in * group_out;
      for (int64_t o = 0; o < group_out; ++o) {
        sum[static_cast<size_t>(at + (first + o) * strides[1])] +=
            x[static_cast<size_t>(in.flat())] *
            weight[static_cast<size_t>((in[1] * group_out + o) * taps + tap.flat())];
      }
    }
  }
  for (IndexWalk at(y.shape()); !at.done(); at.next()) {
    const double bias = c.has(2) ? c.in(2).get_double(at[1]) : 0.0;
    y.set_double(at.flat(), sum[static_cast<size_t>(at.flat())] + bias);
  }
  return {};
}

// ATen crops both ends alike. An end that is cropped more becomes a slice after it; when the high
// end is cropped less, the extra rows fit in no output_padding in general, so nothing is cropped
// there and the slice does it all.
Result<std::vector<Value*>> to_aten(Node& node, AtenEmitter& emit) {
  const Window window = conv_window(node);
  const int rank = window.rank();
  const Ints output_padding = output_padding_of(node.get_ints("output_padding"), rank);
  const bool same = window.padding_low == window.padding_high;
  TensorType type = node.result()->tensor();
  Ints padding = window.padding_low;
  if (!same) {
    type.layout = {};
    padding.assign(padding.size(), 0);
    for (int a = 0; a < rank; ++a) {
      const auto i = static_cast<size_t>(a);
      type.shape[i + 2] += DimExpr(window.padding_low[i] + window.padding_high[i]);
    }
  }
  Value* y = emit.call("aten::convolution", "",
                       {node.operand(0), node.operand(1), optional_arg(node, 2),
                        ints_arg(window.stride), ints_arg(padding), ints_arg(window.dilation), true,
                        ints_arg(output_padding), node.get_int("groups")},
                       {type})[0];
  for (int a = 0; a < rank && !same; ++a) {
    const auto i = static_cast<size_t>(a);
    const DimExpr& size = node.result()->shape()[i + 2];
    type.shape[i + 2] = size;
    y = emit.call(
        "aten::slice", "Tensor",
        {y, int64_t{a + 2}, window.padding_low[i], size + window.padding_low[i], int64_t{1}},
        {type})[0];
  }
  return std::vector<Value*>{y};
}

std::vector<OpSample> samples() {
  auto f32 = [](Shape shape) { return tensor_of(DType::kF32, std::move(shape)); };
  auto attrs = [](Ints stride, Ints padding, Ints output_padding, Ints dilation, int64_t groups) {
    return AttrList{{"stride", stride},
                    {"padding", padding},
                    {"output_padding", output_padding},
                    {"dilation", dilation},
                    {"groups", groups}};
  };
  std::vector<OpSample> list;
  auto add = [&list](std::string why, std::vector<std::optional<Type>> operands, AttrList a) {
    list.push_back(make_sample(std::move(why), std::move(operands), std::move(a)));
  };
  const DimExpr batch = DimExpr::symbol("b");
  const DimExpr height = DimExpr::symbol("h");
  add("decoder of a U-Net: 2x2 stride 2, windows do not overlap",
      {f32({1, 6, 5, 7}), f32({6, 4, 2, 2}), f32({4})}, attrs({2, 2}, {0, 0}, {0, 0}, {1, 1}, 1));
  add("generator of a GAN: 4x4 stride 2, windows overlap", {f32({2, 5, 4, 3}), f32({5, 7, 4, 4})},
      attrs({2, 2}, {1, 1}, {0, 0}, {1, 1}, 1));
  add("output padding", {f32({1, 3, 4, 4}), f32({3, 5, 3, 3}), f32({5})},
      attrs({2, 2}, {1, 1}, {1, 1}, {1, 1}, 1));
  add("groups and dilation, different per axis", {f32({1, 4, 5, 6}), f32({4, 3, 3, 2}), f32({6})},
      attrs({1, 2}, {1, 0}, {0, 1}, {2, 1}, 2));
  add("stride 1 is conv with a flipped window", {f32({1, 3, 6, 6}), f32({3, 4, 3, 3})}, {});
  add("one spatial axis", {f32({2, 4, 9}), f32({4, 3, 4}), f32({3})}, attrs({2}, {1}, {0}, {1}, 1));
  add("three spatial axes", {f32({1, 3, 3, 4, 2}), f32({3, 2, 2, 3, 2})},
      attrs({2, 1, 2}, {0, 1, 0}, {0, 0, 1}, {1, 1, 1}, 1));
  {
    AttrList a = attrs({2, 2}, {0, 1}, {0, 0}, {1, 1}, 1);
    a.emplace_back("padding_high", Ints{1, 0});
    add("cropped at one end only", {f32({1, 3, 4, 4}), f32({3, 4, 3, 3})}, a);
  }
  add("dynamic batch and height", {f32({batch, 4, height, 5}), f32({4, 4, 2, 2}), f32({4})},
      attrs({2, 2}, {0, 0}, {0, 0}, {1, 1}, 1));
  add("dtype bf16", {Type(DType::kBF16, {1, 4, 5, 5}), Type(DType::kBF16, {4, 4, 2, 2})},
      attrs({2, 2}, {0, 0}, {0, 0}, {1, 1}, 1));
  add("dtype f64", {Type(DType::kF64, {1, 4, 5, 5}), Type(DType::kF64, {4, 4, 3, 3})},
      attrs({2, 2}, {1, 1}, {0, 0}, {1, 1}, 1));
  return list;
}

}  // namespace

KILN_OP(conv_transpose) {
  OpDef def;
  def.formula =
      "y[n, o, p*stride - padding + t*dilation] += x[n,c,p] * weight[c,o,t], then + bias[o]";
  def.traits = kAnchor;
  def.min_operands = 2;
  def.max_operands = 3;
  def.operand_names = {"x", "weight", "bias"};
  def.fields = {
      ints_field("stride", {},
                 "distance of neighbouring inputs in the output, per spatial axis; empty: 1"),
      ints_field("padding", {},
                 "elements cropped from the start of each spatial axis of the output; empty: 0"),
      ints_field("padding_high", {},
                 "elements cropped from the end of each spatial axis; empty: as padding"),
      ints_field("output_padding", {}, "elements added to the end of each spatial axis; empty: 0"),
      ints_field("dilation", {}, "distance between taps per axis; empty: 1"),
      int_field("groups", 1, "channel groups"),
  };
  def.infer = infer;
  def.reference = reference;
  def.to_aten = to_aten;
  def.samples = samples;
  return def;
}

}  // namespace kiln

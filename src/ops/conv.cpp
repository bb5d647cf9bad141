// conv: cross-correlation over one to three spatial axes.
#include <array>

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
  KILN_RETURN_IF_ERROR(
      check_equal_dims(c, "channels of x and weight", x.shape[1], weight.shape[1] * groups));
  const DimExpr& channels = weight.shape[0];
  DimExpr per_group;
  if (!DimExpr::divide_exactly(channels, groups, &per_group)) {
    return refuse(c, "K2204", "groups do not divide the output channels: " + channels.to_string());
  }
  if (c.has(2)) {
    KILN_RETURN_IF_ERROR(
        check_equal_dims(c, "bias and output channels", c.tensor(2).shape[0], channels));
  }
  KILN_ASSIGN_OR_RETURN(const Shape spatial, window_outputs(c, window, false));
  Shape shape{x.shape[0], channels};
  shape.insert(shape.end(), spatial.begin(), spatial.end());
  return std::vector<Type>{tensor_like(c, 0, x.dtype, std::move(shape))};
}

// Everything is brought to three spatial axes: missing ones have size 1 and a 1-wide window.
Status reference(const ReferenceContext& c) {
  Window window = conv_window(*c.node);
  const int missing = 3 - window.rank();
  for (int i = 0; i < missing; ++i) {
    for (Ints* ones : {&window.kernel, &window.stride, &window.dilation}) {
      ones->insert(ones->begin(), 1);
    }
    window.padding_low.insert(window.padding_low.begin(), 0);
    window.padding_high.insert(window.padding_high.begin(), 0);
  }
  auto spatial = [missing](const HostTensor& t) {
    std::array<int64_t, 3> sizes{1, 1, 1};
    for (int i = missing; i < 3; ++i) sizes[static_cast<size_t>(i)] = t.size(2 + i - missing);
    return sizes;
  };
  const std::array<int64_t, 3> in = spatial(c.in(0));
  const std::array<int64_t, 3> out = spatial(c.out());
  const std::vector<double> x = doubles_of(c.in(0));
  const std::vector<double> weight = doubles_of(c.in(1));
  const int64_t groups = c.node->get_int("groups");
  const int64_t channels = c.in(0).size(1);
  const int64_t channels_out = c.out().size(1);
  const int64_t group_in = channels / groups;
  const int64_t group_out = channels_out / groups;
  const int64_t taps = window.kernel[0] * window.kernel[1] * window.kernel[2];
  const int64_t plane = in[0] * in[1] * in[2];
  for (IndexWalk at({c.out().size(0), channels_out, out[0], out[1], out[2]}); !at.done();
       at.next()) {
    std::array<TapRange, 3> range;
    for (int a = 0; a < 3; ++a) {
      range[static_cast<size_t>(a)] = taps_inside(window, a, at[2 + a], in[static_cast<size_t>(a)]);
    }
    double sum = c.has(2) ? c.in(2).get_double(at[1]) : 0.0;
    const int64_t first_channel = at[1] / group_out * group_in;
    for (int64_t ci = 0; ci < group_in; ++ci) {
      const double* input = x.data() + (at[0] * channels + first_channel + ci) * plane;
      const double* filter = weight.data() + (at[1] * group_in + ci) * taps;
      for (int64_t d = range[0].first_tap; d < range[0].last_tap; ++d) {
        const int64_t id = range[0].start + d * window.dilation[0];
        for (int64_t h = range[1].first_tap; h < range[1].last_tap; ++h) {
          const int64_t ih = range[1].start + h * window.dilation[1];
          for (int64_t w = range[2].first_tap; w < range[2].last_tap; ++w) {
            const int64_t iw = range[2].start + w * window.dilation[2];
            sum += input[(id * in[1] + ih) * in[2] + iw] *
                   filter[(d * window.kernel[1] + h) * window.kernel[2] + w];
          }
        }
      }
    }
    c.out().set_double(at.flat(), sum);
  }
  return {};
}

// ATen's convolution pads both ends alike; other padding is a constant_pad_nd before it.
Result<std::vector<Value*>> to_aten(Node& node, AtenEmitter& emit) {
  const Window window = conv_window(node);
  Value* x = node.operand(0);
  Ints padding = window.padding_low;
  if (window.padding_low != window.padding_high) {
    TensorType padded = x->tensor();
    padded.layout = {};
    Ints pad;  // last axis first, low then high
    for (size_t i = window.kernel.size(); i-- > 0;) {
      pad.insert(pad.end(), {window.padding_low[i], window.padding_high[i]});
      padded.shape[i + 2] += DimExpr(window.padding_low[i] + window.padding_high[i]);
    }
    x = emit.call("aten::constant_pad_nd", "", {x, ints_arg(pad), 0.0}, {padded})[0];
    padding.assign(padding.size(), 0);
  }
  return emit.call(
      "aten::convolution", "",
      {x, node.operand(1), optional_arg(node, 2), ints_arg(window.stride), ints_arg(padding),
       ints_arg(window.dilation), false, ints_arg(Ints(padding.size(), 0)), node.get_int("groups")},
      {node.result()->type});
}

std::vector<OpSample> samples() {
  auto f32 = [](Shape shape) { return tensor_of(DType::kF32, std::move(shape)); };
  auto attrs = [](Ints stride, Ints padding, Ints dilation, int64_t groups) {
    return AttrList{
        {"stride", stride}, {"padding", padding}, {"dilation", dilation}, {"groups", groups}};
  };
  const DimExpr batch = DimExpr::symbol("b");
  const DimExpr height = DimExpr::symbol("h");
  std::vector<OpSample> list;
  auto add = [&list](std::string why, std::vector<std::optional<Type>> operands, AttrList a) {
    list.push_back(make_sample(std::move(why), std::move(operands), std::move(a)));
  };
  add("first layer of a residual net: 3 channels, 7x7, stride 2",
      {f32({1, 3, 37, 41}), f32({16, 3, 7, 7}), f32({16})}, attrs({2, 2}, {3, 3}, {1, 1}, 1));
  add("first layer of a net for phones: 3x3 over 3 channels, dynamic height",
      {Type(DType::kF16, {1, 3, height + 3, 15}), Type(DType::kF16, {16, 3, 3, 3}),
       Type(DType::kF16, {16})},
      attrs({2, 2}, {1, 1}, {1, 1}, 1));
  add("3x3 with no multiple of a vector in any size", {f32({2, 5, 9, 11}), f32({7, 5, 3, 3})},
      attrs({1, 1}, {1, 1}, {1, 1}, 1));
  add("3x3 at full channel blocks", {f32({1, 64, 14, 14}), f32({64, 64, 3, 3}), f32({64})},
      attrs({1, 1}, {1, 1}, {1, 1}, 1));
  add("1x1 is a matrix product", {f32({2, 33, 7, 5}), f32({17, 33, 1, 1}), f32({17})}, {});
  add("1x1 with stride skips pixels", {f32({1, 16, 15, 15}), f32({32, 16, 1, 1})},
      attrs({2, 2}, {0, 0}, {1, 1}, 1));
  add("depthwise 5x5 stride 2 with channels off the vector width",
      {f32({1, 19, 23, 21}), f32({19, 1, 5, 5}), f32({19})}, attrs({2, 2}, {2, 2}, {1, 1}, 19));
  add("depthwise with a channel multiplier", {f32({1, 6, 8, 8}), f32({12, 1, 3, 3})},
      attrs({1, 1}, {1, 1}, {1, 1}, 6));
  add("depthwise over whole vectors of channels, dynamic height",
      {Type(DType::kF16, {1, 16, height, 11}), Type(DType::kF16, {16, 1, 3, 3}),
       Type(DType::kF16, {16})},
      attrs({1, 1}, {1, 1}, {1, 1}, 16));
  add("depthwise with stride and holes, dynamic height",
      {f32({1, 8, height + 4, 13}), f32({8, 1, 2, 3})}, attrs({1, 2}, {0, 2}, {2, 2}, 8));
  add("depthwise with a long window", {f32({1, 4, height, 21}), f32({4, 1, 1, 9}), f32({4})},
      attrs({1, 1}, {0, 4}, {1, 1}, 4));
  add("grouped, neither dense nor depthwise", {f32({2, 12, 9, 9}), f32({18, 4, 3, 3}), f32({18})},
      attrs({1, 1}, {1, 1}, {1, 1}, 3));
  add("dilation, different per axis", {f32({1, 4, 17, 19}), f32({5, 4, 3, 3}), f32({5})},
      attrs({1, 2}, {2, 3}, {2, 3}, 1));
  add("padding larger than the window: outputs that see padding only",
      {f32({1, 2, 3, 3}), f32({3, 2, 2, 2}), f32({3})}, attrs({1, 1}, {3, 3}, {1, 1}, 1));
  {
    AttrList a = attrs({2, 2}, {0, 0}, {1, 1}, 1);
    a.emplace_back("padding_high", Ints{1, 1});
    add("padding at one end only, as 'same' needs", {f32({1, 3, 16, 16}), f32({8, 3, 3, 3})}, a);
  }
  add("patch embedding: the stride is the window",
      {f32({1, 3, 32, 32}), f32({24, 3, 16, 16}), f32({24})}, attrs({16, 16}, {0, 0}, {1, 1}, 1));
  add("one spatial axis", {f32({2, 8, 31}), f32({6, 8, 4}), f32({6})}, attrs({3}, {2}, {1}, 1));
  add("three spatial axes", {f32({1, 3, 5, 6, 7}), f32({4, 3, 3, 2, 3}), f32({4})},
      attrs({1, 2, 1}, {1, 0, 1}, {1, 1, 1}, 1));
  add("empty batch", {f32({0, 3, 8, 8}), f32({4, 3, 3, 3})}, {});
  add("dynamic batch", {f32({batch, 8, 10, 10}), f32({16, 8, 3, 3}), f32({16})},
      attrs({1, 1}, {1, 1}, {1, 1}, 1));
  add("dynamic height: the output size is a floor division",
      {f32({batch, 3, height + 8, 12}), f32({4, 3, 3, 3})}, attrs({2, 2}, {1, 1}, {1, 1}, 1));
  for (DType dtype : {DType::kF64, DType::kF16, DType::kBF16}) {
    add("dtype " + std::string(dtype_name(dtype)),
        {Type(dtype, {1, 8, 9, 9}), Type(dtype, {8, 8, 3, 3}), Type(dtype, {8})},
        attrs({1, 1}, {1, 1}, {1, 1}, 1));
  }
  OpSample exact;
  exact.why = "small integers: every order of summation gives the same bits";
  exact.operands = {f32({1, 16, 8, 8}), f32({24, 16, 3, 3}), f32({24})};
  exact.attrs = attrs({1, 1}, {1, 1}, {1, 1}, 1);
  exact.fill = {OpSample::Fill::kSmallIntegers, OpSample::Fill::kSmallIntegers,
                OpSample::Fill::kSmallIntegers};
  exact.tolerance = 0;
  list.push_back(exact);
  return list;
}

}  // namespace

KILN_OP(conv) {
  OpDef def;
  def.formula =
      "y[n,o,p] = bias[o] + sum_{c,t} x[n, c + group(o), p*stride - padding + t*dilation] * "
      "weight[o,c,t], zero outside x";
  def.traits = kAnchor;
  def.min_operands = 2;
  def.max_operands = 3;
  def.operand_names = {"x", "weight", "bias"};
  def.fields = {
      ints_field("stride", {}, "step per spatial axis, in elements; empty: 1"),
      ints_field("padding", {}, "zeros before the first element of each spatial axis; empty: 0"),
      ints_field("padding_high", {},
                 "zeros after the last element of each spatial axis; empty: as padding"),
      ints_field("dilation", {}, "distance between taps per axis; empty: 1"),
      int_field(
          "groups", 1,
          "channel groups; output channel o sees the input channels of group o / (O / groups)"),
  };
  def.infer = infer;
  def.reference = reference;
  def.to_aten = to_aten;
  def.samples = samples;
  return def;
}

}  // namespace kiln

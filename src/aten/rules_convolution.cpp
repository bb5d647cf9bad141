// Convolutions and transposed convolutions, of a batch or of one sample.
#include "aten/view_nodes.h"

namespace kiln {
namespace {

int spatial_rank(ImportCall& call) {
  const int rank = rank_of(call.tensor(1)) - 2;
  if (rank < 1) call.refuse("weight has no spatial axes");
  return rank;
}

// One sample becomes a batch of one, and its result a sample again.
Value* with_batch(ImportCall& call, Value* x, int spatial) {
  return rank_of(x) == spatial + 1 ? emit_unsqueeze(call, x, 0) : x;
}
void finish(ImportCall& call, Value* y, int spatial) {
  if (rank_of(call.tensor(0)) == spatial + 1) {
    y = call.reshape(y, Shape(y->shape().begin() + 1, y->shape().end()));
  }
  call.result(y);
}

struct Geometry {
  std::vector<int64_t> stride, padding, padding_high, dilation, output_padding;
  int64_t groups = 1;
};

void emit_convolution(ImportCall& call, const Geometry& g, bool transposed) {
  const int spatial = spatial_rank(call);
  Value* x = with_batch(call, call.tensor(0), spatial);
  AttrList attrs{
      {"stride", g.stride}, {"padding", g.padding}, {"dilation", g.dilation}, {"groups", g.groups}};
  if (!g.padding_high.empty()) attrs.emplace_back("padding_high", g.padding_high);
  if (transposed) attrs.emplace_back("output_padding", g.output_padding);
  finish(call,
         call.emit(transposed ? "conv_transpose" : "conv",
                   {x, call.tensor(1), call.tensor_or_null(2)}, std::move(attrs)),
         spatial);
}

void conv(ImportCall& call) {
  const int spatial = spatial_rank(call);
  emit_convolution(call,
                   {call.integers(3, spatial),
                    call.integers(4, spatial),
                    {},
                    call.integers(5, spatial),
                    {},
                    call.integer(6)},
                   false);
}
KILN_ATEN_RULE(conv,
               "aten::conv1d(Tensor input, Tensor weight, Tensor? bias=None, SymInt[1] "
               "stride=[1], SymInt[1] padding=[0], SymInt[1] dilation=[1], SymInt groups=1) -> "
               "Tensor");
KILN_ATEN_RULE(conv,
               "aten::conv2d(Tensor input, Tensor weight, Tensor? bias=None, SymInt[2] "
               "stride=[1, 1], SymInt[2] padding=[0, 0], SymInt[2] dilation=[1, 1], SymInt "
               "groups=1) -> Tensor");
KILN_ATEN_RULE(conv,
               "aten::conv3d(Tensor input, Tensor weight, Tensor? bias=None, SymInt[3] "
               "stride=[1, 1, 1], SymInt[3] padding=[0, 0, 0], SymInt[3] dilation=[1, 1, 1], "
               "SymInt groups=1) -> Tensor");

// padding="same" pads the odd element at the end.
void conv_padding(ImportCall& call) {
  const int spatial = spatial_rank(call);
  Geometry g{call.integers(3, spatial), {}, {}, call.integers(5, spatial), {}, call.integer(6)};
  const std::string mode = call.text(4);
  for (int i = 0; i < spatial; ++i) {
    const auto at = static_cast<size_t>(i);
    const DimExpr& kernel = call.tensor(1)->shape()[at + 2];
    if (!kernel.is_constant()) call.refuse("kernel size is symbolic", "K1303");
    const int64_t total = mode == "same" ? g.dilation[at] * (kernel.value() - 1) : 0;
    if (mode == "same" && g.stride[at] != 1) call.refuse("padding 'same' with a stride");
    g.padding.push_back(total / 2);
    g.padding_high.push_back(total - total / 2);
  }
  if (g.padding == g.padding_high) g.padding_high.clear();
  if (mode != "same" && mode != "valid") call.refuse("unknown padding: " + mode);
  emit_convolution(call, g, false);
}
KILN_ATEN_RULE(conv_padding,
               "aten::conv1d.padding(Tensor input, Tensor weight, Tensor? bias=None, SymInt[1] "
               "stride=[1], str padding=\"valid\", SymInt[1] dilation=[1], SymInt groups=1) -> "
               "Tensor");
KILN_ATEN_RULE(conv_padding,
               "aten::conv2d.padding(Tensor input, Tensor weight, Tensor? bias=None, SymInt[2] "
               "stride=[1, 1], str padding=\"valid\", SymInt[2] dilation=[1, 1], SymInt "
               "groups=1) -> Tensor");
KILN_ATEN_RULE(conv_padding,
               "aten::conv3d.padding(Tensor input, Tensor weight, Tensor? bias=None, SymInt[3] "
               "stride=[1, 1, 1], str padding=\"valid\", SymInt[3] dilation=[1, 1, 1], SymInt "
               "groups=1) -> Tensor");

void conv_transpose(ImportCall& call) {
  const int spatial = spatial_rank(call);
  emit_convolution(call,
                   {call.integers(3, spatial),
                    call.integers(4, spatial),
                    {},
                    call.integers(7, spatial),
                    call.integers(5, spatial),
                    call.integer(6)},
                   true);
}
KILN_ATEN_RULE(conv_transpose,
               "aten::conv_transpose1d(Tensor input, Tensor weight, Tensor? bias=None, SymInt[1] "
               "stride=[1], SymInt[1] padding=[0], SymInt[1] output_padding=[0], SymInt "
               "groups=1, SymInt[1] dilation=[1]) -> Tensor");
KILN_ATEN_RULE(conv_transpose,
               "aten::conv_transpose2d.input(Tensor input, Tensor weight, Tensor? bias=None, "
               "SymInt[2] stride=[1, 1], SymInt[2] padding=[0, 0], SymInt[2] output_padding=[0, "
               "0], SymInt groups=1, SymInt[2] dilation=[1, 1]) -> Tensor");
KILN_ATEN_RULE(conv_transpose,
               "aten::conv_transpose3d.input(Tensor input, Tensor weight, Tensor? bias=None, "
               "SymInt[3] stride=[1, 1, 1], SymInt[3] padding=[0, 0, 0], SymInt[3] "
               "output_padding=[0, 0, 0], SymInt groups=1, SymInt[3] dilation=[1, 1, 1]) -> "
               "Tensor");

void convolution(ImportCall& call) {
  const int spatial = spatial_rank(call);
  emit_convolution(call,
                   {call.integers(3, spatial),
                    call.integers(4, spatial),
                    {},
                    call.integers(5, spatial),
                    call.integers(7, spatial),
                    call.integer(8)},
                   call.boolean(6));
}
KILN_ATEN_RULE(convolution,
               "aten::convolution(Tensor input, Tensor weight, Tensor? bias, SymInt[] stride, "
               "SymInt[] padding, SymInt[] dilation, bool transposed, SymInt[] output_padding, "
               "SymInt groups) -> Tensor");
KILN_ATEN_RULE(convolution,
               "aten::_convolution(Tensor input, Tensor weight, Tensor? bias, SymInt[] stride, "
               "SymInt[] padding, SymInt[] dilation, bool transposed, SymInt[] output_padding, "
               "SymInt groups, bool benchmark, bool deterministic, bool cudnn_enabled, bool "
               "allow_tf32) -> Tensor");

}  // namespace
}  // namespace kiln

// Pooling. Values and indices of a maximum pool are two nodes, so that unread indices cost nothing.
#include "aten/view_nodes.h"

namespace kiln {
namespace {

AttrList window_attrs(ImportCall& call, int spatial) {
  AttrList attrs{{"kernel", call.integers(1, spatial)}};
  if (!call.integers(2).empty()) attrs.emplace_back("stride", call.integers(2, spatial));
  attrs.emplace_back("padding", call.integers(3, spatial));
  return attrs;
}

template <int kSpatial, bool kIndices>
void max_pool(ImportCall& call) {
  AttrList attrs = window_attrs(call, kSpatial);
  attrs.emplace_back("dilation", call.integers(4, kSpatial));
  attrs.emplace_back("ceil_mode", call.boolean(5));
  call.result(call.emit("max_pool", {call.tensor(0)}, attrs));
  if (!kIndices) return;
  attrs.emplace_back("with_indices", true);
  call.result(call.emit_node("max_pool", {call.tensor(0)}, attrs)->result(1));
}
KILN_ATEN_RULE((max_pool<1, false>),
               "aten::max_pool1d(Tensor self, int[1] kernel_size, int[1] stride=[], int[1] "
               "padding=[0], int[1] dilation=[1], bool ceil_mode=False) -> Tensor");
KILN_ATEN_RULE((max_pool<2, false>),
               "aten::max_pool2d(Tensor self, int[2] kernel_size, int[2] stride=[], int[2] "
               "padding=0, int[2] dilation=1, bool ceil_mode=False) -> Tensor");
KILN_ATEN_RULE((max_pool<3, false>),
               "aten::max_pool3d(Tensor self, int[3] kernel_size, int[3] stride=[], int[3] "
               "padding=0, int[3] dilation=1, bool ceil_mode=False) -> Tensor");
KILN_ATEN_RULE((max_pool<1, true>),
               "aten::max_pool1d_with_indices(Tensor self, int[1] kernel_size, int[1] stride=[], "
               "int[1] padding=[0], int[1] dilation=[1], bool ceil_mode=False) -> (Tensor, "
               "Tensor)");
KILN_ATEN_RULE((max_pool<2, true>),
               "aten::max_pool2d_with_indices(Tensor self, int[2] kernel_size, int[2] stride=[], "
               "int[2] padding=0, int[2] dilation=1, bool ceil_mode=False) -> (Tensor, Tensor)");
KILN_ATEN_RULE((max_pool<3, true>),
               "aten::max_pool3d_with_indices(Tensor self, int[3] kernel_size, int[3] stride=[], "
               "int[3] padding=0, int[3] dilation=1, bool ceil_mode=False) -> (Tensor, Tensor)");

template <int kSpatial>
void avg_pool(ImportCall& call) {
  AttrList attrs = window_attrs(call, kSpatial);
  attrs.emplace_back("ceil_mode", call.boolean(4));
  attrs.emplace_back("count_include_pad", call.boolean(5));
  if (kSpatial > 1 && !call.is_none(6)) {
    if (call.integer(6) == 0) call.refuse("divisor_override is zero");
    attrs.emplace_back("divisor_override", call.integer(6));
  }
  call.result(call.emit("avg_pool", {call.tensor(0)}, std::move(attrs)));
}
KILN_ATEN_RULE(avg_pool<1>,
               "aten::avg_pool1d(Tensor self, int[1] kernel_size, int[1] stride=[], int[1] "
               "padding=[0], bool ceil_mode=False, bool count_include_pad=True) -> Tensor");
KILN_ATEN_RULE(avg_pool<2>,
               "aten::avg_pool2d(Tensor self, int[2] kernel_size, int[2] stride=[], int[2] "
               "padding=0, bool ceil_mode=False, bool count_include_pad=True, int? "
               "divisor_override=None) -> Tensor");
KILN_ATEN_RULE(avg_pool<3>,
               "aten::avg_pool3d(Tensor self, int[3] kernel_size, int[3] stride=[], int[3] "
               "padding=0, bool ceil_mode=False, bool count_include_pad=True, int? "
               "divisor_override=None) -> Tensor");

// To size 1 it is the mean over the spatial axes.
template <int kSpatial>
void adaptive_avg_pool(ImportCall& call) {
  Value* x = call.tensor(0);
  const int rank = rank_of(x);
  if (rank < kSpatial) call.refuse("x has too few axes");
  std::vector<DimExpr> size = call.dims(1);
  if (size.size() == 1) size.resize(kSpatial, size[0]);
  if (size.size() != kSpatial) call.refuse("output_size has the wrong length");
  bool to_one = true;
  std::vector<int64_t> axes;
  for (int i = 0; i < kSpatial; ++i) {
    axes.push_back(rank - kSpatial + i);
    to_one = to_one && size[static_cast<size_t>(i)].is_value(1);
  }
  call.result(to_one ? emit_reduce(call, "reduce_mean", x, axes, true)
                     : call.emit("adaptive_avg_pool", {x}, {{"output_size", size}}));
}
KILN_ATEN_RULE(adaptive_avg_pool<1>,
               "aten::adaptive_avg_pool1d(Tensor self, int[1] output_size) -> Tensor");
KILN_ATEN_RULE(adaptive_avg_pool<2>,
               "aten::adaptive_avg_pool2d(Tensor self, SymInt[2] output_size) -> Tensor");
KILN_ATEN_RULE(adaptive_avg_pool<3>,
               "aten::adaptive_avg_pool3d(Tensor self, SymInt[3] output_size) -> Tensor");
KILN_ATEN_RULE(adaptive_avg_pool<2>,
               "aten::_adaptive_avg_pool2d(Tensor self, SymInt[2] output_size) -> Tensor");
KILN_ATEN_RULE(adaptive_avg_pool<3>,
               "aten::_adaptive_avg_pool3d(Tensor self, SymInt[3] output_size) -> Tensor");

template <int kSpatial>
void adaptive_max_pool(ImportCall& call) {
  std::vector<DimExpr> size = call.dims(1);
  if (size.size() == 1) size.resize(kSpatial, size[0]);
  Value* x = call.tensor(0);
  call.result(call.emit("adaptive_max_pool", {x}, {{"output_size", size}}));
  call.result(
      call.emit_node("adaptive_max_pool", {x}, {{"output_size", size}, {"with_indices", true}})
          ->result(1));
}
KILN_ATEN_RULE(adaptive_max_pool<1>,
               "aten::adaptive_max_pool1d(Tensor self, int[1] output_size) -> (Tensor, Tensor)");
KILN_ATEN_RULE(adaptive_max_pool<2>,
               "aten::adaptive_max_pool2d(Tensor self, int[2] output_size) -> (Tensor, Tensor)");
KILN_ATEN_RULE(adaptive_max_pool<3>,
               "aten::adaptive_max_pool3d(Tensor self, int[3] output_size) -> (Tensor, Tensor)");

}  // namespace
}  // namespace kiln

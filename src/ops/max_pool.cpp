// max_pool: the largest element of each window, and where it stands on request.
#include <cmath>
#include <limits>

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
  KILN_RETURN_IF_ERROR(check_dtype(c, 0, DTypeClass::kFloat));
  KILN_ASSIGN_OR_RETURN(const Window window, infer_pool_window(c));
  KILN_RETURN_IF_ERROR(check_rank(c, 0, window.rank() + 1, window.rank() + 2));
  KILN_ASSIGN_OR_RETURN(const Shape spatial, window_outputs(c, window, c.get_bool("ceil_mode")));
  const TensorType& x = c.tensor(0);
  Shape shape(x.shape.begin(), x.shape.end() - window.rank());
  shape.insert(shape.end(), spatial.begin(), spatial.end());
  std::vector<Type> types{tensor_like(c, 0, x.dtype, shape)};
  if (c.get_bool("with_indices")) types.push_back(tensor_like(c, 0, DType::kI64, shape));
  return types;
}

Status reference(const ReferenceContext& c) {
  const Window window = pool_window(*c.node);
  const int rank = window.rank();
  const bool with_indices = c.node->get_bool("with_indices");
  const HostTensor& x = c.in(0);
  HostTensor& y = c.out();
  const int leading = x.rank() - rank;
  const Ints strides = row_major_strides(x.shape());
  const int64_t plane = strides[static_cast<size_t>(leading - 1)];
  int64_t outputs_per_plane = 1;
  for (int a = 0; a < rank; ++a) outputs_per_plane *= y.size(leading + a);
  for (IndexWalk at(y.shape()); !at.done(); at.next()) {
    const int64_t base = at.flat() / outputs_per_plane * plane;
    Ints taps;
    std::vector<TapRange> ranges;
    for (int a = 0; a < rank; ++a) {
      ranges.push_back(taps_inside(window, a, at[leading + a], x.size(leading + a)));
      taps.push_back(ranges.back().last_tap - ranges.back().first_tap);
    }
    double best = -std::numeric_limits<double>::infinity();
    int64_t best_at = -1;  // none yet
    for (IndexWalk tap(taps); !tap.done(); tap.next()) {
      int64_t position = 0;
      for (int a = 0; a < rank; ++a) {
        const auto i = static_cast<size_t>(a);
        position += (ranges[i].start + (ranges[i].first_tap + tap[a]) * window.dilation[i]) *
                    strides[static_cast<size_t>(leading + a)];
      }
      const double value = x.get_double(base + position);
      // The first of equal ones wins; NaN beats everything and the last NaN is reported.
      if (best_at < 0 || value > best || std::isnan(value)) {
        best = value;
        best_at = position;
      }
    }
    y.set_double(at.flat(), best);
    if (with_indices) c.out(1).set_int(at.flat(), best_at);
  }
  return {};
}

Result<std::vector<Value*>> to_aten(Node& node, AtenEmitter& emit) {
  const Window window = pool_window(node);
  const bool with_indices = node.get_bool("with_indices");
  std::string name = "aten::max_pool" + std::to_string(window.rank()) + "d";
  std::vector<Type> types{node.result()->type};
  if (with_indices) {
    name += "_with_indices";
    types.push_back(node.result(1)->type);
  }
  return emit.call(
      name, "",
      {node.operand(0), ints_arg(window.kernel), ints_arg(window.stride),
       ints_arg(window.padding_low), ints_arg(window.dilation), node.get_bool("ceil_mode")},
      types);
}

std::vector<OpSample> samples() {
  auto f32 = [](Shape shape) { return tensor_of(DType::kF32, std::move(shape)); };
  auto attrs = [](Ints kernel, Ints stride, Ints padding, bool ceil_mode = false) {
    return AttrList{
        {"kernel", kernel}, {"stride", stride}, {"padding", padding}, {"ceil_mode", ceil_mode}};
  };
  auto with = [](AttrList list, std::string name, Attr value) {
    list.emplace_back(std::move(name), std::move(value));
    return list;
  };
  const DimExpr batch = DimExpr::symbol("b");
  const DimExpr height = DimExpr::symbol("h");
  std::vector<OpSample> list{
      make_sample("stem of a residual net: 3x3 stride 2 padding 1", {f32({1, 16, 31, 33})},
                  attrs({3, 3}, {2, 2}, {1, 1})),
      make_sample("2x2, stride left to the kernel, odd input loses its edge", {f32({2, 3, 9, 11})},
                  attrs({2, 2}, {}, {})),
      make_sample("ceil mode keeps the edge", {f32({2, 3, 9, 11})}, attrs({2, 2}, {}, {}, true)),
      make_sample("ceil mode drops a window that starts in the padding", {f32({1, 2, 4, 5})},
                  attrs({2, 2}, {3, 3}, {1, 1}, true)),
      make_sample("windows overlap, stride 1, size stays", {f32({1, 5, 13, 7})},
                  attrs({5, 5}, {1, 1}, {2, 2})),
      make_sample("dilation", {f32({1, 3, 12, 14})},
                  with(attrs({3, 2}, {1, 2}, {1, 1}), "dilation", Ints{2, 3})),
      make_sample("indices; the first of equal elements", {f32({1, 2, 8, 8})},
                  with(attrs({3, 3}, {2, 2}, {1, 1}), "with_indices", true),
                  {OpSample::Fill::kSmallIntegers}),
      make_sample("no batch axis", {f32({3, 8, 9})}, attrs({2, 3}, {2, 2}, {0, 1})),
      make_sample("one spatial axis", {f32({2, 4, 21})}, attrs({4}, {3}, {2})),
      make_sample("one spatial axis, indices", {f32({2, 4, 21})},
                  with(attrs({4}, {3}, {2}), "with_indices", true)),
      make_sample("three spatial axes", {f32({1, 2, 6, 7, 8})},
                  attrs({2, 3, 2}, {2, 2, 1}, {1, 1, 0})),
      make_sample("empty batch", {f32({0, 2, 6, 6})}, attrs({2, 2}, {}, {})),
      make_sample("dynamic batch and height", {f32({batch, 4, height + 4, 10})},
                  attrs({3, 3}, {2, 2}, {1, 1})),
      make_sample("dynamic height in ceil mode", {f32({batch, 4, height + 4, 10})},
                  attrs({3, 3}, {2, 2}, {1, 1}, true)),
  };
  for (DType dtype : {DType::kF64, DType::kF16, DType::kBF16}) {
    list.push_back(make_sample("dtype " + std::string(dtype_name(dtype)),
                               {tensor_of(dtype, {1, 8, 9, 9})}, attrs({3, 3}, {2, 2}, {1, 1})));
  }
  for (OpSample& sample : list) sample.tolerance = 0;  // no arithmetic
  return list;
}

}  // namespace

KILN_OP(max_pool) {
  OpDef def;
  def.formula =
      "y[..., p] = max_t x[..., p*stride - padding + t*dilation], taps outside x left out";
  def.operand_names = {"x"};
  def.fields = {
      required_ints("kernel", "window size per spatial axis, in taps; one to three axes"),
      ints_field("stride", {}, "step per axis; empty: the kernel"),
      ints_field("padding", {},
                 "positions before and after each axis; at most half the kernel; "
                 "empty: 0"),
      ints_field("dilation", {}, "distance between taps per axis; empty: 1"),
      bool_field("ceil_mode", false,
                 "a last partial window counts, if it starts inside the input or its low padding"),
      bool_field("with_indices", false,
                 "second result, i64: position of the maximum in its plane, row-major; of equal "
                 "elements the first, of NaNs the last"),
  };
  def.infer = infer;
  def.reference = reference;
  def.to_aten = to_aten;
  def.samples = samples;
  return def;
}

}  // namespace kiln

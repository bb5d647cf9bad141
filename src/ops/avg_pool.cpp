// avg_pool: the mean of each window.
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

Result<std::vector<Type>> infer(const OpContext& c) {
  KILN_RETURN_IF_ERROR(check_dtype(c, 0, DTypeClass::kFloat));
  KILN_ASSIGN_OR_RETURN(const Window window, infer_pool_window(c));
  KILN_RETURN_IF_ERROR(check_rank(c, 0, window.rank() + 1, window.rank() + 2));
  const int64_t divisor = c.get_int("divisor_override");
  if (divisor != 0 && window.rank() == 1) {
    return refuse(c, "K2205", "divisor_override with one spatial axis");
  }
  KILN_ASSIGN_OR_RETURN(const Shape spatial, window_outputs(c, window, c.get_bool("ceil_mode")));
  const TensorType& x = c.tensor(0);
  Shape shape(x.shape.begin(), x.shape.end() - window.rank());
  shape.insert(shape.end(), spatial.begin(), spatial.end());
  return std::vector<Type>{tensor_like(c, 0, x.dtype, std::move(shape))};
}

Status reference(const ReferenceContext& c) {
  const Window window = pool_window(*c.node);
  const int rank = window.rank();
  const bool count_include_pad = c.node->get_bool("count_include_pad");
  const int64_t divisor_override = c.node->get_int("divisor_override");
  const HostTensor& x = c.in(0);
  HostTensor& y = c.out();
  const int leading = x.rank() - rank;
  const Ints strides = row_major_strides(x.shape());
  const int64_t plane = strides[static_cast<size_t>(leading - 1)];
  int64_t outputs_per_plane = 1;
  for (int a = 0; a < rank; ++a) outputs_per_plane *= y.size(leading + a);
  for (IndexWalk at(y.shape()); !at.done(); at.next()) {
    int64_t first = at.flat() / outputs_per_plane * plane;
    int64_t padded_count = 1;  // taps inside the input or its padding
    Ints taps;
    for (int a = 0; a < rank; ++a) {
      const auto i = static_cast<size_t>(a);
      const int64_t size = x.size(leading + a);
      const TapRange range = taps_inside(window, a, at[leading + a], size);
      taps.push_back(range.last_tap - range.first_tap);
      first += (range.start + range.first_tap) * strides[static_cast<size_t>(leading + a)];
      // A ceil-mode window that reaches past the high padding is cut there.
      padded_count *=
          std::min(range.start + window.kernel[i], size + window.padding_high[i]) - range.start;
    }
    double sum = 0;
    int64_t count = 0;
    for (IndexWalk tap(taps); !tap.done(); tap.next(), ++count) {
      int64_t position = first;
      for (int a = 0; a < rank; ++a) position += tap[a] * strides[static_cast<size_t>(leading + a)];
      sum += x.get_double(position);
    }
    const int64_t divisor =
        divisor_override != 0 ? divisor_override : (count_include_pad ? padded_count : count);
    y.set_double(at.flat(), count == 0 ? 0.0 : sum / static_cast<double>(divisor));
  }
  return {};
}

Result<std::vector<Value*>> to_aten(Node& node, AtenEmitter& emit) {
  const Window window = pool_window(node);
  std::vector<AtenEmitter::Arg> args{node.operand(0),
                                     ints_arg(window.kernel),
                                     ints_arg(window.stride),
                                     ints_arg(window.padding_low),
                                     node.get_bool("ceil_mode"),
                                     node.get_bool("count_include_pad")};
  if (window.rank() > 1) {
    const int64_t divisor = node.get_int("divisor_override");
    args.emplace_back(divisor == 0 ? none_arg() : CallArg(divisor));
  }
  return emit.call("aten::avg_pool" + std::to_string(window.rank()) + "d", "", std::move(args),
                   {node.result()->type});
}

std::vector<OpSample> samples() {
  auto f32 = [](Shape shape) { return tensor_of(DType::kF32, std::move(shape)); };
  auto attrs = [](Ints kernel, Ints stride, Ints padding, bool ceil_mode, bool count_include_pad,
                  int64_t divisor = 0) {
    return AttrList{{"kernel", kernel},
                    {"stride", stride},
                    {"padding", padding},
                    {"ceil_mode", ceil_mode},
                    {"count_include_pad", count_include_pad},
                    {"divisor_override", divisor}};
  };
  const DimExpr batch = DimExpr::symbol("b");
  const DimExpr height = DimExpr::symbol("h");
  std::vector<OpSample> list{
      make_sample("2x2 as in a transition layer", {f32({2, 16, 14, 10})},
                  attrs({2, 2}, {}, {}, false, true)),
      make_sample("3x3 with padding in the count", {f32({1, 5, 9, 11})},
                  attrs({3, 3}, {1, 1}, {1, 1}, false, true)),
      make_sample("3x3 with padding left out of the count", {f32({1, 5, 9, 11})},
                  attrs({3, 3}, {1, 1}, {1, 1}, false, false)),
      make_sample("ceil mode: the last window is cut at the high padding", {f32({1, 3, 7, 8})},
                  attrs({3, 3}, {2, 2}, {1, 1}, true, true)),
      make_sample("ceil mode, padding left out of the count", {f32({1, 3, 8, 7})},
                  attrs({4, 3}, {3, 2}, {1, 0}, true, false)),
      make_sample("divisor given", {f32({1, 3, 6, 7})},
                  attrs({2, 3}, {2, 2}, {1, 1}, false, true, 5)),
      make_sample("window over the whole plane", {f32({2, 17, 7, 7})},
                  attrs({7, 7}, {}, {}, false, true)),
      make_sample("no batch axis", {f32({3, 8, 9})}, attrs({2, 2}, {}, {}, false, true)),
      make_sample("one spatial axis", {f32({2, 3, 23})}, attrs({5}, {3}, {2}, true, false)),
      make_sample("three spatial axes", {f32({1, 3, 5, 6, 7})},
                  attrs({2, 2, 3}, {2, 1, 2}, {0, 1, 1}, false, true)),
      make_sample("dynamic batch and height", {f32({batch, 4, height + 4, 9})},
                  attrs({3, 3}, {2, 2}, {1, 1}, true, true)),
  };
  for (DType dtype : {DType::kF64, DType::kF16, DType::kBF16}) {
    list.push_back(make_sample("dtype " + std::string(dtype_name(dtype)),
                               {tensor_of(dtype, {1, 8, 9, 9})},
                               attrs({3, 3}, {2, 2}, {1, 1}, false, true)));
  }
  return list;
}

}  // namespace

KILN_OP(avg_pool) {
  OpDef def;
  def.formula = "y[..., p] = sum_t x[..., p*stride - padding + t] / count, zero outside x";
  def.operand_names = {"x"};
  def.fields = {
      required_ints("kernel", "window size per spatial axis; one to three axes"),
      ints_field("stride", {}, "step per axis; empty: the kernel"),
      ints_field("padding", {},
                 "zeros before and after each axis; at most half the kernel; "
                 "empty: 0"),
      bool_field("ceil_mode", false,
                 "a last partial window counts, if it starts inside the input or its low padding"),
      bool_field("count_include_pad", true,
                 "padding (not what ceil_mode adds beyond it) counts in the divisor"),
      int_field("divisor_override", 0, "divides by this instead; 0: by the count"),
  };
  def.infer = infer;
  def.reference = reference;
  def.to_aten = to_aten;
  def.samples = samples;
  return def;
}

}  // namespace kiln

// adaptive_max_pool: maxima of windows that divide the input evenly into a given number of outputs.
#include <cmath>
#include <limits>

#include "ops/adaptive_window.h"
#include "ops/aten_args.h"
#include "ops/fields.h"
#include "ops/operand_checks.h"
#include "ops/reference_data.h"
#include "ops/sample_types.h"

namespace kiln {
namespace {

Result<std::vector<Type>> infer(const OpContext& c) {
  KILN_ASSIGN_OR_RETURN(const Shape shape, adaptive_pool_shape(c));
  std::vector<Type> types{tensor_like(c, 0, c.tensor(0).dtype, shape)};
  if (c.get_bool("with_indices")) types.push_back(tensor_like(c, 0, DType::kI64, shape));
  return types;
}

Status reference(const ReferenceContext& c) {
  const HostTensor& x = c.in(0);
  HostTensor& y = c.out();
  const bool with_indices = c.node->get_bool("with_indices");
  const int rank = static_cast<int>(c.node->get_dims("output_size").size());
  const int leading = x.rank() - rank;
  const std::vector<int64_t> strides = row_major_strides(x.shape());
  const std::vector<int64_t> y_strides = row_major_strides(y.shape());
  const int64_t plane = strides[static_cast<size_t>(leading - 1)];
  const int64_t y_plane = y_strides[static_cast<size_t>(leading - 1)];
  for (IndexWalk at(y.shape()); !at.done(); at.next()) {
    const int64_t base = at.flat() / y_plane * plane;
    int64_t first = 0;
    std::vector<int64_t> taps;
    for (int a = leading; a < x.rank(); ++a) {
      const AdaptiveWindow window = adaptive_window(at[a], y.size(a), x.size(a));
      first += window.first * strides[static_cast<size_t>(a)];
      taps.push_back(window.last - window.first);
    }
    double best = -std::numeric_limits<double>::infinity();
    int64_t best_at = -1;  // none yet
    for (IndexWalk tap(taps); !tap.done(); tap.next()) {
      int64_t position = first;
      for (int a = 0; a < rank; ++a) position += tap[a] * strides[static_cast<size_t>(leading + a)];
      const double value = x.get_double(base + position);
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

// ATen has only the form with indices.
Result<std::vector<Value*>> to_aten(Node& node, AtenEmitter& emit) {
  const Shape& size = node.get_dims("output_size");
  TensorType indices = node.result()->tensor();
  indices.dtype = DType::kI64;
  std::vector<Value*> results =
      emit.call("aten::adaptive_max_pool" + std::to_string(size.size()) + "d", "",
                {node.operand(0), dims_arg(size)}, {node.result()->type, indices});
  results.resize(static_cast<size_t>(node.num_results()));
  return results;
}

std::vector<OpSample> samples() {
  auto f32 = [](Shape shape) { return tensor_of(DType::kF32, std::move(shape)); };
  auto attrs = [](Shape size, bool with_indices = false) {
    return AttrList{{"output_size", std::move(size)}, {"with_indices", with_indices}};
  };
  const DimExpr batch = DimExpr::symbol("b");
  const DimExpr height = DimExpr::symbol("h");
  std::vector<OpSample> list{
      make_sample("global pooling", {f32({2, 33, 7, 7})}, attrs({1, 1})),
      make_sample("outputs do not divide the input: windows overlap", {f32({1, 4, 13, 11})},
                  attrs({5, 7})),
      make_sample("more outputs than inputs", {f32({1, 2, 3, 2})}, attrs({7, 5})),
      make_sample("indices; the first of equal elements", {f32({1, 3, 9, 8})}, attrs({2, 3}, true),
                  {OpSample::Fill::kSmallIntegers}),
      make_sample("no batch axis", {f32({5, 9, 6})}, attrs({2, 3})),
      make_sample("one spatial axis, indices", {f32({2, 3, 17})}, attrs({5}, true)),
      make_sample("three spatial axes", {f32({1, 2, 5, 6, 7})}, attrs({2, 4, 3})),
      make_sample("dynamic batch and height", {f32({batch, 6, height, 9})}, attrs({1, 1})),
  };
  for (DType dtype : {DType::kF64, DType::kF16, DType::kBF16}) {
    list.push_back(make_sample("dtype " + std::string(dtype_name(dtype)),
                               {tensor_of(dtype, {1, 8, 7, 7})}, attrs({2, 2})));
  }
  for (OpSample& sample : list) sample.tolerance = 0;  // no arithmetic
  return list;
}

}  // namespace

KILN_OP(adaptive_max_pool) {
  OpDef def;
  def.formula = "y[..., i] = max of x[..., floor(i*size/n) : ceil((i+1)*size/n)] per spatial axis";
  def.operand_names = {"x"};
  def.fields = {
      required_dims("output_size", "outputs per spatial axis; one to three axes"),
      bool_field("with_indices", false,
                 "second result, i64: position of the maximum in its plane, row-major"),
  };
  def.infer = infer;
  def.reference = reference;
  def.to_aten = to_aten;
  def.samples = samples;
  return def;
}

}  // namespace kiln

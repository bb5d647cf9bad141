// adaptive_avg_pool: means of windows that divide the input evenly into a given number of outputs.
#include "ops/adaptive_window.h"
#include "ops/aten_args.h"
#include "ops/fields.h"
#include "ops/operand_checks.h"
#include "ops/reference_data.h"
#include "ops/sample_types.h"

namespace kiln {
namespace {

Result<std::vector<Type>> infer(const OpContext& c) {
  KILN_ASSIGN_OR_RETURN(Shape shape, adaptive_pool_shape(c));
  return std::vector<Type>{tensor_like(c, 0, c.tensor(0).dtype, std::move(shape))};
}

Status reference(const ReferenceContext& c) {
  const HostTensor& x = c.in(0);
  HostTensor& y = c.out();
  const int rank = static_cast<int>(c.node->get_dims("output_size").size());
  const int leading = x.rank() - rank;
  const std::vector<int64_t> strides = row_major_strides(x.shape());
  const std::vector<int64_t> y_strides = row_major_strides(y.shape());
  const int64_t plane = strides[static_cast<size_t>(leading - 1)];
  const int64_t y_plane = y_strides[static_cast<size_t>(leading - 1)];
  for (IndexWalk at(y.shape()); !at.done(); at.next()) {
    int64_t first = at.flat() / y_plane * plane;
    std::vector<int64_t> taps;
    for (int a = leading; a < x.rank(); ++a) {
      const AdaptiveWindow window = adaptive_window(at[a], y.size(a), x.size(a));
      first += window.first * strides[static_cast<size_t>(a)];
      taps.push_back(window.last - window.first);
    }
    double sum = 0;
    int64_t count = 0;
    for (IndexWalk tap(taps); !tap.done(); tap.next(), ++count) {
      int64_t position = first;
      for (int a = 0; a < rank; ++a) position += tap[a] * strides[static_cast<size_t>(leading + a)];
      sum += x.get_double(position);
    }
    y.set_double(at.flat(), sum / static_cast<double>(count));
  }
  return {};
}

Result<std::vector<Value*>> to_aten(Node& node, AtenEmitter& emit) {
  const Shape& size = node.get_dims("output_size");
  return emit.call("aten::adaptive_avg_pool" + std::to_string(size.size()) + "d", "",
                   {node.operand(0), dims_arg(size)}, {node.result()->type});
}

std::vector<OpSample> samples() {
  auto f32 = [](Shape shape) { return tensor_of(DType::kF32, std::move(shape)); };
  auto attrs = [](Shape size) { return AttrList{{"output_size", std::move(size)}}; };
  const DimExpr batch = DimExpr::symbol("b");
  const DimExpr height = DimExpr::symbol("h");
  std::vector<OpSample> list{
      make_sample("global pooling before a classifier", {f32({2, 33, 7, 7})}, attrs({1, 1})),
      make_sample("outputs divide the input", {f32({1, 4, 12, 8})}, attrs({3, 4})),
      make_sample("outputs do not divide the input: windows overlap", {f32({1, 4, 13, 11})},
                  attrs({5, 7})),
      make_sample("more outputs than inputs", {f32({1, 2, 3, 2})}, attrs({7, 5})),
      make_sample("as many outputs as inputs", {f32({1, 2, 3, 5})}, attrs({3, 5})),
      make_sample("no batch axis", {f32({5, 9, 6})}, attrs({2, 3})),
      make_sample("one spatial axis", {f32({2, 3, 17})}, attrs({5})),
      make_sample("three spatial axes", {f32({1, 2, 5, 6, 7})}, attrs({2, 4, 3})),
      make_sample("dynamic batch and height", {f32({batch, 6, height, 9})}, attrs({1, 1})),
      make_sample("output size follows a dynamic input", {f32({batch, 6, height, 9})},
                  attrs({height, 3})),
  };
  for (DType dtype : {DType::kF64, DType::kF16, DType::kBF16}) {
    list.push_back(make_sample("dtype " + std::string(dtype_name(dtype)),
                               {tensor_of(dtype, {1, 8, 7, 7})}, attrs({1, 1})));
  }
  return list;
}

}  // namespace

KILN_OP(adaptive_avg_pool) {
  OpDef def;
  def.formula = "y[..., i] = mean of x[..., floor(i*size/n) : ceil((i+1)*size/n)] per spatial axis";
  def.operand_names = {"x"};
  def.fields = {required_dims("output_size", "outputs per spatial axis; one to three axes")};
  def.infer = infer;
  def.reference = reference;
  def.to_aten = to_aten;
  def.samples = samples;
  return def;
}

}  // namespace kiln

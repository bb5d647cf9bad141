// matmul: batched matrix product.
#include "ops/aten_args.h"
#include "ops/broadcast.h"
#include "ops/dtype_class.h"
#include "ops/fields.h"
#include "ops/operand_checks.h"
#include "ops/reference_data.h"
#include "ops/sample_types.h"

namespace kiln {
namespace {

// Rows and columns of an operand after its optional transposition.
struct MatrixAxes {
  int rows, columns;
};
MatrixAxes matrix_axes(int rank, bool transposed) {
  return transposed ? MatrixAxes{rank - 1, rank - 2} : MatrixAxes{rank - 2, rank - 1};
}

Result<std::vector<Type>> infer(const OpContext& c) {
  KILN_RETURN_IF_ERROR(check_rank(c, 0, 2, -1));
  KILN_RETURN_IF_ERROR(check_rank(c, 1, 2, -1));
  KILN_RETURN_IF_ERROR(check_dtype(c, 0, DTypeClass::kNumeric));
  KILN_RETURN_IF_ERROR(check_same_dtype(c, 0, 1));
  const Shape& a = c.tensor(0).shape;
  const Shape& b = c.tensor(1).shape;
  const MatrixAxes in_a = matrix_axes(c.tensor(0).rank(), c.get_bool("transpose_a"));
  const MatrixAxes in_b = matrix_axes(c.tensor(1).rank(), c.get_bool("transpose_b"));
  KILN_RETURN_IF_ERROR(check_equal_dims(c, "columns of a and rows of b",
                                        a[static_cast<size_t>(in_a.columns)],
                                        b[static_cast<size_t>(in_b.rows)]));
  Result<Shape> batch =
      broadcast_shapes(Shape(a.begin(), a.end() - 2), Shape(b.begin(), b.end() - 2));
  if (!batch.ok()) return refuse(c, batch.status().code(), batch.status().message());
  Shape shape = std::move(*batch);
  shape.push_back(a[static_cast<size_t>(in_a.rows)]);
  shape.push_back(b[static_cast<size_t>(in_b.columns)]);
  return std::vector<Type>{tensor_like(c, 0, c.tensor(0).dtype, std::move(shape))};
}

// Strides of an operand over [batch of the result..., rows, columns].
std::vector<int64_t> operand_strides(const HostTensor& tensor, const std::vector<int64_t>& batch,
                                     bool transposed) {
  const int rank = tensor.rank();
  const std::vector<int64_t> own = row_major_strides(tensor.shape());
  const int skipped = static_cast<int>(batch.size()) - (rank - 2);
  std::vector<int64_t> strides(batch.size(), 0);
  for (int i = 0; i < rank - 2; ++i) {
    if (tensor.size(i) != 1)
      strides[static_cast<size_t>(i + skipped)] = own[static_cast<size_t>(i)];
  }
  const MatrixAxes axes = matrix_axes(rank, transposed);
  strides.push_back(own[static_cast<size_t>(axes.rows)]);
  strides.push_back(own[static_cast<size_t>(axes.columns)]);
  return strides;
}

Status reference(const ReferenceContext& c) {
  const HostTensor& a = c.in(0);
  const HostTensor& b = c.in(1);
  HostTensor& y = c.out();
  const int rank = y.rank();
  const std::vector<int64_t> batch(y.shape().begin(), y.shape().end() - 2);
  const bool transpose_a = c.node->get_bool("transpose_a");
  const std::vector<int64_t> sa = operand_strides(a, batch, transpose_a);
  const std::vector<int64_t> sb = operand_strides(b, batch, c.node->get_bool("transpose_b"));
  const int64_t depth = a.size(matrix_axes(a.rank(), transpose_a).columns);
  const auto last = static_cast<size_t>(rank - 1);
  const bool integers = is_integer(y.dtype());
  const std::vector<double> va = integers ? std::vector<double>() : doubles_of(a);
  const std::vector<double> vb = integers ? std::vector<double>() : doubles_of(b);
  for (IndexWalk at(y.shape()); !at.done(); at.next()) {
    int64_t ia = at[rank - 2] * sa[last - 1];
    int64_t ib = at[rank - 1] * sb[last];
    for (int i = 0; i < rank - 2; ++i) {
      ia += at[i] * sa[static_cast<size_t>(i)];
      ib += at[i] * sb[static_cast<size_t>(i)];
    }
    if (integers) {
      uint64_t sum = 0;  // wraps, as torch does
      for (int64_t k = 0; k < depth; ++k) {
        sum += static_cast<uint64_t>(a.get_int(ia + k * sa[last])) *
               static_cast<uint64_t>(b.get_int(ib + k * sb[last - 1]));
      }
      y.set_int(at.flat(), static_cast<int64_t>(sum));
      continue;
    }
    double sum = 0;
    for (int64_t k = 0; k < depth; ++k) {
      sum += va[static_cast<size_t>(ia + k * sa[last])] *
             vb[static_cast<size_t>(ib + k * sb[last - 1])];
    }
    y.set_double(at.flat(), sum);
  }
  return {};
}

Result<std::vector<Value*>> to_aten(Node& node, AtenEmitter& emit) {
  auto operand = [&](int i, bool transposed) {
    Value* value = node.operand(i);
    if (!transposed) return value;
    TensorType type = value->tensor();
    type.layout = {};
    std::swap(type.shape[type.shape.size() - 2], type.shape[type.shape.size() - 1]);
    return emit.call("aten::transpose", "int", {value, int64_t{-2}, int64_t{-1}}, {type})[0];
  };
  Value* a = operand(0, node.get_bool("transpose_a"));
  Value* b = operand(1, node.get_bool("transpose_b"));
  return emit.call("aten::matmul", "", {a, b}, {node.result()->type});
}

std::vector<OpSample> samples() {
  auto f32 = [](Shape shape) { return tensor_of(DType::kF32, std::move(shape)); };
  const DimExpr batch = DimExpr::symbol("b");
  const DimExpr length = DimExpr::symbol("s");
  const AttrList both{{"transpose_a", true}, {"transpose_b", true}};
  std::vector<OpSample> list{
      make_sample("plain, no size a multiple of a vector", {f32({13, 17}), f32({17, 19})}),
      make_sample("full blocks", {f32({64, 96}), f32({96, 128})}),
      make_sample("one row: a matrix-vector product", {f32({1, 65}), f32({65, 33})}),
      make_sample("one column", {f32({31, 64}), f32({64, 1})}),
      make_sample("depth 1: an outer product", {f32({9, 1}), f32({1, 7})}),
      make_sample("depth 0 gives zeros", {f32({3, 0}), f32({0, 5})}),
      make_sample("b transposed, as query times key", {f32({2, 3, 11, 8}), f32({2, 3, 9, 8})},
                  {{"transpose_b", true}}),
      make_sample("a transposed", {f32({7, 5}), f32({7, 6})}, {{"transpose_a", true}}),
      make_sample("both transposed, batched", {f32({4, 7, 5}), f32({4, 6, 7})}, both),
      make_sample("batch dims broadcast against each other", {f32({3, 1, 5, 4}), f32({2, 4, 6})}),
      make_sample("one matrix for the whole batch", {f32({2, 3, 5, 4}), f32({4, 6})}),
      make_sample("empty batch", {f32({0, 5, 4}), f32({0, 4, 6})}),
      make_sample("dynamic batch and sequence, attention scores",
                  {f32({batch, 2, length, 8}), f32({batch, 2, length, 8})},
                  {{"transpose_b", true}}),
      make_sample("dynamic depth, attention times values",
                  {f32({batch, 2, 5, length}), f32({batch, 2, length, 8})}),
      make_sample("small integers are exact in any order", {f32({33, 40}), f32({40, 29})}, {},
                  {OpSample::Fill::kSmallIntegers, OpSample::Fill::kSmallIntegers}),
  };
  list.back().tolerance = 0;
  for (DType dtype : {DType::kF64, DType::kF16, DType::kBF16, DType::kI32, DType::kI64}) {
    std::vector<OpSample::Fill> fill;
    if (is_integer(dtype)) fill.assign(2, OpSample::Fill::kSmallIntegers);
    list.push_back(make_sample("dtype " + std::string(dtype_name(dtype)),
                               {tensor_of(dtype, {2, 9, 70}), tensor_of(dtype, {2, 70, 7})}, {},
                               fill));
  }
  return list;
}

}  // namespace

KILN_OP(matmul) {
  OpDef def;
  def.formula = "y[..., m, n] = sum_k a[..., m, k] * b[..., k, n], batch dims broadcast";
  def.traits = kAnchor;
  def.min_operands = 2;
  def.max_operands = 2;
  def.operand_names = {"a", "b"};
  def.fields = {
      bool_field("transpose_a", false, "a is stored [..., k, m]"),
      bool_field("transpose_b", false, "b is stored [..., n, k]"),
  };
  def.infer = infer;
  def.reference = reference;
  def.to_aten = to_aten;
  def.samples = samples;
  return def;
}

}  // namespace kiln

// embedding: rows of a table.
#include "ops/aten_args.h"
#include "ops/index_value.h"
#include "ops/operand_checks.h"
#include "ops/reference_data.h"
#include "ops/sample_types.h"

namespace kiln {
namespace {

Result<std::vector<Type>> infer(const OpContext& c) {
  KILN_RETURN_IF_ERROR(check_rank(c, 0, 2, 2));
  KILN_RETURN_IF_ERROR(check_index_dtype(c, 1));
  Shape shape = c.tensor(1).shape;
  shape.push_back(c.tensor(0).shape[1]);
  return std::vector<Type>{tensor_like(c, 0, c.tensor(0).dtype, std::move(shape))};
}

Status reference(const ReferenceContext& c) {
  const int64_t rows = c.in(0).size(0);
  const int64_t width = c.in(0).size(1);
  for (int64_t i = 0; i < c.in(1).num_elements(); ++i) {
    KILN_ASSIGN_OR_RETURN(const int64_t id, checked_index("embedding", c.in(1).get_int(i), rows));
    for (int64_t e = 0; e < width; ++e) {
      copy_element(c.in(0), id * width + e, c.out(), i * width + e);
    }
  }
  return {};
}

Result<std::vector<Value*>> to_aten(Node& node, AtenEmitter& emit) {
  return emit.call("aten::embedding", "",
                   {node.operand(0), node.operand(1), int64_t{-1}, false, false},
                   {node.result()->type});
}

std::vector<OpSample> samples() {
  const DimExpr batch = DimExpr::symbol("b");
  const DimExpr length = DimExpr::symbol("s");
  std::vector<OpSample> list;
  auto add = [&list](std::string why, DType dtype, Shape table, DType id_dtype, Shape ids) {
    OpSample sample =
        make_sample(std::move(why), {tensor_of(dtype, table), tensor_of(id_dtype, ids)}, {},
                    {OpSample::Fill::kNormal, OpSample::Fill::kIndices});
    if (!is_float(dtype)) sample.fill[0] = OpSample::Fill::kSmallIntegers;
    sample.index_limit = {0, table[0].value()};
    sample.tolerance = 0;
    list.push_back(std::move(sample));
  };
  add("token ids", DType::kF32, {101, 48}, DType::kI64, {2, 9});
  add("odd width", DType::kF32, {13, 7}, DType::kI64, {5});
  add("i32 ids", DType::kF32, {13, 16}, DType::kI32, {3, 4});
  add("one id without axes", DType::kF32, {13, 16}, DType::kI64, {});
  add("no ids", DType::kF32, {13, 16}, DType::kI64, {0});
  add("a table of one row", DType::kF32, {1, 5}, DType::kI64, {3});
  add("dynamic batch and sequence", DType::kF32, {50, 24}, DType::kI64, {batch, length});
  add("dtype bf16 moves bits only", DType::kBF16, {17, 12}, DType::kI64, {2, 3});
  add("dtype i64 table", DType::kI64, {17, 3}, DType::kI64, {4});
  return list;
}

}  // namespace

KILN_OP(embedding) {
  OpDef def;
  def.formula = "y[..., e] = weight[ids[...], e]; an id outside [0, rows) is an error";
  def.min_operands = 2;
  def.max_operands = 2;
  def.operand_names = {"weight", "ids"};
  def.infer = infer;
  def.reference = reference;
  def.to_aten = to_aten;
  def.samples = samples;
  return def;
}

}  // namespace kiln

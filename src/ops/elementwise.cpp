#include "ops/elementwise.h"

#include <map>
#include <string>

#include "base/check.h"
#include "ops/aten_args.h"
#include "ops/broadcast.h"
#include "ops/operand_checks.h"
#include "ops/sample_types.h"
#include "ops/strided_walk.h"

namespace kiln {
namespace {

using Fill = OpSample::Fill;

std::map<std::string, const ElementwiseRow*, std::less<>>& rows() {
  static std::map<std::string, const ElementwiseRow*, std::less<>> rows;
  return rows;
}

const ElementwiseRow& row_of(const OpDef& op) {
  auto it = rows().find(op.name);
  KILN_CHECK_MSG(it != rows().end(), op.name);
  return *it->second;
}

Result<std::vector<Type>> infer(const OpContext& ctx) {
  const ElementwiseRow& row = row_of(*ctx.op);
  KILN_RETURN_IF_ERROR(check_tensor_operands(ctx));
  KILN_RETURN_IF_ERROR(check_dtype(ctx, 0, row.accepts));
  Shape shape = ctx.tensor(0).shape;
  if (row.arity == 2) {
    KILN_RETURN_IF_ERROR(check_same_dtype(ctx, 1, 0));
    KILN_ASSIGN_OR_RETURN(shape, broadcast_shapes(ctx, {0, 1}));
  }
  const DType dtype = row.to_bool ? DType::kBool : ctx.tensor(0).dtype;
  return std::vector<Type>{tensor_like(ctx, 0, dtype, std::move(shape))};
}

Status verify(const OpContext& ctx) {
  const ElementwiseRow& row = row_of(*ctx.op);
  return row.verify == nullptr ? Status() : row.verify(ctx);
}

std::vector<double> field_numbers(Node& node) {
  std::vector<double> numbers;
  for (size_t i = 0; i < node.op->fields.size(); ++i) {
    const Attr& attr = node.attrs()[i];
    switch (attr_kind(attr)) {
      case AttrKind::kFloat: numbers.push_back(std::get<double>(attr)); break;
      case AttrKind::kInt: numbers.push_back(static_cast<double>(std::get<int64_t>(attr))); break;
      case AttrKind::kString:
        numbers.push_back(attr == node.op->fields[i].default_value ? 0 : 1);
        break;
      default: KILN_CHECK_MSG(false, node.op->fields[i].name);
    }
  }
  return numbers;
}

Status reference(const ReferenceContext& ctx) {
  const ElementwiseRow& row = row_of(*ctx.node->op);
  const HostTensor& x = ctx.in(0);
  const HostTensor& y = ctx.in(row.arity - 1);
  HostTensor& out = ctx.out();
  const ScalarContext scalar{x.dtype(), field_numbers(*ctx.node)};
  const bool floats = is_float(x.dtype());
  if (row.divides && !floats && out.num_elements() > 0) {
    for (int64_t i = 0; i < y.num_elements(); ++i) {
      if (y.get_int(i) == 0)
        return Status::error("K4201", std::string(row.name) + ": integer division by zero");
    }
  }
  const std::vector<std::vector<int64_t>> strides = {broadcast_strides(x.shape(), out.shape()),
                                                     broadcast_strides(y.shape(), out.shape())};
  strided_walk(out.shape(), strides, [&](int64_t flat, const int64_t* at) {
    if (floats) {
      out.set_double(flat, row.f64(x.get_double(at[0]), y.get_double(at[1]), scalar));
    } else {
      out.set_int(flat, row.i64(x.get_int(at[0]), y.get_int(at[1]), scalar));
    }
  });
  return {};
}

bool all_default(Node& node) {
  for (size_t i = 0; i < node.op->fields.size(); ++i) {
    if (node.attrs()[i] != node.op->fields[i].default_value) return false;
  }
  return true;
}

Result<std::vector<Value*>> to_aten(Node& node, AtenEmitter& aten) {
  const ElementwiseRow& row = row_of(*node.op);
  std::vector<AtenEmitter::Arg> args;
  for (Value* operand : node.operands()) args.emplace_back(operand);
  const std::string name = std::string("aten::") + row.aten_name;
  if (row.fields != nullptr && row.aten_overload[0] != 0 && all_default(node))
    return aten.call(name, "", std::move(args), {node.result()->type});
  for (const Attr& attr : node.attrs()) {
    switch (attr_kind(attr)) {
      case AttrKind::kFloat: args.emplace_back(std::get<double>(attr)); break;
      case AttrKind::kInt: args.emplace_back(std::get<int64_t>(attr)); break;
      case AttrKind::kString: args.emplace_back(std::get<std::string>(attr)); break;
      default: KILN_CHECK_MSG(false, row.name);
    }
  }
  if (row.last_argument != nullptr) args.emplace_back(row.last_argument());
  return aten.call(name, row.aten_overload, std::move(args), {node.result()->type});
}

}  // namespace

void register_elementwise(const ElementwiseRow& row, SampleFunction samples) {
  OpDef def;
  def.name = row.name;
  def.formula = row.formula;
  def.traits = kElementwise | row.traits;
  def.min_operands = def.max_operands = row.arity;
  def.operand_names =
      row.arity == 2 ? std::vector<std::string>{"x", "y"} : std::vector<std::string>{"x"};
  if (row.fields != nullptr) def.fields = row.fields();
  def.infer = infer;
  def.verify = verify;
  def.reference = reference;
  def.to_aten = to_aten;
  def.samples = samples;
  KILN_CHECK_MSG(rows().emplace(row.name, &row).second, row.name);
  OpRegistry::global().add(std::move(def));
}

std::vector<OpSample> elementwise_samples(const ElementwiseRow& row) {
  std::vector<OpSample> samples;
  const DimExpr s0 = DimExpr::symbol("s0");
  const auto add = [&](std::string why, DType dtype, Shape x, Shape y) {
    std::vector<std::optional<Type>> operands{tensor_of(dtype, std::move(x))};
    std::vector<Fill> fill{row.fill[0]};
    if (row.arity == 2) {
      operands.push_back(tensor_of(dtype, std::move(y)));
      fill.push_back(row.fill[1]);
    }
    OpSample sample = make_sample(std::move(why), std::move(operands), {}, std::move(fill));
    if (row.exact || row.to_bool) sample.tolerance = 0;
    samples.push_back(std::move(sample));
  };
  const std::vector<DType> dtypes = dtypes_of(row.accepts);
  const DType first = dtypes.front();
  for (DType dtype : dtypes) {
    add("odd sizes, " + std::string(dtype_name(dtype)), dtype, {9, 15, 17}, {9, 15, 17});
    add("symbolic size, " + std::string(dtype_name(dtype)), dtype, {s0, 6}, {s0, 6});
  }
  add("more than one tile", first, {2, 1031}, {2, 1031});
  add("rank 0", first, {}, {});
  add("no elements", first, {0, 3}, {0, 3});
  if (row.arity == 2) {
    add("row times column", first, {37, 1}, {1, 29});
    add("missing leading axes", first, {5, 7, 8, 9}, {8, 9});
    add("a scalar on the right", first, {37, 29}, {});
    add("a scalar on the left", first, {}, {37, 29});
    add("inner axis repeats", first, {6, 7, 25}, {6, 7, 1});
    add("one against no elements", first, {1, 3}, {0, 3});
    add("symbol against one", first, {s0, 1, 6}, {DimExpr(4), 1});
  }
  if (row.variants != nullptr) {
    int number = 0;
    for (AttrList& attrs : row.variants()) {
      add("other fields, case " + std::to_string(++number), first, {9, 15, 17}, {9, 15, 17});
      samples.back().attrs = std::move(attrs);
    }
  }
  return samples;
}

}  // namespace kiln

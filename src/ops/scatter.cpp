// scatter: x with elements along one axis replaced by, or reduced with, those of src.
#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/aten_args.h"
#include "ops/fields.h"
#include "ops/index_value.h"
#include "ops/operand_checks.h"
#include "ops/reference_data.h"
#include "ops/sample_types.h"

namespace kiln {
namespace {

bool known_reduce(const std::string& reduce) {
  return reduce == "none" || reduce == "add" || reduce == "multiply" || reduce == "mean" ||
         reduce == "amax" || reduce == "amin";
}

Result<std::vector<Type>> infer(const OpContext& c) {
  const TensorType& x = c.tensor(0);
  KILN_RETURN_IF_ERROR(check_rank(c, 0, 1, -1));
  KILN_RETURN_IF_ERROR(check_rank(c, 1, x.rank(), x.rank()));
  KILN_RETURN_IF_ERROR(check_rank(c, 2, x.rank(), x.rank()));
  KILN_RETURN_IF_ERROR(check_index_dtype(c, 1));
  KILN_RETURN_IF_ERROR(check_same_dtype(c, 0, 2));
  int axis = 0;
  KILN_RETURN_IF_ERROR(check_axis(c, "axis", x.rank(), &axis));
  const std::string& reduce = c.get_string("reduce");
  if (!known_reduce(reduce)) return refuse(c, "K2205", "unknown reduce '" + reduce + "'");
  if (reduce != "none" && x.dtype == DType::kBool) {
    return refuse(c, "K2203", "reduction of bool elements");
  }
  if (!c.get_bool("include_self") && (reduce == "none" || reduce == "add")) {
    return refuse(c, "K2205", "include_self cannot be off with reduce '" + reduce + "'");
  }
  const Shape& index = c.tensor(1).shape;
  for (int i = 0; i < x.rank(); ++i) {
    const auto at = static_cast<size_t>(i);
    const std::string along = " along axis " + std::to_string(i);
    KILN_RETURN_IF_ERROR(
        check_le_dims(c, "index and src" + along, index[at], c.tensor(2).shape[at]));
    if (i != axis) {
      KILN_RETURN_IF_ERROR(check_le_dims(c, "index and x" + along, index[at], x.shape[at]));
    }
  }
  return std::vector<Type>{tensor_like(c, 0, x.dtype, x.shape)};
}

// Position in x of each element of the index, row-major.
Result<std::vector<int64_t>> target_positions(const ReferenceContext& c) {
  const auto axis = static_cast<int>(c.node->get_int("axis"));
  const HostTensor& x = c.in(0);
  const std::vector<int64_t> strides = row_major_strides(x.shape());
  std::vector<int64_t> positions;
  for (IndexWalk at(c.in(1).shape()); !at.done(); at.next()) {
    KILN_ASSIGN_OR_RETURN(const int64_t picked,
                          checked_index("scatter", c.in(1).get_int(at.flat()), x.size(axis)));
    int64_t to = picked * strides[static_cast<size_t>(axis)];
    for (int i = 0; i < x.rank(); ++i) {
      if (i != axis) to += at[i] * strides[static_cast<size_t>(i)];
    }
    positions.push_back(to);
  }
  return positions;
}

// How one cell of the result is reduced; T is double, or uint64_t bits of an int64_t (wrapping).
double reduced(const std::string& reduce, double a, double b) {
  if (reduce == "multiply") return a * b;
  if (reduce == "amax") return std::isnan(a) || std::isnan(b) ? std::nan("") : std::max(a, b);
  if (reduce == "amin") return std::isnan(a) || std::isnan(b) ? std::nan("") : std::min(a, b);
  return a + b;
}
int64_t reduced(const std::string& reduce, int64_t a, int64_t b) {
  if (reduce == "amax") return std::max(a, b);
  if (reduce == "amin") return std::min(a, b);
  const auto ua = static_cast<uint64_t>(a);
  const auto ub = static_cast<uint64_t>(b);
  return static_cast<int64_t>(reduce == "multiply" ? ua * ub : ua + ub);
}
double mean_of(double sum, int64_t count) { return sum / static_cast<double>(count); }
int64_t mean_of(int64_t sum, int64_t count) {  // rounds down, as torch does
  return sum / count - ((sum % count != 0 && sum < 0) ? 1 : 0);
}

double get(const HostTensor& t, int64_t i, double) { return t.get_double(i); }
int64_t get(const HostTensor& t, int64_t i, int64_t) { return t.get_int(i); }
void set(HostTensor& t, int64_t i, double value) { t.set_double(i, value); }
void set(HostTensor& t, int64_t i, int64_t value) { t.set_int(i, value); }

template <typename T>
void reduce_into(const ReferenceContext& c, const std::vector<int64_t>& positions,
                 const std::string& reduce, bool include_self) {
  const HostTensor& src = c.in(2);
  HostTensor& y = c.out();
  const std::vector<int64_t> src_strides = row_major_strides(src.shape());
  const auto cells = static_cast<size_t>(y.num_elements());
  std::vector<T> value(cells);
  std::vector<int64_t> count(cells, include_self ? 1 : 0);  // of elements reduced so far
  std::vector<bool> touched(cells, false);
  for (size_t i = 0; i < cells; ++i) value[i] = get(y, static_cast<int64_t>(i), T{});
  for (IndexWalk at(c.in(1).shape()); !at.done(); at.next()) {
    int64_t from = 0;
    for (int i = 0; i < src.rank(); ++i) from += at[i] * src_strides[static_cast<size_t>(i)];
    const auto cell = static_cast<size_t>(positions[static_cast<size_t>(at.flat())]);
    const T next = get(src, from, T{});
    value[cell] = count[cell] == 0 ? next : reduced(reduce, value[cell], next);
    ++count[cell];
    touched[cell] = true;
  }
  for (size_t i = 0; i < cells; ++i) {
    if (!touched[i]) continue;
    set(y, static_cast<int64_t>(i), reduce == "mean" ? mean_of(value[i], count[i]) : value[i]);
  }
}

Status reference(const ReferenceContext& c) {
  KILN_ASSIGN_OR_RETURN(const std::vector<int64_t> positions, target_positions(c));
  const std::string& reduce = c.node->get_string("reduce");
  const bool include_self = c.node->get_bool("include_self");
  const HostTensor& src = c.in(2);
  c.out() = c.in(0);
  if (reduce == "none") {
    const std::vector<int64_t> src_strides = row_major_strides(src.shape());
    for (IndexWalk at(c.in(1).shape()); !at.done(); at.next()) {
      int64_t from = 0;
      for (int i = 0; i < src.rank(); ++i) from += at[i] * src_strides[static_cast<size_t>(i)];
      copy_element(src, from, c.out(), positions[static_cast<size_t>(at.flat())]);
    }
  } else if (is_float(src.dtype())) {
    reduce_into<double>(c, positions, reduce, include_self);
  } else {
    reduce_into<int64_t>(c, positions, reduce, include_self);
  }
  return {};
}

Result<std::vector<Value*>> to_aten(Node& node, AtenEmitter& emit) {
  const std::string& reduce = node.get_string("reduce");
  Value* x = node.operand(0);
  Value* index = node.operand(1);
  Value* src = node.operand(2);
  const int64_t axis = node.get_int("axis");
  const Type& type = node.result()->type;
  if (reduce == "none") return emit.call("aten::scatter", "src", {x, axis, index, src}, {type});
  if (reduce == "add") return emit.call("aten::scatter_add", "", {x, axis, index, src}, {type});
  const std::string name = reduce == "multiply" ? "prod" : reduce;
  return emit.call("aten::scatter_reduce", "two",
                   {x, axis, index, src, name, node.get_bool("include_self")}, {type});
}

std::vector<OpSample> samples() {
  std::vector<OpSample> list;
  auto add = [&list](std::string why, DType dtype, Shape x, int64_t axis, Shape index, Shape src,
                     std::string reduce, bool include_self = true) {
    const auto values =
        dtype == DType::kBool ? OpSample::Fill::kBool : OpSample::Fill::kSmallIntegers;
    OpSample sample = make_sample(
        std::move(why), {tensor_of(dtype, x), tensor_of(DType::kI64, index), tensor_of(dtype, src)},
        {{"axis", axis}, {"reduce", reduce}, {"include_self", include_self}},
        {values, OpSample::Fill::kIndices, values});
    sample.index_limit = {0, x[static_cast<size_t>(axis)].value(), 0};
    if (reduce != "mean") sample.tolerance = 0;  // small integers: exact in any order
    list.push_back(std::move(sample));
  };
  const DimExpr batch = DimExpr::symbol("b");
  add("one place in each row", DType::kF32, {6, 9}, 1, {6, 1}, {6, 1}, "none");
  add("src larger than the index", DType::kF32, {6, 9}, 1, {4, 1}, {6, 3}, "none");
  add("sums with duplicates", DType::kF32, {3, 5}, 0, {11, 5}, {11, 5}, "add");
  add("sums along the last axis", DType::kF32, {4, 3}, 1, {4, 8}, {4, 8}, "add");
  add("products", DType::kF32, {3, 4}, 0, {5, 4}, {5, 4}, "multiply");
  add("products without the old values", DType::kF32, {3, 4}, 0, {5, 4}, {5, 4}, "multiply", false);
  add("means with the old values", DType::kF32, {3, 4}, 0, {7, 4}, {7, 4}, "mean");
  add("means without the old values", DType::kF32, {3, 4}, 0, {7, 4}, {7, 4}, "mean", false);
  add("maxima", DType::kF32, {3, 4}, 0, {7, 4}, {7, 4}, "amax");
  add("minima without the old values", DType::kF32, {3, 4}, 0, {7, 4}, {7, 4}, "amin", false);
  add("a middle axis", DType::kF32, {2, 3, 4}, 1, {2, 6, 3}, {2, 6, 4}, "add");
  add("no elements", DType::kF32, {3, 4}, 0, {0, 4}, {0, 4}, "add");
  add("dynamic batch", DType::kF32, {batch, 10}, 1, {batch, 4}, {batch, 4}, "add");
  add("dtype f64, sums", DType::kF64, {3, 4}, 0, {7, 4}, {7, 4}, "add");
  add("dtype i64, sums", DType::kI64, {3, 4}, 0, {7, 4}, {7, 4}, "add");
  add("dtype i32, means round down", DType::kI32, {3, 4}, 0, {7, 4}, {7, 4}, "mean");
  add("dtype bool", DType::kBool, {6, 9}, 1, {6, 1}, {6, 1}, "none");
  return list;
}

}  // namespace

KILN_OP(scatter) {
  OpDef def;
  def.formula = "y = x; y[..., index[i], ...] = reduce(y[..., index[i], ...], src[i]) along axis";
  def.traits = kUpdate;
  def.min_operands = 3;
  def.max_operands = 3;
  def.operand_names = {"x", "index", "src"};
  def.fields = {
      required_int("axis",
                   "axis of x that is indexed; an index outside [0, size) is an error. The "
                   "index may be smaller than src, and than x along the other axes"),
      string_field("reduce", "none",
                   "none: src replaces, of duplicates the last in row-major order stays; add, "
                   "multiply, mean (integers round down), amax, amin: with all that meet"),
      bool_field("include_self", true,
                 "the old element takes part in multiply, mean, amax and amin"),
  };
  def.infer = infer;
  def.reference = reference;
  def.to_aten = to_aten;
  def.samples = samples;
  return def;
}

}  // namespace kiln

// reduce_sum, reduce_mean, reduce_prod, reduce_max, reduce_min, reduce_any, reduce_all,
// reduce_argmax, reduce_argmin: one table, as for the elementwise functions.
#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <string>

#include "base/check.h"
#include "ops/aten_args.h"
#include "ops/axes.h"
#include "ops/operand_checks.h"
#include "ops/reduction.h"
#include "ops/sample_types.h"
#include "ops/strided_walk.h"

namespace kiln {
namespace {

using Fill = OpSample::Fill;

enum class ResultDType : uint8_t { kSame, kBool, kI64 };
enum class AtenForm : uint8_t {
  kAxesKeepDtype,  // (self, int[] dim, keepdim, dtype)
  kAxesKeep,       // (self, int[] dim, keepdim)
  kAxisKeepDtype,  // (self, int dim, keepdim, dtype): one call per axis
  kAxisKeep        // (self, int dim, keepdim)
};

struct ReductionRow {
  const char* name;
  const char* formula;
  const char* aten_name;
  const char* aten_overload;
  AtenForm form;
  DTypeClass accepts;
  ResultDType result;
  bool exact;           // samples compare bit by bit
  bool needs_elements;  // no value for an empty row
  bool one_axis;
  uint32_t traits;  // beside kReduction
  Fill fill;
  double start_f64;
  int64_t start_i64;
  // accumulator, next element -> accumulator
  double (*f64)(double acc, double x);
  int64_t (*i64)(int64_t acc, int64_t x);
};

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
constexpr int64_t kMin = std::numeric_limits<int64_t>::min();

double sum(double a, double x) { return a + x; }
double product(double a, double x) { return a * x; }
int64_t sum_i(int64_t a, int64_t x) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) + static_cast<uint64_t>(x));
}
int64_t product_i(int64_t a, int64_t x) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) * static_cast<uint64_t>(x));
}
double largest(double a, double x) { return std::isnan(a) || a >= x ? a : x; }
double smallest(double a, double x) { return std::isnan(a) || a <= x ? a : x; }
int64_t largest_i(int64_t a, int64_t x) { return std::max(a, x); }
int64_t smallest_i(int64_t a, int64_t x) { return std::min(a, x); }
double any(double a, double x) { return a != 0 || x != 0; }
int64_t any_i(int64_t a, int64_t x) { return a != 0 || x != 0; }
double all(double a, double x) { return a != 0 && x != 0; }
int64_t all_i(int64_t a, int64_t x) { return a != 0 && x != 0; }

constexpr ReductionRow kReductions[] = {
    {"reduce_sum", "y = sum of x over axes; integers modulo 2^bits", "sum", "dim_IntList",
     AtenForm::kAxesKeepDtype, DTypeClass::kNumeric, ResultDType::kSame, true, false, false,
     kSensitive, Fill::kSmallIntegers, 0, 0, sum, sum_i},
    {"reduce_mean", "y = sum of x over axes / number of elements", "mean", "dim",
     AtenForm::kAxesKeepDtype, DTypeClass::kFloat, ResultDType::kSame, false, false, false,
     kNoTraits, Fill::kNormal, 0, 0, sum, nullptr},
    {"reduce_prod", "y = product of x over axes; integers modulo 2^bits", "prod", "dim_int",
     AtenForm::kAxisKeepDtype, DTypeClass::kNumeric, ResultDType::kSame, false, false, false,
     kSensitive, Fill::kUnit, 1, 1, product, product_i},
    {"reduce_max", "y = largest x over axes, NaN if any is", "amax", "", AtenForm::kAxesKeep,
     DTypeClass::kAny, ResultDType::kSame, true, true, false, kNoTraits, Fill::kNormal, -kInf, kMin,
     largest, largest_i},
    {"reduce_min", "y = smallest x over axes, NaN if any is", "amin", "", AtenForm::kAxesKeep,
     DTypeClass::kAny, ResultDType::kSame, true, true, false, kNoTraits, Fill::kNormal, kInf, kMax,
     smallest, smallest_i},
    {"reduce_any", "y = some x over axes is not 0", "any", "dims", AtenForm::kAxesKeep,
     DTypeClass::kAny, ResultDType::kBool, true, false, false, kNoTraits, Fill::kSmallIntegers, 0,
     0, any, any_i},
    {"reduce_all", "y = every x over axes is not 0", "all", "dims", AtenForm::kAxesKeep,
     DTypeClass::kAny, ResultDType::kBool, true, false, false, kNoTraits, Fill::kSmallIntegers, 1,
     1, all, all_i},
    {"reduce_argmax", "y = first index of the largest x along the axis; NaN is largest", "argmax",
     "", AtenForm::kAxisKeep, DTypeClass::kNumeric, ResultDType::kI64, true, true, true,
     kNoTraits, Fill::kNormal, 0, 0, largest, largest_i},
    {"reduce_argmin", "y = first index of the smallest x along the axis; NaN is smallest", "argmin",
     "", AtenForm::kAxisKeep, DTypeClass::kNumeric, ResultDType::kI64, true, true, true,
     kNoTraits, Fill::kNormal, 0, 0, smallest, smallest_i},
};

const ReductionRow& row_of(const OpDef& op) {
  for (const ReductionRow& row : kReductions) {
    if (op.name == row.name) return row;
  }
  KILN_CHECK_MSG(false, op.name);
  return kReductions[0];
}

Result<std::vector<Type>> infer(const OpContext& ctx) {
  const ReductionRow& row = row_of(*ctx.op);
  DType dtype = row.result == ResultDType::kBool ? DType::kBool : DType::kI64;
  if (row.result == ResultDType::kSame && ctx.has(0) && ctx.operands[0]->is_tensor())
    dtype = ctx.tensor(0).dtype;
  return infer_reduction(ctx, row.accepts, dtype);
}

Status verify(const OpContext& ctx) {
  const ReductionRow& row = row_of(*ctx.op);
  if (row.one_axis && ctx.get_ints("axes").size() != 1)
    return refuse(ctx, "K2205", "axes must name exactly one axis");
  return row.needs_elements ? check_not_empty(ctx) : Status();
}

// The first element that no later one beats, in index order.
void arg_reference(const ReferenceContext& ctx, const ReductionRow& row, int64_t axis) {
  const HostTensor& x = ctx.in(0);
  const AxisSplit split = split_at(x.shape(), static_cast<int>(axis));
  for (int64_t o = 0; o < split.outer; ++o) {
    for (int64_t n = 0; n < split.inner; ++n) {
      int64_t best = 0;
      for (int64_t i = 1; i < split.extent; ++i) {
        const int64_t at = (o * split.extent + i) * split.inner + n;
        const int64_t held = (o * split.extent + best) * split.inner + n;
        if (is_float(x.dtype())) {
          const double a = x.get_double(held), b = x.get_double(at), kept = row.f64(a, b);
          if (!std::isnan(a) && !(kept == a)) best = i;
        } else if (row.i64(x.get_int(held), x.get_int(at)) != x.get_int(held)) {
          best = i;
        }
      }
      ctx.out().set_int(o * split.inner + n, best);
    }
  }
}

Status reference(const ReferenceContext& ctx) {
  const ReductionRow& row = row_of(*ctx.node->op);
  const HostTensor& x = ctx.in(0);
  HostTensor& y = ctx.out();
  const std::vector<int64_t>& axes = ctx.node->get_ints("axes");
  int64_t per_result = 1;
  for (int64_t axis : axes) per_result *= x.shape()[static_cast<size_t>(axis)];
  if (row.needs_elements && per_result == 0)
    return Status::error("K4201", std::string(row.name) + ": no elements to reduce");
  if (row.one_axis) {
    arg_reference(ctx, row, axes[0]);
    return {};
  }
  const std::vector<std::vector<int64_t>> strides = {reduction_strides(x.shape(), axes)};
  const auto results = static_cast<size_t>(y.num_elements());
  if (is_float(x.dtype())) {
    std::vector<double> acc(results, row.start_f64);
    strided_walk(x.shape(), strides, [&](int64_t flat, const int64_t* at) {
      double& a = acc[static_cast<size_t>(at[0])];
      a = row.f64(a, x.get_double(flat));
    });
    const bool mean = std::string_view(row.name) == "reduce_mean";
    for (size_t i = 0; i < results; ++i)
      y.set_double(static_cast<int64_t>(i),
                   mean ? acc[i] / static_cast<double>(per_result) : acc[i]);
  } else {
    std::vector<int64_t> acc(results, row.start_i64);
    strided_walk(x.shape(), strides, [&](int64_t flat, const int64_t* at) {
      int64_t& a = acc[static_cast<size_t>(at[0])];
      a = row.i64(a, x.get_int(flat));
    });
    for (size_t i = 0; i < results; ++i) y.set_int(static_cast<int64_t>(i), acc[i]);
  }
  return {};
}

Result<std::vector<Value*>> to_aten(Node& node, AtenEmitter& aten) {
  const ReductionRow& row = row_of(*node.op);
  const std::string name = std::string("aten::") + row.aten_name;
  std::vector<int64_t> axes = node.get_ints("axes");
  const bool keepdim = node.get_bool("keepdim");
  const Type& type = node.result()->type;
  switch (row.form) {
    case AtenForm::kAxesKeepDtype:
      return aten.call(name, row.aten_overload,
                       {node.operand(0), ints_arg(axes), keepdim, type.tensor().dtype}, {type});
    case AtenForm::kAxesKeep:
      // Of u8, torch's any and all are u8 too.
      if (row.result == ResultDType::kBool && node.operand(0)->dtype() == DType::kU8) {
        TensorType wide = type.tensor();
        wide.dtype = DType::kU8;
        Value* found = aten.call(name, row.aten_overload,
                                 {node.operand(0), ints_arg(axes), keepdim}, {wide})[0];
        return aten.call(
            "aten::_to_copy", "",
            {found, DType::kBool, none_arg(), none_arg(), none_arg(), false, none_arg()}, {type});
      }
      return aten.call(name, row.aten_overload, {node.operand(0), ints_arg(axes), keepdim}, {type});
    case AtenForm::kAxisKeep:
      return aten.call(name, row.aten_overload, {node.operand(0), axes[0], keepdim}, {type});
    case AtenForm::kAxisKeepDtype: break;
  }
  if (axes.empty()) return aten.call(name, "", {node.operand(0), type.tensor().dtype}, {type});
  // From the last axis down, so that the numbers of the others stay right.
  std::sort(axes.rbegin(), axes.rend());
  Value* value = node.operand(0);
  Shape shape = value->shape();
  for (int64_t axis : axes) {
    shape = reduced_shape(shape, {axis}, keepdim);
    TensorType step = type.tensor();
    step.shape = shape;
    value = aten.call(name, row.aten_overload, {value, axis, keepdim, step.dtype}, {step})[0];
  }
  return std::vector<Value*>{value};
}

template <size_t kIndex>
void register_row() {
  const ReductionRow& row = kReductions[kIndex];
  OpDef def;
  def.name = row.name;
  def.formula = row.formula;
  def.traits = kReduction | row.traits;
  def.operand_names = {"x"};
  def.fields = reduction_fields();
  def.infer = infer;
  def.verify = verify;
  def.reference = reference;
  def.to_aten = to_aten;
  def.samples = [] {
    const ReductionRow& row = kReductions[kIndex];
    return reduction_samples(row.accepts, row.fill, row.exact, row.needs_elements, row.one_axis);
  };
  OpRegistry::global().add(std::move(def));
}

[[maybe_unused]] const bool kRegistered = [] {
  []<size_t... I>(std::index_sequence<I...>) { (register_row<I>(), ...); }
  (std::make_index_sequence<std::size(kReductions)>());
  return true;
}();

}  // namespace
}  // namespace kiln

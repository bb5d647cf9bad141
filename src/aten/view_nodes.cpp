#include "aten/view_nodes.h"

#include <numeric>

namespace kiln {

int rank_of(Value* value) { return static_cast<int>(value->shape().size()); }

const DimExpr& size_of(ImportCall& call, Value* value, int64_t axis) {
  const int rank = rank_of(value);
  if (axis < 0) axis += rank;
  if (axis < 0 || axis >= rank) call.refuse("dim is out of range: " + std::to_string(axis));
  return value->shape()[static_cast<size_t>(axis)];
}

namespace {

enum class Order { kLess, kGreater, kOpen };  // kLess: a <= b

Order compare(ImportCall& call, const DimExpr& a, const DimExpr& b) {
  const DimRange gap = (b - a).range(call.module().symbols);
  if (gap.min >= 0) return Order::kLess;
  return gap.max <= 0 ? Order::kGreater : Order::kOpen;
}

// Slices say "to the end" by such numbers; arithmetic with them would overflow.
bool is_huge(const DimExpr& dim) { return dim.is_constant() && dim.value() > (int64_t{1} << 60); }

}  // namespace

DimExpr smaller(ImportCall& call, const DimExpr& a, const DimExpr& b) {
  if (is_huge(a)) return b;
  if (is_huge(b)) return a;
  switch (compare(call, a, b)) {
    case Order::kLess: return a;
    case Order::kGreater: return b;
    case Order::kOpen: break;
  }
  return DimExpr::min(a, b);
}

DimExpr larger(ImportCall& call, const DimExpr& a, const DimExpr& b) {
  if (is_huge(a)) return a;
  if (is_huge(b)) return b;
  switch (compare(call, a, b)) {
    case Order::kLess: return b;
    case Order::kGreater: return a;
    case Order::kOpen: break;
  }
  return DimExpr::max(a, b);
}

DimExpr wrap_index(ImportCall& call, const DimExpr& index, const DimExpr& size) {
  if (is_huge(index)) return index;
  const DimRange range = index.range(call.module().symbols);
  if (range.min >= 0) return index;
  // Far below any size: the start of the axis.
  if (index.is_constant() && index.value() < -(int64_t{1} << 60)) return 0;
  if (range.max < 0) return larger(call, index + size, 0);
  call.refuse("index may be of either sign: " + index.to_string(), "K1303");
}

Value* emit_slice(ImportCall& call, Value* x, int64_t axis, const DimExpr& start,
                  const DimExpr& end, const DimExpr& step) {
  if (start.is_value(0) && end == size_of(call, x, axis) && step.is_value(1)) return x;
  return call.emit("slice", {x}, {{"axis", axis}, {"start", start}, {"end", end}, {"step", step}});
}

Value* emit_select(ImportCall& call, Value* x, int64_t axis, const DimExpr& index) {
  Value* row = emit_slice(call, x, axis, index, index + 1);
  Shape shape = row->shape();
  shape.erase(shape.begin() + axis);
  return call.emit("reshape", {row}, {{"shape", shape}});
}

Value* emit_permute(ImportCall& call, Value* x, const std::vector<int64_t>& order) {
  for (size_t i = 0; i < order.size(); ++i) {
    if (order[i] != static_cast<int64_t>(i)) return call.emit("permute", {x}, {{"order", order}});
  }
  return x;
}

Value* emit_transpose(ImportCall& call, Value* x, int64_t a, int64_t b) {
  std::vector<int64_t> order = all_axes(x);
  if (a == b) return x;
  size_of(call, x, a);  // refuses axes that x lacks
  size_of(call, x, b);
  std::swap(order[static_cast<size_t>(a)], order[static_cast<size_t>(b)]);
  return emit_permute(call, x, order);
}

Value* emit_expand(ImportCall& call, Value* x, const Shape& shape) {
  if (x->shape() == shape) return x;
  return call.emit("expand", {x}, {{"shape", shape}});
}

Value* emit_unsqueeze(ImportCall& call, Value* x, int64_t axis) {
  Shape shape = x->shape();
  if (axis < 0 || axis > rank_of(x)) call.refuse("dim is out of range: " + std::to_string(axis));
  shape.insert(shape.begin() + axis, DimExpr(1));
  return call.emit("reshape", {x}, {{"shape", shape}});
}

Value* emit_flatten(ImportCall& call, Value* x) {
  return call.reshape(x, {num_elements(x->shape())});
}

Value* emit_full_of(ImportCall& call, const Shape& shape, DType dtype, int argument) {
  if (call.is_tensor(argument)) {
    return emit_expand(call, call.cast(call.tensor(argument), dtype), shape);
  }
  const auto* integer = call.arg(argument).get<DimExpr>();
  if (integer != nullptr && !integer->is_constant()) {
    return emit_expand(call, call.operand(argument, dtype), shape);
  }
  if (integer != nullptr && !is_float(dtype)) {
    const int64_t value = dtype == DType::kBool ? integer->value() != 0 : integer->value();
    return call.emit("full", {}, {{"shape", shape}, {"dtype", dtype}, {"int_value", value}});
  }
  return emit_full(call, shape, dtype, call.number(argument));
}

Value* emit_full(ImportCall& call, const Shape& shape, DType dtype, double value) {
  if (is_float(dtype)) {
    return call.emit("full", {}, {{"shape", shape}, {"dtype", dtype}, {"value", value}});
  }
  if (!(value > -9.2e18 && value < 9.2e18)) call.refuse("number does not fit the dtype");
  const int64_t integer = dtype == DType::kBool ? value != 0 : static_cast<int64_t>(value);
  return call.emit("full", {}, {{"shape", shape}, {"dtype", dtype}, {"int_value", integer}});
}

Value* emit_iota(ImportCall& call, const DimExpr& length, DType dtype, const DimExpr& first) {
  return call.emit("iota", {}, {{"length", length}, {"dtype", dtype}, {"start", first}});
}

Value* emit_concat(ImportCall& call, const std::vector<Value*>& parts, int64_t axis) {
  if (parts.size() == 1) return parts[0];
  return call.emit("concat", parts, {{"axis", axis}});
}

Value* emit_reduce(ImportCall& call, std::string_view op, Value* x,
                   const std::vector<int64_t>& axes, bool keepdim, AttrList more) {
  AttrList attrs{{"axes", axes}, {"keepdim", keepdim}};
  for (auto& attr : more) attrs.push_back(std::move(attr));
  return call.emit(op, {x}, std::move(attrs));
}

std::vector<int64_t> all_axes(Value* x) {
  std::vector<int64_t> axes(x->shape().size());
  std::iota(axes.begin(), axes.end(), int64_t{0});
  return axes;
}

DimExpr count_along(Value* x, const std::vector<int64_t>& axes) {
  DimExpr count = 1;
  for (int64_t axis : axes) count *= x->shape()[static_cast<size_t>(axis)];
  return count;
}

void require_same_device(ImportCall& call, int device) {
  const auto* wanted = call.arg(device).get<Device>();
  const DeviceKind here = call.module().device;
  if (wanted != nullptr && wanted->kind != here) {
    call.refuse("result is on another device than the program: " + wanted->to_string());
  }
}

void require_strided(ImportCall& call, int layout) {
  const auto* wanted = call.arg(layout).get<CallArg::Layout>();
  if (wanted != nullptr && wanted->name != "strided") {
    call.refuse("result is not strided: " + wanted->name);
  }
}

}  // namespace kiln

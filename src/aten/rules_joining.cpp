// Joining and rearranging: concatenation, repetition, padding, reversal.
#include <algorithm>

#include "aten/view_nodes.h"

namespace kiln {
namespace {

std::vector<Value*> operands_of(ImportCall& call) {
  std::vector<Value*> values = call.tensors(0);
  for (Value* value : values) {
    if (value == nullptr) call.refuse("list element is no tensor");
  }
  if (values.empty()) call.refuse("empty list of tensors");
  return values;
}

// A vector without elements fits everything, as torch has it.
void cat(ImportCall& call) {
  const DType dtype = call.promoted({0});
  const int rank = static_cast<int>(call.captured().tensor().shape.size());
  const int64_t axis = call.axis(1, rank);
  std::vector<Value*> parts;
  for (Value* value : operands_of(call)) {
    const bool legacy_empty = rank_of(value) == 1 && value->shape()[0].is_value(0);
    if (!legacy_empty) parts.push_back(call.cast(value, dtype));
  }
  if (parts.empty()) {
    call.result(emit_full(call, call.captured().tensor().shape, dtype, 0));
    return;
  }
  call.fresh_result(emit_concat(call, parts, axis));
}
KILN_ATEN_RULE(cat, "aten::cat(Tensor[] tensors, int dim=0) -> Tensor");
KILN_ATEN_RULE(cat, "aten::concat(Tensor[] tensors, int dim=0) -> Tensor");
KILN_ATEN_RULE(cat, "aten::concatenate(Tensor[] tensors, int dim=0) -> Tensor");

void stack(ImportCall& call) {
  const DType dtype = call.promoted({0});
  std::vector<Value*> parts = operands_of(call);
  const int64_t axis = call.axis(1, rank_of(parts[0]) + 1);
  for (Value*& part : parts) part = emit_unsqueeze(call, call.cast(part, dtype), axis);
  call.fresh_result(emit_concat(call, parts, axis));
}
KILN_ATEN_RULE(stack, "aten::_stack(Tensor[] tensors, int dim=0) -> Tensor");
KILN_ATEN_RULE(stack, "aten::stack(Tensor[] tensors, int dim=0) -> Tensor");

// Joined along one axis after every part has at least `rank` axes.
void join(ImportCall& call, int64_t axis, int rank) {
  const DType dtype = call.promoted({0});
  std::vector<Value*> parts = operands_of(call);
  for (Value*& part : parts) {
    Shape shape = part->shape();
    while (static_cast<int>(shape.size()) < rank) shape.insert(shape.begin(), DimExpr(1));
    part = call.cast(call.reshape(part, shape), dtype);
  }
  call.fresh_result(emit_concat(call, parts, axis));
}
void hstack(ImportCall& call) {
  const bool vectors = rank_of(operands_of(call)[0]) <= 1;
  join(call, vectors ? 0 : 1, 1);
}
void vstack(ImportCall& call) { join(call, 0, 2); }
void column_stack(ImportCall& call) {
  const DType dtype = call.promoted({0});
  std::vector<Value*> parts = operands_of(call);
  for (Value*& part : parts) {
    part = call.cast(part, dtype);
    if (rank_of(part) < 2) part = call.reshape(part, {num_elements(part->shape()), 1});
  }
  call.fresh_result(emit_concat(call, parts, 1));
}
KILN_ATEN_RULE(column_stack, "aten::column_stack(Tensor[] tensors) -> Tensor");
KILN_ATEN_RULE(hstack, "aten::hstack(Tensor[] tensors) -> Tensor");
KILN_ATEN_RULE(vstack, "aten::row_stack(Tensor[] tensors) -> Tensor");
KILN_ATEN_RULE(vstack, "aten::vstack(Tensor[] tensors) -> Tensor");

Shape broadcast_of(ImportCall& call, const std::vector<Value*>& values) {
  Shape shape;
  for (Value* value : values) {
    const Shape& one = value->shape();
    if (one.size() > shape.size()) {
      shape.insert(shape.begin(), one.size() - shape.size(), DimExpr(1));
    }
    for (size_t i = 0; i < one.size(); ++i) {
      DimExpr& size = shape[shape.size() - one.size() + i];
      if (size.is_value(1)) {
        size = one[i];
      } else if (!one[i].is_value(1) && !(one[i] == size)) {
        call.refuse("shapes do not broadcast");
      }
    }
  }
  return shape;
}
void broadcast_tensors(ImportCall& call) {
  const std::vector<Value*> values = operands_of(call);
  const Shape shape = broadcast_of(call, values);
  for (Value* value : values) call.result(emit_expand(call, value, shape));
}
KILN_ATEN_RULE(broadcast_tensors, "aten::broadcast_tensors(Tensor[] tensors) -> Tensor[]");

void emit_meshgrid(ImportCall& call, bool swap) {
  std::vector<Value*> values = operands_of(call);
  Shape shape;
  for (Value* value : values) shape.push_back(num_elements(value->shape()));
  swap = swap && values.size() > 1;
  for (size_t i = 0; i < values.size(); ++i) {
    Shape own(shape.size(), DimExpr(1));
    own[i] = shape[i];
    Value* grid = emit_expand(call, call.reshape(values[i], own), shape);
    call.result(swap ? emit_transpose(call, grid, 0, 1) : grid);
  }
}
void meshgrid(ImportCall& call) { emit_meshgrid(call, false); }
void meshgrid_indexing(ImportCall& call) { emit_meshgrid(call, call.text(1) == "xy"); }
KILN_ATEN_RULE(meshgrid, "aten::meshgrid(Tensor[] tensors) -> Tensor[]");
KILN_ATEN_RULE(meshgrid_indexing,
               "aten::meshgrid.indexing(Tensor[] tensors, *, str indexing) -> Tensor[]");

// ---- repetition

// Each axis becomes (repeats, size), the first of them broadcast, and one axis again.
void emit_repeat(ImportCall& call, Value* x, std::vector<DimExpr> repeats) {
  Shape own = x->shape();
  if (repeats.size() < own.size()) call.refuse("fewer repeats than axes");
  own.insert(own.begin(), repeats.size() - own.size(), DimExpr(1));
  Shape paired, expanded, merged;
  bool repeated = false;
  for (size_t i = 0; i < own.size(); ++i) {
    repeated = repeated || !repeats[i].is_value(1);
    if (!repeats[i].is_value(1) && !own[i].is_value(1)) {
      paired.push_back(1);
      expanded.push_back(repeats[i]);
    }
    paired.push_back(own[i]);
    expanded.push_back(own[i].is_value(1) ? repeats[i] : own[i]);
    merged.push_back(repeats[i] * own[i]);
  }
  if (repeated) x = emit_expand(call, call.reshape(x, paired), expanded);
  call.fresh_result(call.reshape(x, merged));
}
void repeat(ImportCall& call) { emit_repeat(call, call.tensor(0), call.dims(1)); }
void tile(ImportCall& call) {
  Value* x = call.tensor(0);
  std::vector<DimExpr> repeats = call.dims(1);
  if (repeats.size() < x->shape().size()) {
    repeats.insert(repeats.begin(), x->shape().size() - repeats.size(), DimExpr(1));
  }
  emit_repeat(call, x, std::move(repeats));
}
KILN_ATEN_RULE(repeat, "aten::repeat(Tensor self, SymInt[] repeats) -> Tensor");
KILN_ATEN_RULE(tile, "aten::tile(Tensor self, SymInt[] dims) -> Tensor");

void repeat_interleave(ImportCall& call) {
  Value* x = call.tensor(0);
  const DimExpr times = call.dim(1);
  int64_t axis = 0;
  if (call.is_none(2)) {
    x = emit_flatten(call, x);
  } else {
    axis = call.axis(2, rank_of(x));
    if (rank_of(x) == 0) x = call.reshape(x, {DimExpr(1)});
  }
  Shape shape = x->shape();
  const auto at = static_cast<size_t>(axis);
  Value* y = emit_unsqueeze(call, x, axis + 1);
  Shape expanded = y->shape();
  expanded[at + 1] = times;
  shape[at] = shape[at] * times;
  call.fresh_result(call.reshape(emit_expand(call, y, expanded), shape));
}
KILN_ATEN_RULE(repeat_interleave,
               "aten::repeat_interleave.self_int(Tensor self, SymInt repeats, int? dim=None, *, "
               "SymInt? output_size=None) -> Tensor");

// ---- order

void emit_flip(ImportCall& call, std::vector<int64_t> axes) {
  Value* x = call.tensor(0);
  for (int64_t& axis : axes) axis = ImportCall::wrap_axis(axis, rank_of(x));
  if (axes.empty() || rank_of(x) == 0) {
    call.fresh_result(x);
  } else {
    call.result(call.emit("flip", {x}, {{"axes", axes}}));
  }
}
void flip(ImportCall& call) { emit_flip(call, call.integers(1)); }
void fliplr(ImportCall& call) { emit_flip(call, {1}); }
void flipud(ImportCall& call) { emit_flip(call, {0}); }
KILN_ATEN_RULE(flip, "aten::flip(Tensor self, int[] dims) -> Tensor");
KILN_ATEN_RULE(fliplr, "aten::fliplr(Tensor self) -> Tensor");
KILN_ATEN_RULE(flipud, "aten::flipud(Tensor self) -> Tensor");

void roll(ImportCall& call) {
  Value* x = call.tensor(0);
  std::vector<DimExpr> shifts = call.dims(1);
  std::vector<int64_t> axes = call.integers(2);
  if (rank_of(x) == 0) {
    call.fresh_result(x);
    return;
  }
  if (axes.empty()) {
    Value* y = call.emit("roll", {emit_flatten(call, x)},
                         {{"shifts", shifts}, {"axes", std::vector<int64_t>{0}}});
    call.result(call.reshape(y, x->shape()));
    return;
  }
  // An axis that is named twice is moved by the sum.
  std::vector<DimExpr> total;
  std::vector<int64_t> once;
  if (axes.size() != shifts.size()) call.refuse("shifts and dims differ in length");
  for (size_t i = 0; i < axes.size(); ++i) {
    const int64_t axis = ImportCall::wrap_axis(axes[i], rank_of(x));
    const auto found = std::find(once.begin(), once.end(), axis);
    if (found == once.end()) {
      once.push_back(axis);
      total.push_back(shifts[i]);
    } else {
      total[static_cast<size_t>(found - once.begin())] += shifts[i];
    }
  }
  call.result(call.emit("roll", {x}, {{"shifts", total}, {"axes", once}}));
}
KILN_ATEN_RULE(roll, "aten::roll(Tensor self, SymInt[1] shifts, int[1] dims=[]) -> Tensor");

void rot90(ImportCall& call) {
  Value* x = call.tensor(0);
  const int64_t turns = ((call.integer(1) % 4) + 4) % 4;
  std::vector<int64_t> axes = call.integers(2);
  if (axes.size() != 2) call.refuse("rotation needs two dims");
  for (int64_t& axis : axes) axis = ImportCall::wrap_axis(axis, rank_of(x));
  auto flipped = [&](Value* y, std::vector<int64_t> along) {
    return call.emit("flip", {y}, {{"axes", std::move(along)}});
  };
  if (turns == 0) {
    call.fresh_result(x);
  } else if (turns == 2) {
    call.result(flipped(x, axes));
  } else {
    call.fresh_result(
        emit_transpose(call, flipped(x, {turns == 1 ? axes[1] : axes[0]}), axes[0], axes[1]));
  }
}
KILN_ATEN_RULE(rot90, "aten::rot90(Tensor self, int k=1, int[] dims=[0, 1]) -> Tensor");

// ---- padding

// `amounts` are (low, high) pairs from the last axis on.
void emit_pad(ImportCall& call, const std::string& mode, double value) {
  Value* x = call.tensor(0);
  const std::vector<DimExpr> amounts = call.dims(1);
  const auto rank = static_cast<size_t>(rank_of(x));
  if (amounts.size() % 2 != 0 || amounts.size() / 2 > rank) call.refuse("wrong number of pads");
  std::vector<DimExpr> low(rank, 0), high(rank, 0);
  bool moves = false;
  for (size_t i = 0; i < amounts.size() / 2; ++i) {
    low[rank - 1 - i] = amounts[2 * i];
    high[rank - 1 - i] = amounts[2 * i + 1];
    moves = moves || !amounts[2 * i].is_value(0) || !amounts[2 * i + 1].is_value(0);
  }
  if (!moves) {
    call.fresh_result(x);
    return;
  }
  AttrList attrs{{"low", low}, {"high", high}, {"mode", mode}};
  if (mode == "constant") attrs.emplace_back("value", value);
  call.result(call.emit("pad", {x}, std::move(attrs)));
}
void constant_pad(ImportCall& call) { emit_pad(call, "constant", call.number(2)); }
void reflection_pad(ImportCall& call) { emit_pad(call, "reflect", 0); }
void replication_pad(ImportCall& call) { emit_pad(call, "replicate", 0); }
void circular_pad(ImportCall& call) { emit_pad(call, "circular", 0); }
void pad(ImportCall& call) { emit_pad(call, call.text(2), call.is_none(3) ? 0 : call.number(3)); }
KILN_ATEN_RULE(constant_pad,
               "aten::constant_pad_nd(Tensor self, SymInt[] pad, Scalar value=0) -> Tensor");
KILN_ATEN_RULE(reflection_pad, "aten::reflection_pad1d(Tensor self, SymInt[2] padding) -> Tensor");
KILN_ATEN_RULE(reflection_pad, "aten::reflection_pad2d(Tensor self, SymInt[4] padding) -> Tensor");
KILN_ATEN_RULE(reflection_pad, "aten::reflection_pad3d(Tensor self, SymInt[6] padding) -> Tensor");
KILN_ATEN_RULE(replication_pad,
               "aten::replication_pad1d(Tensor self, SymInt[2] padding) -> Tensor");
KILN_ATEN_RULE(replication_pad,
               "aten::replication_pad2d(Tensor self, SymInt[4] padding) -> Tensor");
KILN_ATEN_RULE(replication_pad,
               "aten::replication_pad3d(Tensor self, SymInt[6] padding) -> Tensor");
KILN_ATEN_RULE(circular_pad, "aten::_pad_circular(Tensor self, SymInt[] pad) -> Tensor");
KILN_ATEN_RULE(pad,
               "aten::pad(Tensor self, SymInt[] pad, str mode=\"constant\", float? value=None) "
               "-> Tensor");

}  // namespace
}  // namespace kiln

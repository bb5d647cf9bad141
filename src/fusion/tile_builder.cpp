#include "fusion/tile_builder.h"

#include <algorithm>
#include <map>

#include "base/check.h"
#include "ir/op_def.h"

namespace kiln {

bool is_tileable(Node& node) {
  if (node.num_results() != 1 || !node.result()->type.is_tensor()) return false;
  for (Value* operand : node.operands()) {
    if (operand != nullptr && !operand->type.is_tensor()) return false;
  }
  if (node.result()->tensor().rank() >= kMaxTileRank) return false;
  if (node.op->has(kElementwise)) return is_tileable_elementwise(node);
  if (node.is("constant")) {
    return std::get<HostTensor>(node.attr("value")).num_elements() == 1;
  }
  if (node.is("full") || node.is("tril") || node.is("triu")) return true;
  if (node.is("iota")) {
    // A product and a sum may be contracted to one rounding, which moves bits of positions.
    if (node.get_float("scale") != 1 && node.get_float("offset") != 0) return false;
    return node.get_dim("start").is_constant() && node.get_dim("step").is_constant();
  }
  if (node.is("batch_norm")) return true;
  if (node.op->has(kReduction)) {
    // The maximum inside has no value over an empty row. (max and min refuse such rows themselves.)
    for (int64_t axis : node.get_ints("axes")) {
      const DimExpr& size = node.operand(0)->shape()[static_cast<size_t>(axis)];
      if (node.is("logsumexp") && size.is_value(0)) return false;
    }
    return node.result()->tensor().rank() <= kMaxTileRank - 1;
  }
  if (node.is("softmax") || node.is("log_softmax")) return node.result()->tensor().rank() > 0;
  if (node.is("layer_norm") || node.is("rms_norm")) return true;
  if (node.is("group_norm")) {
    DimExpr quotient;
    return DimExpr::divide_exactly(node.result()->shape()[1], node.get_int("groups"), &quotient);
  }
  return false;
}

std::string label_of(Graph& body) {
  std::string label;
  for (Node* node : body.snapshot()) {
    if (node->op->has(kSource)) continue;
    if (label.size() > 60) return label + "+...";
    if (!label.empty()) label += "+";
    label += node->op_name();
  }
  return label;
}

TileDomain domain_of(Graph& body) {
  for (Node* node : body.snapshot()) {
    if (node->op->has(kView)) continue;
    TileDomain domain = domain_of(*node);
    if (domain.has_rows()) return domain;
  }
  TileDomain domain;
  domain.full = body.outputs()[0]->shape();
  return domain;
}

TileEmitter::TileEmitter(const TileDomain& domain, const TilePlaces& places, Graph& body)
    : domain_(domain), places_(places), body_(body), extents_(domain.extents(places.order)) {
  row_rank_ = domain.row_rank();
  program_.code.rank = static_cast<int32_t>(extents_.size());
  program_.code.row_rank = row_rank_;
  program_.extents = extents_;
  for (Value* input : body.inputs()) program_.code.inputs.push_back(input->dtype());
  for (Value* output : body.outputs()) program_.code.outputs.push_back(output->dtype());
}

int TileEmitter::fail(std::string reason) {
  if (status_.ok()) status_ = Status::error("K2322", "no tile program: " + std::move(reason));
  return -1;
}

int TileEmitter::add(TileInstr instr, LaneType result) {
  if (!status_.ok()) return -1;
  for (int32_t source : instr.src) KILN_CHECK_GE(source, -1);
  instr.dst = static_cast<int32_t>(program_.code.registers.size());
  program_.code.registers.push_back(result);
  program_.code.instrs.push_back(instr);
  return instr.dst;
}

int TileEmitter::unary(TileOp op, int a, std::array<double, 3> params) {
  if (a < 0) return -1;
  TileInstr instr;
  instr.op = op;
  instr.type = type(a);
  instr.src[0] = a;
  instr.params = params;
  const int result = tile_op_info(op).result;
  return add(instr, result >= 0 ? static_cast<LaneType>(result) : type(a));
}

int TileEmitter::binary(TileOp op, int a, int b) {
  if (a < 0 || b < 0) return -1;
  TileInstr instr;
  instr.op = op;
  instr.type = type(a);
  instr.src[0] = a;
  instr.src[1] = b;
  const int result = tile_op_info(op).result;
  return add(instr, result >= 0 ? static_cast<LaneType>(result) : type(a));
}

int TileEmitter::select(int condition, int a, int b) {
  if (condition < 0 || a < 0 || b < 0) return -1;
  TileInstr instr;
  instr.op = TileOp::kSelect;
  instr.type = type(a);
  instr.src = {condition, a, b};
  return add(instr, type(a));
}

int TileEmitter::constant(double value, LaneType type) {
  TileInstr instr;
  instr.op = TileOp::kConst;
  instr.type = type;
  if (type == LaneType::kI64 || type == LaneType::kBool) {
    instr.integer = static_cast<int64_t>(value);
  } else {
    instr.params[0] =
        type == LaneType::kF32 ? static_cast<double>(static_cast<float>(value)) : value;
  }
  return add(instr, type);
}

int TileEmitter::integer(int64_t value, LaneType type) {
  if (type == LaneType::kF32 || type == LaneType::kF64) {
    return constant(static_cast<double>(value), type);
  }
  TileInstr instr;
  instr.op = TileOp::kConst;
  instr.type = type;
  instr.integer = type == LaneType::kBool ? (value != 0) : value;
  return add(instr, type);
}

int TileEmitter::iota(size_t domain_dim) {
  TileInstr instr;
  instr.op = TileOp::kIota;
  instr.type = LaneType::kI64;
  instr.integer = static_cast<int64_t>(domain_dim);
  return add(instr, LaneType::kI64);
}

int TileEmitter::cast(int a, LaneType to) {
  if (a < 0 || type(a) == to) return a;
  // kCast is typed by what it converts from.
  TileInstr instr;
  instr.op = TileOp::kCast;
  instr.type = type(a);
  instr.src[0] = a;
  return add(instr, to);
}

int TileEmitter::round_to(int a, DType dtype) {
  if (a < 0) return -1;
  const bool exact =
      dtype == DType::kF32 || dtype == DType::kF64 || dtype == DType::kI64 || dtype == DType::kBool;
  if (exact) return a;
  TileInstr instr;
  instr.op = TileOp::kRoundTo;
  instr.type = type(a);
  instr.src[0] = a;
  instr.storage = dtype;
  return add(instr, type(a));
}

int TileEmitter::finish(Node& node, int a) {
  Value* result = node.result();
  const bool stored = result->uses().empty() && is_float(result->dtype());
  return stored ? a : round_to(a, result->dtype());
}

int TileEmitter::reduce(TileOp op, int a) { return unary(op, a); }

int TileEmitter::row_count(LaneType lane) {
  DimExpr count = 1;
  for (size_t d = first_row_dim(); d < extents_.size(); ++d) count *= extents_[d];
  if (count.is_constant()) return constant(static_cast<double>(count.value()), lane);
  return reduce(TileOp::kReduceSum, constant(1, lane));
}

int TileEmitter::index_value(const AffineIndex& index) {
  if (!index.offset.is_constant()) return fail("symbolic offset of an index");
  int sum = index.offset.is_value(0) ? -2 : integer(index.offset.value(), LaneType::kI64);
  for (size_t d = 0; d < index.scale.size(); ++d) {
    if (index.scale[d].is_value(0)) continue;
    if (!index.scale[d].is_constant()) return fail("symbolic scale of an index");
    int term = iota(d);
    if (!index.scale[d].is_value(1)) {
      term = binary(TileOp::kMul, term, integer(index.scale[d].value(), LaneType::kI64));
    }
    sum = sum == -2 ? term : binary(TileOp::kAdd, sum, term);
  }
  return sum == -2 ? integer(0, LaneType::kI64) : sum;
}

bool TileEmitter::spans_row(const IndexMap& map, const std::vector<int64_t>& axes) {
  if (static_cast<int>(axes.size()) != row_rank_) return false;
  for (size_t d = 0; d < map.dims.size(); ++d) {
    const auto found = std::find(axes.begin(), axes.end(), static_cast<int64_t>(d));
    for (size_t k = first_row_dim(); k < rank(); ++k) {
      const bool own =
          found != axes.end() && static_cast<size_t>(found - axes.begin()) == k - first_row_dim();
      const bool counts = own && !extents_[k].is_value(1);
      if (!map.dims[d].scale[k].is_value(counts ? 1 : 0)) return false;
    }
    if (found != axes.end() && !map.dims[d].offset.is_value(0)) return false;
  }
  return true;
}

IndexMap TileEmitter::reduction_operand_map(Node& node, const IndexMap& result) {
  IndexMap map;
  std::vector<int64_t> axes = node.get_ints("axes");
  std::sort(axes.begin(), axes.end());
  const bool keepdim = node.get_bool("keepdim");
  size_t at = 0;
  for (int d = 0; d < node.operand(0)->tensor().rank(); ++d) {
    const auto found = std::find(axes.begin(), axes.end(), static_cast<int64_t>(d));
    if (found == axes.end()) {
      map.dims.push_back(result.dims[at++]);
      continue;
    }
    if (keepdim) ++at;
    const size_t row = first_row_dim() + static_cast<size_t>(found - axes.begin());
    map.dims.push_back(AffineIndex::along(extents_, row));
  }
  return map;
}

namespace {

// Where the value at `map` lies in an operand with these strides.
TileAccessExpr access_of(const PlanView& place, const IndexMap& map, size_t domain_rank) {
  TileAccessExpr access;
  access.strides.assign(domain_rank, DimExpr(0));
  for (size_t d = 0; d < map.dims.size(); ++d) {
    access.offset += map.dims[d].offset * place.strides[d];
    for (size_t k = 0; k < domain_rank; ++k) {
      access.strides[k] += map.dims[d].scale[k] * place.strides[d];
    }
  }
  return access;
}

}  // namespace

int TileEmitter::load(int input, const IndexMap& map, DType dtype) {
  const PlanView& place = places_.inputs[static_cast<size_t>(input)];
  TileInstr instr;
  instr.op = TileOp::kLoad;
  instr.type = lane_type_of(dtype);
  instr.operand = input;
  program_.accesses.push_back(access_of(place, map, rank()));
  return add(instr, instr.type);
}

void TileEmitter::store(int output, int reg, const IndexMap& map, DType dtype) {
  if (reg < 0 || !status_.ok()) return;
  const PlanView& place = places_.outputs[static_cast<size_t>(output)];
  TileInstr instr;
  instr.op = TileOp::kStore;
  instr.type = lane_type_of(dtype);
  instr.operand = output;
  instr.src[0] = cast(reg, instr.type);
  program_.accesses.push_back(access_of(place, map, rank()));
  program_.code.instrs.push_back(instr);
}

int TileEmitter::emit(Value* value, const IndexMap& map) {
  if (!status_.ok()) return -1;
  auto [found, inserted] = registers_.emplace(std::make_pair(value, map.to_string()), -1);
  if (!inserted) return found->second;
  int reg = -1;
  if (value->producer() == nullptr) {
    reg = load(value->index(), map, value->dtype());
  } else {
    reg = emit_node(*value->producer(), map);
  }
  registers_[{value, map.to_string()}] = reg;
  return reg;
}

namespace {

struct Moments {
  int mean = -1, centered = -1, variance = -1;
};

// Mean and population variance in two passes over the row, as accurate as eager's.
Moments moments(TileEmitter& e, int x) {
  Moments m;
  const int count = e.row_count(e.type(x));
  m.mean = e.binary(TileOp::kDiv, e.reduce(TileOp::kReduceSum, x), count);
  m.centered = e.binary(TileOp::kSub, x, m.mean);
  const int squares = e.binary(TileOp::kMul, m.centered, m.centered);
  m.variance = e.binary(TileOp::kDiv, e.reduce(TileOp::kReduceSum, squares), count);
  return m;
}

int inverse_deviation(TileEmitter& e, int variance, double eps) {
  const int sum = e.binary(TileOp::kAdd, variance, e.constant(eps, e.type(variance)));
  return e.unary(TileOp::kReciprocal, e.unary(TileOp::kSqrt, sum));
}

TileOp reduce_op(std::string_view name) {
  if (name == "reduce_prod") return TileOp::kReduceProd;
  if (name == "reduce_max") return TileOp::kReduceMax;
  if (name == "reduce_min") return TileOp::kReduceMin;
  if (name == "reduce_any") return TileOp::kReduceAny;
  if (name == "reduce_all") return TileOp::kReduceAll;
  if (name == "reduce_argmax") return TileOp::kReduceArgMax;
  if (name == "reduce_argmin") return TileOp::kReduceArgMin;
  return TileOp::kReduceSum;
}

}  // namespace

int TileEmitter::emit_node(Node& node, const IndexMap& map) {
  const std::string_view op = node.op_name();
  const DType dtype = node.result()->dtype();
  const LaneType lane = lane_type_of(dtype);
  if (op == "permute")
    return emit(node.operand(0), permute_operand_map(map, node.get_ints("order")));
  if (op == "expand") {
    return emit(node.operand(0),
                expand_operand_map(map, node.operand(0)->shape(), node.result()->shape()));
  }
  if (op == "slice") {
    return emit(node.operand(0), slice_operand_map(map, node.get_int("axis"), node.get_dim("start"),
                                                   node.get_dim("step")));
  }
  if (op == "reshape") {
    const auto operand = reshape_operand_map(map, node.operand(0)->shape(), node.result()->shape());
    if (!operand) return fail("reshape merges dims: " + node.origin.to_string());
    return emit(node.operand(0), *operand);
  }
  if (op == "constant") {
    const auto& value = std::get<HostTensor>(node.attr("value"));
    if (is_float(dtype)) return constant(value.get_double(0), lane);
    return integer(value.get_int(0), lane);
  }
  if (op == "full") {
    return is_float(dtype) ? round_to(constant(node.get_float("value"), lane), dtype)
                           : integer(node.get_int("int_value"), lane);
  }
  if (op == "iota") {
    int value = index_value(map.dims[0]);
    value = binary(TileOp::kMul, value, integer(node.get_dim("step").value(), LaneType::kI64));
    value = binary(TileOp::kAdd, value, integer(node.get_dim("start").value(), LaneType::kI64));
    if (!is_float(dtype)) return round_to(value, dtype);
    // Fields scale and offset are for floats and count in fp64.
    value = cast(value, LaneType::kF64);
    value = binary(TileOp::kMul, value, constant(node.get_float("scale"), LaneType::kF64));
    value = binary(TileOp::kAdd, value, constant(node.get_float("offset"), LaneType::kF64));
    return round_to(cast(value, lane), dtype);
  }
  if (op == "tril" || op == "triu") {
    const int x = emit(node.operand(0), map);
    const size_t rank = map.dims.size();
    const int row = index_value(map.dims[rank - 2]);
    const int column = index_value(map.dims[rank - 1]);
    const int limit = binary(TileOp::kAdd, row, integer(node.get_int("diagonal"), LaneType::kI64));
    const int keep = binary(op == "tril" ? TileOp::kLe : TileOp::kGe, column, limit);
    return select(keep, x, integer(0, lane));
  }
  if (op == "batch_norm") {
    IndexMap channel;
    channel.dims = {map.dims[1]};
    const int x = emit(node.operand(0), map);
    const int mean = emit(node.operand(1), channel);
    const int scale =
        inverse_deviation(*this, emit(node.operand(2), channel), node.get_float("eps"));
    int y = binary(TileOp::kMul, binary(TileOp::kSub, x, mean), scale);
    if (node.num_operands() > 3 && node.operand(3) != nullptr) {
      y = binary(TileOp::kMul, y, emit(node.operand(3), channel));
    }
    if (node.num_operands() > 4 && node.operand(4) != nullptr) {
      y = binary(TileOp::kAdd, y, emit(node.operand(4), channel));
    }
    return finish(node, y);
  }
  if (node.op->has(kElementwise)) {
    std::vector<int> operands;
    for (Value* operand : node.operands()) {
      operands.push_back(
          operand == nullptr ? -1 : emit(operand, broadcast_operand_map(map, operand->shape())));
    }
    int result = -1;
    if (!status_.ok()) return -1;
    if (!emit_elementwise(*this, node, operands, &result)) {
      return fail("no statement for " + std::string(op));
    }
    return result;
  }
  if (node.op->has(kReduction)) {
    std::vector<int64_t> axes = node.get_ints("axes");
    std::sort(axes.begin(), axes.end());
    const IndexMap operand_map = reduction_operand_map(node, map);
    if (!spans_row(operand_map, axes)) return fail("reduction over something that is not the row");
    const DType source = node.operand(0)->dtype();
    int x = emit(node.operand(0), operand_map);
    if (x < 0) return -1;
    if (op == "reduce_any" || op == "reduce_all") {
      return reduce(reduce_op(op), cast(x, LaneType::kBool));
    }
    if (op == "reduce_argmax" || op == "reduce_argmin") {
      if (source == DType::kBool) x = cast(x, LaneType::kI64);
      return reduce(reduce_op(op), x);
    }
    if (op == "reduce_mean") {
      const int sum = reduce(TileOp::kReduceSum, x);
      return finish(node, binary(TileOp::kDiv, sum, row_count(type(sum))));
    }
    if (op == "var") {
      const int count = row_count(type(x));
      const Moments m = moments(*this, x);
      const int squares = reduce(TileOp::kReduceSum, binary(TileOp::kMul, m.centered, m.centered));
      const int divisor =
          binary(TileOp::kMax,
                 binary(TileOp::kSub, count, constant(node.get_float("correction"), type(x))),
                 constant(0, type(x)));
      return finish(node, binary(TileOp::kDiv, squares, divisor));
    }
    if (op == "logsumexp") {
      const int max = reduce(TileOp::kReduceMax, x);
      // Rows whose maximum is infinite: the shift would make NaN of it.
      const int finite = unary(TileOp::kIsFinite, max);
      const int shift = select(finite, max, constant(0, type(x)));
      const int sum =
          reduce(TileOp::kReduceSum, unary(TileOp::kExp, binary(TileOp::kSub, x, shift)));
      return finish(node, binary(TileOp::kAdd, unary(TileOp::kLog, sum), shift));
    }
    if (source == DType::kBool) x = cast(x, LaneType::kI64);
    return cast(round_to(reduce(reduce_op(op), x), dtype), lane);
  }
  if (op == "softmax" || op == "log_softmax") {
    if (!spans_row(map, {node.get_int("axis")}))
      return fail("softmax over something that is not the row");
    const int x = emit(node.operand(0), map);
    const int shifted = binary(TileOp::kSub, x, reduce(TileOp::kReduceMax, x));
    const int exponentials = unary(TileOp::kExp, shifted);
    const int sum = reduce(TileOp::kReduceSum, exponentials);
    if (op == "softmax") {
      return finish(node, binary(TileOp::kDiv, exponentials, sum));
    }
    return finish(node, binary(TileOp::kSub, shifted, unary(TileOp::kLog, sum)));
  }
  if (op == "layer_norm" || op == "rms_norm") {
    const size_t count = static_cast<size_t>(node.get_int("num_axes"));
    std::vector<int64_t> axes;
    IndexMap inner;
    for (size_t d = map.dims.size() - count; d < map.dims.size(); ++d) {
      axes.push_back(static_cast<int64_t>(d));
      inner.dims.push_back(map.dims[d]);
    }
    if (!spans_row(map, axes)) return fail("norm over something that is not the row");
    const int x = emit(node.operand(0), map);
    int y = -1;
    if (op == "layer_norm") {
      const Moments m = moments(*this, x);
      y = binary(TileOp::kMul, m.centered,
                 inverse_deviation(*this, m.variance, node.get_float("eps")));
    } else {
      const int squares = reduce(TileOp::kReduceSum, binary(TileOp::kMul, x, x));
      const int mean = binary(TileOp::kDiv, squares, row_count(type(x)));
      y = binary(TileOp::kMul, x, inverse_deviation(*this, mean, node.get_float("eps")));
    }
    if (node.num_operands() > 1 && node.operand(1) != nullptr) {
      y = binary(TileOp::kMul, y, emit(node.operand(1), inner));
    }
    if (node.num_operands() > 2 && node.operand(2) != nullptr) {
      y = binary(TileOp::kAdd, y, emit(node.operand(2), inner));
    }
    return finish(node, y);
  }
  if (op == "group_norm") {
    if (domain_.groups != node.get_int("groups") || !(map == domain_.full_map(places_.order))) {
      return fail("group norm over something that is not the row");
    }
    const int x = emit(node.operand(0), map);
    const Moments m = moments(*this, x);
    int y = binary(TileOp::kMul, m.centered,
                   inverse_deviation(*this, m.variance, node.get_float("eps")));
    IndexMap channel;
    channel.dims = {map.dims[1]};
    if (node.num_operands() > 1 && node.operand(1) != nullptr) {
      y = binary(TileOp::kMul, y, emit(node.operand(1), channel));
    }
    if (node.num_operands() > 2 && node.operand(2) != nullptr) {
      y = binary(TileOp::kAdd, y, emit(node.operand(2), channel));
    }
    return finish(node, y);
  }
  return fail("no statement for " + std::string(op));
}

namespace {

// Maps of the values from which an output's map is known: full shape, reduced results, and what is
// computed from them without views.
std::optional<IndexMap> output_map(Value* value, const TileDomain& domain,
                                   const std::vector<int>& order) {
  const IndexMap full = domain.full_map(order);
  if (value->shape() == domain.full) return full;
  if (domain.groups != 0 || !domain.has_rows()) return std::nullopt;
  const bool keep = value->shape() == domain.reduced_shape(true);
  if (!keep && !(value->shape() == domain.reduced_shape(false))) return std::nullopt;
  IndexMap map;
  for (size_t d = 0; d < domain.full.size(); ++d) {
    const bool row = std::find(domain.axes.begin(), domain.axes.end(), static_cast<int64_t>(d)) !=
                     domain.axes.end();
    if (!row) map.dims.push_back(full.dims[d]);
    if (row && keep) map.dims.push_back(AffineIndex::zero(full.dims[0].scale.size()));
  }
  return map;
}

}  // namespace

Result<TileProgram> build_tile_program(Graph& body, const TilePlaces& places) {
  const TileDomain domain = domain_of(body);
  TileEmitter emitter(domain, places, body);
  for (size_t i = 0; i < body.outputs().size(); ++i) {
    Value* output = body.outputs()[i];
    const auto map = output_map(output, domain, places.order);
    if (!map) {
      emitter.fail("output has no place in the domain: " + output->type.to_string());
      break;
    }
    emitter.store(static_cast<int>(i), emitter.emit(output, *map), *map, output->dtype());
  }
  KILN_RETURN_IF_ERROR(Status(emitter.status()));
  TileProgram program = emitter.take();
  KILN_RETURN_IF_ERROR(verify(program));
  return program;
}

}  // namespace kiln

#include "runtime/tile_code.h"

#include <algorithm>

#include "base/check.h"

namespace kiln {
namespace {

constexpr uint8_t bit(LaneType type) { return static_cast<uint8_t>(1u << static_cast<int>(type)); }
constexpr uint8_t kFloat = bit(LaneType::kF32) | bit(LaneType::kF64);
constexpr uint8_t kInt = bit(LaneType::kI64);
constexpr uint8_t kBoolean = bit(LaneType::kBool);
constexpr uint8_t kNumber = kFloat | kInt;
constexpr uint8_t kAny = kNumber | kBoolean;
constexpr int kSame = -1;
constexpr int kFree = -2;
constexpr int kToBool = static_cast<int>(LaneType::kBool);
constexpr int kToInt = static_cast<int>(LaneType::kI64);

using Kind = TileOpKind;

// In the order of TileOp.
constexpr TileOpInfo kInfos[] = {
    {"load", Kind::kMemory, 0, 0, kAny, kSame},
    {"gather", Kind::kMemory, -1, 0, kAny, kSame},
    {"store", Kind::kMemory, 1, 0, kAny, kFree},
    {"const", Kind::kSource, 0, 0, kAny, kSame},
    {"iota", Kind::kSource, 0, 0, kInt, kSame},
    {"cast", Kind::kConvert, 1, 0, kAny, kFree},
    {"round_to", Kind::kConvert, 1, 0, kNumber, kSame},
    {"neg", Kind::kUnary, 1, 0, kNumber, kSame},
    {"abs", Kind::kUnary, 1, 0, kNumber, kSame},
    {"sign", Kind::kUnary, 1, 0, kNumber, kSame},
    {"relu", Kind::kUnary, 1, 0, kNumber, kSame},
    {"exp", Kind::kUnary, 1, 0, kFloat, kSame},
    {"exp2", Kind::kUnary, 1, 0, kFloat, kSame},
    {"expm1", Kind::kUnary, 1, 0, kFloat, kSame},
    {"log", Kind::kUnary, 1, 0, kFloat, kSame},
    {"log2", Kind::kUnary, 1, 0, kFloat, kSame},
    {"log10", Kind::kUnary, 1, 0, kFloat, kSame},
    {"log1p", Kind::kUnary, 1, 0, kFloat, kSame},
    {"sqrt", Kind::kUnary, 1, 0, kFloat, kSame},
    {"rsqrt", Kind::kUnary, 1, 0, kFloat, kSame},
    {"reciprocal", Kind::kUnary, 1, 0, kFloat, kSame},
    {"sin", Kind::kUnary, 1, 0, kFloat, kSame},
    {"cos", Kind::kUnary, 1, 0, kFloat, kSame},
    {"tan", Kind::kUnary, 1, 0, kFloat, kSame},
    {"asin", Kind::kUnary, 1, 0, kFloat, kSame},
    {"acos", Kind::kUnary, 1, 0, kFloat, kSame},
    {"atan", Kind::kUnary, 1, 0, kFloat, kSame},
    {"sinh", Kind::kUnary, 1, 0, kFloat, kSame},
    {"cosh", Kind::kUnary, 1, 0, kFloat, kSame},
    {"tanh", Kind::kUnary, 1, 0, kFloat, kSame},
    {"asinh", Kind::kUnary, 1, 0, kFloat, kSame},
    {"acosh", Kind::kUnary, 1, 0, kFloat, kSame},
    {"atanh", Kind::kUnary, 1, 0, kFloat, kSame},
    {"erf", Kind::kUnary, 1, 0, kFloat, kSame},
    {"erfc", Kind::kUnary, 1, 0, kFloat, kSame},
    {"sigmoid", Kind::kUnary, 1, 0, kFloat, kSame},
    {"gelu_erf", Kind::kUnary, 1, 0, kFloat, kSame},
    {"gelu_tanh", Kind::kUnary, 1, 0, kFloat, kSame},
    {"silu", Kind::kUnary, 1, 0, kFloat, kSame},
    {"hardswish", Kind::kUnary, 1, 0, kFloat, kSame},
    {"hardsigmoid", Kind::kUnary, 1, 0, kFloat, kSame},
    {"mish", Kind::kUnary, 1, 0, kFloat, kSame},
    {"softplus", Kind::kUnary, 1, 2, kFloat, kSame},
    {"elu", Kind::kUnary, 1, 3, kFloat, kSame},
    {"leaky_relu", Kind::kUnary, 1, 1, kFloat, kSame},
    {"clamp", Kind::kUnary, 1, 2, kFloat, kSame},
    {"floor", Kind::kUnary, 1, 0, kFloat, kSame},
    {"ceil", Kind::kUnary, 1, 0, kFloat, kSame},
    {"round", Kind::kUnary, 1, 0, kFloat, kSame},
    {"trunc", Kind::kUnary, 1, 0, kFloat, kSame},
    {"frac", Kind::kUnary, 1, 0, kFloat, kSame},
    {"isnan", Kind::kUnary, 1, 0, kFloat, kToBool},
    {"isinf", Kind::kUnary, 1, 0, kFloat, kToBool},
    {"isfinite", Kind::kUnary, 1, 0, kFloat, kToBool},
    {"logical_not", Kind::kUnary, 1, 0, kBoolean, kSame},
    {"bitwise_not", Kind::kUnary, 1, 0, kInt, kSame},
    {"add", Kind::kBinary, 2, 0, kNumber, kSame},
    {"sub", Kind::kBinary, 2, 0, kNumber, kSame},
    {"mul", Kind::kBinary, 2, 0, kNumber, kSame},
    {"div", Kind::kBinary, 2, 0, kFloat, kSame},
    {"floor_div", Kind::kBinary, 2, 0, kNumber, kSame},
    {"trunc_div", Kind::kBinary, 2, 0, kNumber, kSame},
    {"remainder", Kind::kBinary, 2, 0, kNumber, kSame},
    {"fmod", Kind::kBinary, 2, 0, kNumber, kSame},
    {"pow", Kind::kBinary, 2, 0, kNumber, kSame},
    {"atan2", Kind::kBinary, 2, 0, kFloat, kSame},
    {"max", Kind::kBinary, 2, 0, kNumber, kSame},
    {"min", Kind::kBinary, 2, 0, kNumber, kSame},
    {"eq", Kind::kBinary, 2, 0, kAny, kToBool},
    {"ne", Kind::kBinary, 2, 0, kAny, kToBool},
    {"lt", Kind::kBinary, 2, 0, kAny, kToBool},
    {"le", Kind::kBinary, 2, 0, kAny, kToBool},
    {"gt", Kind::kBinary, 2, 0, kAny, kToBool},
    {"ge", Kind::kBinary, 2, 0, kAny, kToBool},
    {"and", Kind::kBinary, 2, 0, kInt | kBoolean, kSame},
    {"or", Kind::kBinary, 2, 0, kInt | kBoolean, kSame},
    {"xor", Kind::kBinary, 2, 0, kInt | kBoolean, kSame},
    {"shl", Kind::kBinary, 2, 0, kInt, kSame},
    {"shr", Kind::kBinary, 2, 0, kInt, kSame},
    {"select", Kind::kTernary, 3, 0, kAny, kSame},
    {"fma", Kind::kTernary, 3, 0, kFloat, kSame},
    {"reduce_sum", Kind::kReduce, 1, 0, kNumber, kSame},
    {"reduce_prod", Kind::kReduce, 1, 0, kNumber, kSame},
    {"reduce_max", Kind::kReduce, 1, 0, kNumber, kSame},
    {"reduce_min", Kind::kReduce, 1, 0, kNumber, kSame},
    {"reduce_argmax", Kind::kReduce, 1, 0, kNumber, kToInt},
    {"reduce_argmin", Kind::kReduce, 1, 0, kNumber, kToInt},
    {"reduce_any", Kind::kReduce, 1, 0, kBoolean, kSame},
    {"reduce_all", Kind::kReduce, 1, 0, kBoolean, kSame},
};
static_assert(std::size(kInfos) == kTileOpCount);

Status invalid(size_t instr, std::string_view what) {
  return Status::error("K4401", "invalid tile code: " + std::string(what) + ": instruction " +
                                    std::to_string(instr));
}

// Smallest and largest element offset that `access` reaches over the domain; false on overflow.
bool access_range(const TileAccess& access, const std::vector<int64_t>& extents, bool gather,
                  int64_t* lowest, int64_t* highest) {
  int64_t low = access.offset, high = access.offset;
  const auto extend = [&](int64_t extent, int64_t stride) {
    int64_t span;
    if (__builtin_mul_overflow(extent - 1, stride, &span)) return false;
    return span < 0 ? !__builtin_add_overflow(low, span, &low)
                    : !__builtin_add_overflow(high, span, &high);
  };
  for (size_t d = 0; d < extents.size(); ++d)
    if (!extend(extents[d], access.strides[d])) return false;
  if (gather)
    for (const TileGatherAxis& axis : access.axes)
      if (axis.size > 0 && !extend(axis.size, axis.stride)) return false;
  *lowest = low;
  *highest = high;
  return true;
}

// True when two points of the domain may write one element: strides of the dims with more than one
// point, sorted, must each step over all that the smaller ones reach.
bool may_overlap(const TileAccess& access, const std::vector<int64_t>& extents, size_t dims) {
  std::vector<std::pair<int64_t, int64_t>> strides;
  for (size_t d = 0; d < dims; ++d)
    if (extents[d] > 1) strides.emplace_back(std::abs(access.strides[d]), extents[d]);
  std::sort(strides.begin(), strides.end());
  int64_t reach = 0;  // cannot overflow: access_range was checked
  for (const auto& [stride, extent] : strides) {
    if (stride <= reach) return true;
    reach += (extent - 1) * stride;
  }
  return false;
}

}  // namespace

std::string_view lane_type_name(LaneType type) {
  constexpr std::string_view names[] = {"f32", "f64", "i64", "bool"};
  return names[static_cast<int>(type)];
}

LaneType lane_type_of(DType dtype) {
  switch (dtype) {
    case DType::kF32:
    case DType::kF16:
    case DType::kBF16: return LaneType::kF32;
    case DType::kF64: return LaneType::kF64;
    case DType::kBool: return LaneType::kBool;
    default: return LaneType::kI64;
  }
}

size_t lane_bytes(LaneType type) {
  return type == LaneType::kF32 ? 4 : type == LaneType::kBool ? 1 : 8;
}

const TileOpInfo& tile_op_info(TileOp op) {
  KILN_CHECK_LT(static_cast<int>(op), kTileOpCount);
  return kInfos[static_cast<int>(op)];
}

bool TileCode::can_fail() const {
  return std::any_of(instrs.begin(), instrs.end(), [](const TileInstr& instr) {
    switch (instr.op) {
      case TileOp::kGather: return true;
      case TileOp::kFloorDiv:
      case TileOp::kTruncDiv:
      case TileOp::kRemainder:
      case TileOp::kFmod: return instr.type == LaneType::kI64;
      default: return false;
    }
  });
}

int32_t TileCode::memory_instr_count() const {
  int32_t count = 0;
  for (const TileInstr& instr : instrs) count += tile_op_info(instr.op).kind == TileOpKind::kMemory;
  return count;
}

Status verify_tile_code(const TileCode& code) {
  if (code.rank < 0 || code.rank > kMaxTileRank || code.row_rank < 0 || code.row_rank > code.rank)
    return Status::error("K4401", "invalid tile code: rank " + std::to_string(code.rank) +
                                      ", row rank " + std::to_string(code.row_rank));
  if (code.inputs.size() > kMaxTileOperands || code.outputs.size() > kMaxTileOperands ||
      code.registers.size() > kMaxTileRegisters || code.instrs.size() > 2 * kMaxTileRegisters)
    return Status::error("K4401", "invalid tile code: too long");
  const auto dtype_ok = [](DType dtype) { return dtype <= DType::kBool; };
  if (!std::all_of(code.inputs.begin(), code.inputs.end(), dtype_ok) ||
      !std::all_of(code.outputs.begin(), code.outputs.end(), dtype_ok))
    return Status::error("K4401", "invalid tile code: unknown operand type");
  for (LaneType type : code.registers)
    if (type > LaneType::kBool)
      return Status::error("K4401", "invalid tile code: unknown register type");

  std::vector<bool> written(code.registers.size(), false);
  for (size_t i = 0; i < code.instrs.size(); ++i) {
    const TileInstr& instr = code.instrs[i];
    if (static_cast<int>(instr.op) >= kTileOpCount) return invalid(i, "unknown operation");
    const TileOpInfo& info = tile_op_info(instr.op);
    if (instr.type > LaneType::kBool || !(info.types & bit(instr.type)))
      return invalid(i, "operation does not exist for this type");

    int sources = 0;
    while (sources < 3 && instr.src[sources] >= 0) ++sources;
    for (int s = sources; s < 3; ++s)
      if (instr.src[s] != -1) return invalid(i, "operands with a hole");
    if (info.arity >= 0 ? sources != info.arity : sources < 1)
      return invalid(i, "wrong number of operands");
    for (int s = 0; s < sources; ++s) {
      const int32_t reg = instr.src[s];
      if (reg >= static_cast<int32_t>(code.registers.size()) || !written[reg])
        return invalid(i, "operand is not defined before");
      const LaneType expected = instr.op == TileOp::kGather             ? LaneType::kI64
                                : instr.op == TileOp::kSelect && s == 0 ? LaneType::kBool
                                                                        : instr.type;
      if (code.registers[reg] != expected) return invalid(i, "operand has another type");
    }

    if (instr.op == TileOp::kStore) {
      if (instr.dst != -1) return invalid(i, "store has no result");
    } else {
      if (instr.dst < 0 || instr.dst >= static_cast<int32_t>(code.registers.size()))
        return invalid(i, "no such register");
      if (written[instr.dst]) return invalid(i, "register is written twice");
      written[instr.dst] = true;
      if (info.result != kFree) {
        const LaneType result =
            info.result == kSame ? instr.type : static_cast<LaneType>(info.result);
        if (code.registers[instr.dst] != result) return invalid(i, "result has another type");
      }
    }
    if (info.kind == TileOpKind::kMemory) {
      const size_t count = instr.op == TileOp::kStore ? code.outputs.size() : code.inputs.size();
      if (instr.operand < 0 || instr.operand >= static_cast<int32_t>(count))
        return invalid(i, "no such operand");
    } else if (instr.operand != -1) {
      return invalid(i, "operand number on an instruction that has none");
    }
    if (instr.op == TileOp::kRoundTo) {
      const bool fits = instr.type == LaneType::kI64
                            ? is_integer(instr.storage)
                            : is_float(instr.storage) && instr.storage != DType::kF64;
      if (instr.storage > DType::kBool || !fits) return invalid(i, "cannot round to this type");
    }
    if (instr.op == TileOp::kIota && (instr.integer < 0 || instr.integer >= code.rank))
      return invalid(i, "no such dim");
    if (instr.op == TileOp::kConst && instr.type == LaneType::kBool &&
        (instr.integer < 0 || instr.integer > 1))
      return invalid(i, "bool constant is neither 0 nor 1");
    if (info.kind == TileOpKind::kReduce && code.row_rank == 0)
      return invalid(i, "reduction in a program without row");
  }
  return {};
}

Status verify_tile_binding(const TileCode& code, const TileBinding& binding) {
  const auto mismatch = [](const std::string& what) {
    return Status::error("K4402", "tile binding does not fit its code: " + what);
  };
  if (binding.extents.size() != static_cast<size_t>(code.rank)) return mismatch("rank");
  if (binding.accesses.size() != static_cast<size_t>(code.memory_instr_count()))
    return mismatch("number of accesses");
  if (binding.input_elements.size() != code.inputs.size() ||
      binding.output_elements.size() != code.outputs.size())
    return mismatch("number of operands");
  int64_t points = 1;
  for (int64_t extent : binding.extents) {
    if (extent < 0) return mismatch("negative extent " + std::to_string(extent));
    if (extent > 0 && __builtin_mul_overflow(points, extent, &points))
      return mismatch("domain too large");
  }
  int64_t row = 1, outer = 1;
  for (int d = 0; d < code.rank; ++d) {
    int64_t& product = d < code.rank - code.row_rank ? outer : row;
    if (__builtin_mul_overflow(product, binding.extents[d], &product))
      return mismatch("domain too large");
  }
  const size_t outer_dims = static_cast<size_t>(code.rank - code.row_rank);

  size_t next = 0;
  for (size_t i = 0; i < code.instrs.size(); ++i) {
    const TileInstr& instr = code.instrs[i];
    const bool arg = instr.op == TileOp::kReduceMax || instr.op == TileOp::kReduceMin ||
                     instr.op == TileOp::kReduceArgMax || instr.op == TileOp::kReduceArgMin;
    if (arg && row == 0 && outer > 0)
      return mismatch("maximum or minimum over an empty row: instruction " + std::to_string(i));
    if (tile_op_info(instr.op).kind != TileOpKind::kMemory) continue;
    const TileAccess& access = binding.accesses[next++];
    const std::string where = ": instruction " + std::to_string(i);
    if (access.strides.size() != static_cast<size_t>(code.rank))
      return mismatch("number of strides" + where);
    size_t sources = 0;
    while (sources < 3 && instr.src[sources] >= 0) ++sources;
    if (access.axes.size() != (instr.op == TileOp::kGather ? sources : 0))
      return mismatch("number of gathered axes" + where);
    for (const TileGatherAxis& axis : access.axes)
      if (axis.size < 0) return mismatch("negative axis size" + where);

    const bool store = instr.op == TileOp::kStore;
    const int64_t elements =
        store ? binding.output_elements[instr.operand] : binding.input_elements[instr.operand];
    if (elements < 0) return mismatch("negative operand size" + where);
    // What has no stride in the row's dims is read or written once per row, also when the row is
    // empty (the result of a reduction is stored then).
    std::vector<int64_t> extents = binding.extents;
    bool once_per_row = code.row_rank > 0;
    for (size_t d = outer_dims; d < extents.size(); ++d)
      if (access.strides[d] != 0) once_per_row = once_per_row && extents[d] == 1;
    if (once_per_row)
      std::fill(extents.begin() + static_cast<std::ptrdiff_t>(outer_dims), extents.end(), 1);
    const bool nothing = std::find(extents.begin(), extents.end(), 0) != extents.end();
    if (nothing) continue;
    // A gather along an empty axis reads nothing: its first index already fails the run.
    if (std::any_of(access.axes.begin(), access.axes.end(),
                    [](const TileGatherAxis& axis) { return axis.size == 0; }))
      continue;
    int64_t lowest, highest;
    if (!access_range(access, extents, instr.op == TileOp::kGather, &lowest, &highest) ||
        lowest < 0 || highest >= elements)
      return Status::error("K4403", "tile access leaves its operand of " +
                                        std::to_string(elements) + " elements" + where);
    if (store && may_overlap(access, extents, extents.size()))
      return mismatch("stores overlap" + where);
  }
  return {};
}

}  // namespace kiln

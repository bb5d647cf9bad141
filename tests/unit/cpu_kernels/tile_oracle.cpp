#include "unit/cpu_kernels/tile_oracle.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "base/check.h"

namespace kiln::tile_test {
namespace {

template <typename T>
T read(const Operand& operand, int64_t i) {
  T value;
  std::memcpy(&value, operand.bytes.data() + i * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}
template <typename T>
void write(Operand* operand, int64_t i, T value) {
  std::memcpy(operand->bytes.data() + i * static_cast<int64_t>(sizeof(T)), &value, sizeof(T));
}

int64_t truncate(double value) {
  return value >= -0x1p63 && value < 0x1p63 ? static_cast<int64_t>(value)
                                            : std::numeric_limits<int64_t>::min();
}

// A lane: floats in f (f32 already rounded), integers and bools in i.
struct Lane {
  double f = 0;
  int64_t i = 0;
};

bool is_float_lane(LaneType type) { return type == LaneType::kF32 || type == LaneType::kF64; }

Lane make_float(LaneType type, double value) {
  return {type == LaneType::kF32 ? static_cast<double>(static_cast<float>(value)) : value, 0};
}

Lane cast_lane(Lane lane, LaneType from, LaneType to) {
  if (is_float_lane(from)) {
    if (is_float_lane(to)) return make_float(to, lane.f);
    return {0, to == LaneType::kBool ? lane.f != 0 : truncate(lane.f)};
  }
  if (is_float_lane(to))
    return {to == LaneType::kF32 ? static_cast<double>(static_cast<float>(lane.i))
                                 : static_cast<double>(lane.i),
            0};
  return {0, to == LaneType::kBool ? lane.i != 0 : lane.i};
}

Lane load_lane(const Operand& operand, int64_t at, LaneType type) {
  const LaneType stored = lane_type_of(operand.dtype);
  Lane lane;
  if (is_float_lane(stored))
    lane.f = operand.get(at);
  else
    lane.i = operand.get_int(at);
  return cast_lane(lane, stored, type);
}

void store_lane(Operand* operand, int64_t at, Lane lane, LaneType type) {
  if (is_float_lane(lane_type_of(operand->dtype)))
    operand->set(at, cast_lane(lane, type, type == LaneType::kF32 ? type : LaneType::kF64).f);
  else if (operand->dtype == DType::kBool)
    operand->set_int(at, cast_lane(lane, type, LaneType::kBool).i);
  else
    operand->set_int(at, cast_lane(lane, type, LaneType::kI64).i);
}

int64_t wrap(int64_t value, DType dtype) {
  switch (dtype) {
    case DType::kI8: return static_cast<int8_t>(value);
    case DType::kU8: return static_cast<uint8_t>(value);
    case DType::kI16: return static_cast<int16_t>(value);
    case DType::kI32: return static_cast<int32_t>(value);
    default: return value;
  }
}

double round_float(double value, DType dtype) {
  const float f = static_cast<float>(value);
  if (dtype == DType::kF16) return f16_to_f32(f32_to_f16(f));
  if (dtype == DType::kBF16) return bf16_to_f32(f32_to_bf16(f));
  return f;
}

double unary(TileOp op, double x, const std::array<double, 3>& p) {
  switch (op) {
    case TileOp::kNeg: return -x;
    case TileOp::kAbs: return std::fabs(x);
    case TileOp::kSign: return (x > 0) - (x < 0);
    case TileOp::kRelu: return x < 0 ? 0 : x;
    case TileOp::kExp: return std::exp(x);
    case TileOp::kExp2: return std::exp2(x);
    case TileOp::kExpm1: return std::expm1(x);
    case TileOp::kLog: return std::log(x);
    case TileOp::kLog2: return std::log2(x);
    case TileOp::kLog10: return std::log10(x);
    case TileOp::kLog1p: return std::log1p(x);
    case TileOp::kSqrt: return std::sqrt(x);
    case TileOp::kRsqrt: return 1 / std::sqrt(x);
    case TileOp::kReciprocal: return 1 / x;
    case TileOp::kSin: return std::sin(x);
    case TileOp::kCos: return std::cos(x);
    case TileOp::kTan: return std::tan(x);
    case TileOp::kAsin: return std::asin(x);
    case TileOp::kAcos: return std::acos(x);
    case TileOp::kAtan: return std::atan(x);
    case TileOp::kSinh: return std::sinh(x);
    case TileOp::kCosh: return std::cosh(x);
    case TileOp::kTanh: return std::tanh(x);
    case TileOp::kAsinh: return std::asinh(x);
    case TileOp::kAcosh: return std::acosh(x);
    case TileOp::kAtanh: return std::atanh(x);
    case TileOp::kErf: return std::erf(x);
    case TileOp::kErfc: return std::erfc(x);
    case TileOp::kSigmoid: return 1 / (1 + std::exp(-x));
    case TileOp::kGeluErf: return x * 0.5 * std::erfc(-x / std::sqrt(2.0));
    case TileOp::kGeluTanh:
      // 0.5 x (1 + tanh(u)) without its cancellation.
      return x / (1 + std::exp(-2 * std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case TileOp::kSilu: return x / (1 + std::exp(-x));
    case TileOp::kHardswish: return x * std::clamp(x + 3, 0.0, 6.0) / 6;
    case TileOp::kHardsigmoid: return std::clamp(x + 3, 0.0, 6.0) / 6;
    case TileOp::kMish: return x > 20 ? x : x * std::tanh(std::log1p(std::exp(x)));
    case TileOp::kSoftplus: return x * p[0] > p[1] ? x : std::log1p(std::exp(x * p[0])) / p[0];
    case TileOp::kElu: return x < 0 ? std::expm1(x * p[2]) * p[0] * p[1] : x * p[1];
    case TileOp::kLeakyRelu: return x > 0 ? x : x * p[0];
    case TileOp::kClamp: return x < p[0] ? p[0] : x > p[1] ? p[1] : x;
    case TileOp::kFloor: return std::floor(x);
    case TileOp::kCeil: return std::ceil(x);
    case TileOp::kRound: return std::nearbyint(x);
    case TileOp::kTrunc: return std::trunc(x);
    case TileOp::kFrac: return x - std::trunc(x);
    default: break;
  }
  KILN_CHECK(false);
  return 0;
}

double floor_quotient(double a, double b) {
  if (b == 0) return a / b;
  const double mod = std::fmod(a, b);
  double div = (a - mod) / b;
  if (mod != 0 && (b < 0) != (mod < 0)) div -= 1;
  if (div == 0) return std::copysign(0.0, a / b);
  const double floored = std::floor(div);
  return div - floored > 0.5 ? floored + 1 : floored;
}

double binary(TileOp op, double a, double b) {
  switch (op) {
    case TileOp::kAdd: return a + b;
    case TileOp::kSub: return a - b;
    case TileOp::kMul: return a * b;
    case TileOp::kDiv: return a / b;
    case TileOp::kFloorDiv: return floor_quotient(a, b);
    case TileOp::kTruncDiv: return std::trunc(a / b);
    case TileOp::kFmod: return std::fmod(a, b);
    case TileOp::kRemainder: {
      const double r = std::fmod(a, b);
      return r != 0 && (r < 0) != (b < 0) ? r + b : r;
    }
    case TileOp::kPow: return std::pow(a, b);
    case TileOp::kAtan2: return std::atan2(a, b);
    case TileOp::kMax: return std::isnan(a) || a > b ? a : b;
    case TileOp::kMin: return std::isnan(a) || a < b ? a : b;
    default: break;
  }
  KILN_CHECK(false);
  return 0;
}

int64_t wrapped(__int128 value) { return static_cast<int64_t>(static_cast<uint64_t>(value)); }

int64_t floor_of(int64_t a, int64_t b) {
  const __int128 q = static_cast<__int128>(a) / b, r = static_cast<__int128>(a) % b;
  return wrapped(r != 0 && (r < 0) != (b < 0) ? q - 1 : q);
}

int64_t binary(TileOp op, int64_t a, int64_t b, bool* by_zero) {
  const __int128 wa = a, wb = b;
  if (op >= TileOp::kFloorDiv && op <= TileOp::kFmod && b == 0) {
    *by_zero = true;
    return 0;
  }
  switch (op) {
    case TileOp::kAdd: return wrapped(wa + wb);
    case TileOp::kSub: return wrapped(wa - wb);
    case TileOp::kMul: return wrapped(wa * wb);
    case TileOp::kFloorDiv: return floor_of(a, b);
    case TileOp::kTruncDiv: return wrapped(wa / wb);
    case TileOp::kFmod: return wrapped(wa % wb);
    case TileOp::kRemainder: return wrapped(wa - static_cast<__int128>(floor_of(a, b)) * wb);
    case TileOp::kPow: {
      if (b < 0) return a == 1 ? 1 : a == -1 ? (b % 2 ? -1 : 1) : 0;
      uint64_t result = 1;
      for (int64_t k = 0; k < b; ++k) result *= static_cast<uint64_t>(a);
      return static_cast<int64_t>(result);
    }
    case TileOp::kMax: return std::max(a, b);
    case TileOp::kMin: return std::min(a, b);
    case TileOp::kAnd: return a & b;
    case TileOp::kOr: return a | b;
    case TileOp::kXor: return a ^ b;
    case TileOp::kShl:
      return b < 0 || b > 63 ? 0 : static_cast<int64_t>(static_cast<uint64_t>(a) << b);
    case TileOp::kShr: return b < 0 || b > 63 ? (a < 0 ? -1 : 0) : a >> b;
    default: break;
  }
  KILN_CHECK(false);
  return 0;
}

template <typename T>
bool compare(TileOp op, T a, T b) {
  switch (op) {
    case TileOp::kEq: return a == b;
    case TileOp::kNe: return a != b;
    case TileOp::kLt: return a < b;
    case TileOp::kLe: return a <= b;
    case TileOp::kGt: return a > b;
    default: return a >= b;
  }
}

class Interpreter {
 public:
  Interpreter(const Case& test, std::vector<Operand>* outputs)
      : test_(test), code_(test.code), outputs_(outputs) {}

  std::string run() {
    const auto& extents = test_.binding.extents;
    const int outer_rank = code_.rank - code_.row_rank;
    row_ = 1;
    for (int d = outer_rank; d < code_.rank; ++d) row_ *= extents[d];
    int64_t outer = 1;
    for (int d = 0; d < outer_rank; ++d) outer *= extents[d];
    for (int64_t o = 0; o < outer && error_.empty(); ++o) run_row(o);
    return error_;
  }

 private:
  void run_row(int64_t o) {
    const auto& extents = test_.binding.extents;
    const int outer_rank = code_.rank - code_.row_rank;
    std::vector<std::vector<int64_t>> points(row_, std::vector<int64_t>(code_.rank));
    for (int64_t r = 0; r < row_; ++r) {
      int64_t rest = r;
      for (int d = code_.rank - 1; d >= outer_rank; --d) {
        points[r][d] = rest % extents[d];
        rest /= extents[d];
      }
      rest = o;
      for (int d = outer_rank - 1; d >= 0; --d) {
        points[r][d] = rest % extents[d];
        rest /= extents[d];
      }
    }
    // What is the same over the row exists once even if the row is empty.
    std::vector<int64_t> empty_point(code_.rank);
    int64_t rest = o;
    for (int d = outer_rank - 1; d >= 0; --d) {
      empty_point[d] = rest % extents[d];
      rest /= extents[d];
    }
    std::vector<std::vector<Lane>> regs(code_.registers.size(),
                                        std::vector<Lane>(std::max<int64_t>(row_, 1)));
    size_t next = 0;
    for (const TileInstr& instr : code_.instrs) {
      const TileAccess* access = tile_op_info(instr.op).kind == TileOpKind::kMemory
                                     ? &test_.binding.accesses[next++]
                                     : nullptr;
      if (tile_op_info(instr.op).kind == TileOpKind::kReduce) {
        reduce(instr, regs);
        continue;
      }
      for (int64_t r = 0; r < row_; ++r) point(instr, access, points[r], r, regs);
      if (row_ > 0) continue;
      bool uniform = true;
      if (access != nullptr)
        for (int d = outer_rank; d < code_.rank; ++d)
          uniform = uniform && (access->strides[d] == 0 || extents[d] == 1);
      if (uniform) point(instr, access, empty_point, 0, regs);
    }
  }

  int64_t address(const TileAccess& access, const std::vector<int64_t>& point) const {
    int64_t at = access.offset;
    for (int d = 0; d < code_.rank; ++d) at += access.strides[d] * point[d];
    return at;
  }

  void store(const TileInstr& instr, const TileAccess& access, const std::vector<int64_t>& point,
             Lane lane) {
    store_lane(&(*outputs_)[instr.operand], address(access, point), lane, instr.type);
  }

  void point(const TileInstr& instr, const TileAccess* access, const std::vector<int64_t>& at,
             int64_t r, std::vector<std::vector<Lane>>& regs) {
    const auto src = [&](int s) { return regs[instr.src[s]][r]; };
    if (instr.op == TileOp::kStore) return store(instr, *access, at, src(0));
    Lane& out = regs[instr.dst][r];
    const LaneType result = code_.registers[instr.dst];
    switch (instr.op) {
      case TileOp::kLoad:
        out = load_lane(test_.inputs[instr.operand], address(*access, at), instr.type);
        return;
      case TileOp::kGather: {
        int64_t where = address(*access, at);
        for (size_t k = 0; k < access->axes.size(); ++k) {
          int64_t index = src(static_cast<int>(k)).i;
          if (index < 0) index += access->axes[k].size;
          if (index < 0 || index >= access->axes[k].size) {
            error_ = "K4410";
            return;
          }
          where += index * access->axes[k].stride;
        }
        out = load_lane(test_.inputs[instr.operand], where, instr.type);
        return;
      }
      case TileOp::kConst:
        out = is_float_lane(instr.type) ? make_float(instr.type, instr.params[0])
                                        : Lane{0, instr.integer};
        return;
      case TileOp::kIota: out = {0, at[instr.integer]}; return;
      case TileOp::kCast: out = cast_lane(src(0), instr.type, result); return;
      case TileOp::kRoundTo:
        if (instr.type == LaneType::kI64)
          out = {0, wrap(src(0).i, instr.storage)};
        else
          out = {round_float(src(0).f, instr.storage), 0};
        return;
      case TileOp::kSelect: out = src(0).i ? src(1) : src(2); return;
      case TileOp::kFma: out = make_float(result, src(0).f * src(1).f + src(2).f); return;
      case TileOp::kIsNan: out = {0, std::isnan(src(0).f)}; return;
      case TileOp::kIsInf: out = {0, std::isinf(src(0).f)}; return;
      case TileOp::kIsFinite: out = {0, std::isfinite(src(0).f)}; return;
      case TileOp::kLogicalNot: out = {0, !src(0).i}; return;
      case TileOp::kBitwiseNot: out = {0, ~src(0).i}; return;
      default: break;
    }
    if (instr.op >= TileOp::kEq && instr.op <= TileOp::kGe) {
      out = {0, is_float_lane(instr.type) ? compare(instr.op, src(0).f, src(1).f)
                                          : compare(instr.op, src(0).i, src(1).i)};
    } else if (tile_op_info(instr.op).kind == TileOpKind::kUnary) {
      if (instr.type != LaneType::kI64) {
        out = make_float(result, unary(instr.op, src(0).f, instr.params));
      } else {
        const int64_t x = src(0).i;
        const int64_t minus = wrapped(-static_cast<__int128>(x));
        out.i = instr.op == TileOp::kNeg    ? minus
                : instr.op == TileOp::kAbs  ? (x < 0 ? minus : x)
                : instr.op == TileOp::kSign ? (x > 0) - (x < 0)
                                            : std::max<int64_t>(x, 0);
      }
    } else if (is_float_lane(instr.type)) {
      // A double result rounded to float is the float operation's for + - * /.
      out = make_float(result, binary(instr.op, src(0).f, src(1).f));
    } else {
      bool by_zero = false;
      out = {0, binary(instr.op, src(0).i, src(1).i, &by_zero)};
      if (by_zero) error_ = "K4411";
    }
  }

  void reduce(const TileInstr& instr, std::vector<std::vector<Lane>>& regs) {
    const std::vector<Lane>& a = regs[instr.src[0]];
    const bool floats = is_float_lane(instr.type);
    Lane result;
    bool first = true;
    int64_t best = 0;
    switch (instr.op) {
      case TileOp::kReduceProd: result = {1, 1}; break;
      case TileOp::kReduceAll: result = {0, 1}; break;
      default: break;
    }
    for (int64_t r = 0; r < row_; ++r) {
      const Lane x = a[r];
      switch (instr.op) {
        case TileOp::kReduceSum:
          result = {result.f + x.f, wrapped(static_cast<__int128>(result.i) + x.i)};
          break;
        case TileOp::kReduceProd:
          result = {result.f * x.f, wrapped(static_cast<__int128>(result.i) * x.i)};
          break;
        case TileOp::kReduceAny: result.i |= x.i; break;
        case TileOp::kReduceAll: result.i &= x.i; break;
        default: {
          const bool max = instr.op == TileOp::kReduceMax || instr.op == TileOp::kReduceArgMax;
          bool better = first;
          if (!first && floats && !std::isnan(result.f))
            better = std::isnan(x.f) || (max ? x.f > result.f : x.f < result.f);
          if (!first && !floats) better = max ? x.i > result.i : x.i < result.i;
          if (better) {
            result = x;
            best = r;
          }
          first = false;
        }
      }
    }
    if (instr.op == TileOp::kReduceArgMax || instr.op == TileOp::kReduceArgMin)
      result = {0, best};
    else if (floats)
      result = make_float(instr.type, result.f);
    for (Lane& lane : regs[instr.dst]) lane = result;
  }

  const Case& test_;
  const TileCode& code_;
  std::vector<Operand>* outputs_;
  int64_t row_ = 1;
  std::string error_;
};

}  // namespace

double Operand::get(int64_t i) const {
  switch (dtype) {
    case DType::kF32: return read<float>(*this, i);
    case DType::kF64: return read<double>(*this, i);
    case DType::kF16: return f16_to_f32(read<uint16_t>(*this, i));
    case DType::kBF16: return bf16_to_f32(read<uint16_t>(*this, i));
    default: return static_cast<double>(get_int(i));
  }
}

int64_t Operand::get_int(int64_t i) const {
  switch (dtype) {
    case DType::kI8: return read<int8_t>(*this, i);
    case DType::kU8: return read<uint8_t>(*this, i);
    case DType::kI16: return read<int16_t>(*this, i);
    case DType::kI32: return read<int32_t>(*this, i);
    case DType::kI64: return read<int64_t>(*this, i);
    case DType::kBool: return read<uint8_t>(*this, i) != 0;
    default: return truncate(get(i));
  }
}

void Operand::set(int64_t i, double value) {
  switch (dtype) {
    case DType::kF32: return write(this, i, static_cast<float>(value));
    case DType::kF64: return write(this, i, value);
    case DType::kF16: return write(this, i, f32_to_f16(static_cast<float>(value)));
    case DType::kBF16: return write(this, i, f32_to_bf16(static_cast<float>(value)));
    default: return set_int(i, truncate(value));
  }
}

void Operand::set_int(int64_t i, int64_t value) {
  switch (dtype) {
    case DType::kI8: return write(this, i, static_cast<int8_t>(value));
    case DType::kU8: return write(this, i, static_cast<uint8_t>(value));
    case DType::kI16: return write(this, i, static_cast<int16_t>(value));
    case DType::kI32: return write(this, i, static_cast<int32_t>(value));
    case DType::kI64: return write(this, i, value);
    case DType::kBool: return write(this, i, static_cast<uint8_t>(value != 0));
    default: return set(i, static_cast<double>(value));
  }
}

Operand make_operand(DType dtype, int64_t elements) {
  Operand operand;
  operand.dtype = dtype;
  operand.bytes.resize(static_cast<size_t>(elements) * dtype_bytes(dtype));
  return operand;
}

void fill(Operand* operand, std::mt19937& random) {
  const int low = operand->dtype == DType::kU8 || operand->dtype == DType::kBool ? 0 : -8;
  const int high = operand->dtype == DType::kBool ? 1 : 8;
  std::uniform_int_distribution<int> value(low, high);
  for (int64_t i = 0; i < operand->elements(); ++i) operand->set_int(i, value(random));
}

CodeBuilder::CodeBuilder(int32_t rank, int32_t row_rank) {
  code.rank = rank;
  code.row_rank = row_rank;
}
int32_t CodeBuilder::input(DType dtype) {
  code.inputs.push_back(dtype);
  return static_cast<int32_t>(code.inputs.size()) - 1;
}
int32_t CodeBuilder::output(DType dtype) {
  code.outputs.push_back(dtype);
  return static_cast<int32_t>(code.outputs.size()) - 1;
}
int32_t CodeBuilder::add(TileInstr instr, LaneType result) {
  instr.dst = static_cast<int32_t>(code.registers.size());
  code.registers.push_back(result);
  code.instrs.push_back(instr);
  return instr.dst;
}
int32_t CodeBuilder::load(int32_t operand, LaneType type) {
  TileInstr instr;
  instr.op = TileOp::kLoad;
  instr.type = type;
  instr.operand = operand;
  return add(instr, type);
}
int32_t CodeBuilder::gather(int32_t operand, std::vector<int32_t> indices) {
  TileInstr instr;
  instr.op = TileOp::kGather;
  instr.type = lane_type_of(code.inputs[operand]);
  instr.operand = operand;
  std::copy(indices.begin(), indices.end(), instr.src.begin());
  return add(instr, instr.type);
}
void CodeBuilder::store(int32_t operand, int32_t reg) {
  TileInstr instr;
  instr.op = TileOp::kStore;
  instr.type = code.registers[reg];
  instr.operand = operand;
  instr.src[0] = reg;
  code.instrs.push_back(instr);
}
int32_t CodeBuilder::constant(LaneType type, double value) {
  TileInstr instr;
  instr.op = TileOp::kConst;
  instr.type = type;
  if (is_float_lane(type))
    instr.params[0] = value;
  else
    instr.integer = static_cast<int64_t>(value);
  return add(instr, type);
}
int32_t CodeBuilder::iota(int64_t dim) {
  TileInstr instr;
  instr.op = TileOp::kIota;
  instr.type = LaneType::kI64;
  instr.integer = dim;
  return add(instr, LaneType::kI64);
}
int32_t CodeBuilder::cast(int32_t reg, LaneType to) {
  TileInstr instr;
  instr.op = TileOp::kCast;
  instr.type = code.registers[reg];
  instr.src[0] = reg;
  return add(instr, to);
}
int32_t CodeBuilder::round_to(int32_t reg, DType storage) {
  TileInstr instr;
  instr.op = TileOp::kRoundTo;
  instr.type = code.registers[reg];
  instr.storage = storage;
  instr.src[0] = reg;
  return add(instr, instr.type);
}
int32_t CodeBuilder::op(TileOp op, std::vector<int32_t> regs, std::vector<double> params) {
  TileInstr instr;
  instr.op = op;
  instr.type = code.registers[regs[op == TileOp::kSelect ? 1 : 0]];
  std::copy(regs.begin(), regs.end(), instr.src.begin());
  std::copy(params.begin(), params.end(), instr.params.begin());
  const int result = tile_op_info(op).result;
  return add(instr, result >= 0 ? static_cast<LaneType>(result) : instr.type);
}

std::string interpret(const Case& test, std::vector<Operand>* outputs) {
  return Interpreter(test, outputs).run();
}

namespace {

class RandomCase {
 public:
  RandomCase(std::mt19937& random, bool long_rows)
      : random_(random), long_rows_(long_rows), builder_(0, 0) {}

  Case make() {
    choose_domain();
    const int inputs = pick(1, 4);
    for (int k = 0; k < inputs; ++k) {
      const int32_t operand = builder_.input(dtype());
      const int loads = pick(1, 5) == 1 ? 2 : 1;
      for (int l = 0; l < loads; ++l) regs_.push_back(builder_.load(operand));
    }
    if (rank_ > 0 && pick(0, 3) == 0) regs_.push_back(builder_.iota(pick(0, rank_ - 1)));
    const int statements = pick(0, 12);
    for (int k = 0; k < statements; ++k) add_statement();
    const int outputs = pick(1, 3);
    std::vector<int32_t> stored;
    for (int k = 0; k < outputs; ++k) {
      const int32_t reg = k == 0 ? regs_.back() : any();
      const int32_t operand = builder_.output(output_dtype(builder_.code.registers[reg]));
      builder_.store(operand, reg);
    }
    test_.code = builder_.code;
    bind();
    return std::move(test_);
  }

 private:
  int pick(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_); }
  int32_t any() { return regs_[static_cast<size_t>(pick(0, static_cast<int>(regs_.size()) - 1))]; }
  LaneType type_of(int32_t reg) const { return builder_.code.registers[reg]; }

  DType dtype() {
    constexpr DType kTypes[] = {DType::kF32, DType::kF32,  DType::kF32, DType::kF64,
                                DType::kF16, DType::kBF16, DType::kI8,  DType::kU8,
                                DType::kI16, DType::kI32,  DType::kI64, DType::kBool};
    return kTypes[pick(0, 11)];
  }
  DType output_dtype(LaneType type) {
    if (pick(0, 3) == 0) return dtype();
    switch (type) {
      case LaneType::kF32: return DType::kF32;
      case LaneType::kF64: return DType::kF64;
      case LaneType::kI64: return DType::kI64;
      default: return DType::kBool;
    }
  }

  void choose_domain() {
    rank_ = pick(0, 4);
    row_rank_ = rank_ == 0 ? 0 : pick(0, std::min(rank_, 2));
    builder_ = CodeBuilder(rank_, row_rank_);
    constexpr int kSizes[] = {1, 2, 3, 4, 5, 7, 8, 9, 12, 16, 17, 31, 33, 49, 64, 70};
    int64_t points = 1;
    for (int d = 0; d < rank_; ++d) {
      int64_t extent = kSizes[pick(0, 15)];
      if (pick(0, 60) == 0) extent = 0;
      if (long_rows_ && d == rank_ - 1) extent = pick(300, 1500);
      while (extent > 1 && points * extent > 6000) extent /= 2;
      points *= std::max<int64_t>(extent, 1);
      test_.binding.extents.push_back(extent);
    }
  }

  // A register of this type, made by a cast if need be.
  int32_t as(int32_t reg, LaneType type) {
    if (type_of(reg) == type) return reg;
    const int32_t result = builder_.cast(reg, type);
    regs_.push_back(result);
    return result;
  }

  // Back to [-8, 8]: keeps sums exact in every type.
  int32_t tamed(int32_t reg) {
    const LaneType type = type_of(reg);
    if (type == LaneType::kBool) return reg;
    const int32_t nine = builder_.constant(type, 9);
    return builder_.op(TileOp::kFmod, {reg, nine});
  }

  void add_statement() {
    const int32_t a = any();
    const LaneType type = type_of(a);
    const bool number = type != LaneType::kBool;
    const bool floats = is_float_lane(type);
    int32_t result = -1;
    switch (pick(0, row_rank_ > 0 ? 12 : 9)) {
      case 0:
      case 1: {
        constexpr TileOp kOps[] = {TileOp::kAdd, TileOp::kSub, TileOp::kMul, TileOp::kMax,
                                   TileOp::kMin};
        if (number)
          result = tamed(builder_.op(kOps[pick(0, 4)], {a, as(any(), type)}));
        else
          result = builder_.op(TileOp::kXor, {a, as(any(), type)});
        break;
      }
      case 2: {
        constexpr TileOp kOps[] = {TileOp::kNeg, TileOp::kAbs, TileOp::kSign, TileOp::kRelu};
        result = builder_.op(number ? kOps[pick(0, 3)] : TileOp::kLogicalNot, {a});
        break;
      }
      case 3: {
        constexpr TileOp kOps[] = {TileOp::kEq, TileOp::kNe, TileOp::kLt,
                                   TileOp::kLe, TileOp::kGt, TileOp::kGe};
        result = builder_.op(kOps[pick(0, 5)], {a, as(any(), type)});
        break;
      }
      case 4:
        result = builder_.op(TileOp::kSelect, {as(any(), LaneType::kBool), a, as(any(), type)});
        break;
      case 5: result = builder_.cast(a, static_cast<LaneType>(pick(0, 3))); break;
      case 6:
        if (floats) {
          constexpr TileOp kOps[] = {TileOp::kFloor, TileOp::kCeil, TileOp::kRound, TileOp::kTrunc};
          result = builder_.op(kOps[pick(0, 3)], {a});
        } else if (number) {
          constexpr TileOp kOps[] = {TileOp::kAnd, TileOp::kOr, TileOp::kXor};
          result = tamed(builder_.op(kOps[pick(0, 2)], {a, as(any(), type)}));
        } else {
          result = builder_.op(TileOp::kAnd, {a, as(any(), type)});
        }
        break;
      case 7:
        if (!number) return;
        result = builder_.op(TileOp::kAdd, {a, builder_.constant(type, pick(-3, 3))});
        result = tamed(
            pick(0, 1) ? result
                       : builder_.op(TileOp::kSub, {builder_.constant(type, pick(-3, 3)), result}));
        break;
      case 8:
        if (!floats) return;
        result = pick(0, 1)
                     ? builder_.op(TileOp::kClamp, {a}, {-5, 6})
                     : tamed(builder_.op(TileOp::kFma, {a, as(any(), type), as(any(), type)}));
        break;
      case 9:
        if (!number) return;
        result = builder_.round_to(a, floats ? DType::kBF16 : DType::kI8);
        break;
      case 10: {
        constexpr TileOp kOps[] = {TileOp::kReduceMax, TileOp::kReduceMin, TileOp::kReduceArgMax,
                                   TileOp::kReduceArgMin};
        if (!number)
          result = builder_.op(pick(0, 1) ? TileOp::kReduceAny : TileOp::kReduceAll, {a});
        else
          result = builder_.op(kOps[pick(0, 3)], {a});
        break;
      }
      case 11:
      case 12:
        if (!number) return;
        if (pick(0, 2) == 0) {  // a sum of products
          const int32_t x = tamed(a);
          const int32_t y = pick(0, 1) ? x : tamed(as(any(), type));
          result = tamed(builder_.op(TileOp::kReduceSum, {builder_.op(TileOp::kMul, {x, y})}));
          break;
        }
        result = pick(0, 3) ? builder_.op(TileOp::kReduceSum, {a})
                            : builder_.op(TileOp::kReduceProd, {builder_.op(TileOp::kSign, {a})});
        result = tamed(result);
        break;
    }
    regs_.push_back(result);
  }

  // Dims along which each register may vary, to know what a store needs.
  std::vector<std::vector<bool>> variance() const {
    const TileCode& code = test_.code;
    std::vector<std::vector<bool>> varies(code.registers.size(), std::vector<bool>(rank_, false));
    size_t next = 0;
    for (const TileInstr& instr : code.instrs) {
      const bool memory = tile_op_info(instr.op).kind == TileOpKind::kMemory;
      const size_t access = next;
      next += memory;
      if (instr.dst < 0) continue;
      std::vector<bool>& to = varies[instr.dst];
      for (int32_t s : instr.src)
        if (s >= 0)
          for (int d = 0; d < rank_; ++d) to[d] = to[d] || varies[s][d];
      if (memory)
        for (int d = 0; d < rank_; ++d)
          to[d] = to[d] || test_.binding.accesses[access].strides[d] != 0;
      if (instr.op == TileOp::kIota) to[instr.integer] = true;
      if (tile_op_info(instr.op).kind == TileOpKind::kReduce)
        for (int d = rank_ - row_rank_; d < rank_; ++d) to[d] = false;
    }
    return varies;
  }

  // A layout: dims in a random order (mostly the natural one), maybe with gaps, broadcast over
  // `absent`. Returns how many elements it spans.
  TileAccess layout(const std::vector<bool>& absent, bool negative, int64_t* span) {
    TileAccess access;
    access.strides.assign(rank_, 0);
    std::vector<int> order(rank_);
    std::iota(order.begin(), order.end(), 0);
    if (pick(0, 2) == 0) std::shuffle(order.begin(), order.end(), random_);
    int64_t stride = pick(0, 7) == 0 ? 2 : 1;
    int64_t low = 0, high = 0;
    for (int k = rank_ - 1; k >= 0; --k) {
      const int d = order[k];
      if (absent[d]) continue;
      const int64_t extent = std::max<int64_t>(test_.binding.extents[d], 1);
      const bool flip = negative && pick(0, 15) == 0;
      access.strides[d] = flip ? -stride : stride;
      (flip ? low : high) += (extent - 1) * access.strides[d];
      stride *= extent;
      if (pick(0, 7) == 0) stride += pick(1, 3);
    }
    access.offset = -low + pick(0, 3);
    *span = access.offset + high + 1;
    return access;
  }

  void bind() {
    const TileCode& code = test_.code;
    test_.binding.input_elements.assign(code.inputs.size(), 0);
    test_.binding.output_elements.assign(code.outputs.size(), 0);
    for (const TileInstr& instr : code.instrs) {
      if (instr.op == TileOp::kLoad) {
        std::vector<bool> absent(rank_, false);
        const int broadcast = pick(0, 3);
        for (int d = 0; d < rank_; ++d)
          absent[d] = broadcast == 0   ? pick(0, 1) == 0
                      : broadcast == 1 ? d < rank_ - row_rank_ && pick(0, 3) > 0
                                       : false;
        int64_t span;
        test_.binding.accesses.push_back(layout(absent, true, &span));
        int64_t& size = test_.binding.input_elements[instr.operand];
        size = std::max(size, span);
      } else if (instr.op == TileOp::kStore) {
        const auto varies = variance()[instr.src[0]];
        std::vector<bool> absent(rank_, false);
        // Once per row where the value allows it.
        bool uniform = row_rank_ > 0;
        for (int d = rank_ - row_rank_; d < rank_; ++d) uniform = uniform && !varies[d];
        if (uniform && pick(0, 3) > 0)
          for (int d = rank_ - row_rank_; d < rank_; ++d) absent[d] = true;
        int64_t span;
        test_.binding.accesses.push_back(layout(absent, false, &span));
        test_.binding.output_elements[instr.operand] = span;
      }
    }
    for (size_t k = 0; k < code.inputs.size(); ++k) {
      test_.inputs.push_back(make_operand(code.inputs[k], test_.binding.input_elements[k]));
      fill(&test_.inputs.back(), random_);
    }
    for (size_t k = 0; k < code.outputs.size(); ++k)
      test_.outputs.push_back(make_operand(code.outputs[k], test_.binding.output_elements[k]));
  }

  std::mt19937& random_;
  bool long_rows_;
  CodeBuilder builder_;
  std::vector<int32_t> regs_;
  int rank_ = 0, row_rank_ = 0;
  Case test_;
};

}  // namespace

Case random_case(std::mt19937& random, bool long_rows) {
  return RandomCase(random, long_rows).make();
}

}  // namespace kiln::tile_test

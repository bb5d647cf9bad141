// Tile code: one fused loop nest as the CPU runs it, plain data made by the compiler and stored in
// engine files. A program has no sizes: extents, offsets and strides come with a TileBinding.
//
// Domain: `rank` dims, of which the last `row_rank` form the row. Each statement is evaluated, as
// if in order, at every point of the domain. A reduction combines its operand over the row, in
// row-major order, and its result has that value at all points of the row. Registers are in SSA
// form.
//
// Memory instructions (load, gather, store) own one access each: the k-th memory instruction uses
// TileBinding::accesses[k]. A store of a value that is the same over the row may have stride 0 in
// the row's dims and then writes once per row.
//
// An output may share memory with an input only if every access of both has the same offset and
// strides, their types have the same size, and no gather reads the input.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "core/dtype.h"

namespace kiln {

// What a register holds at each point. f16 and bf16 live in f32 lanes, integers in i64 lanes.
enum class LaneType : uint8_t { kF32, kF64, kI64, kBool };

std::string_view lane_type_name(LaneType type);
LaneType lane_type_of(DType dtype);  // the lanes that hold every value of `dtype`
size_t lane_bytes(LaneType type);    // 4, 8, 8, 1

enum class TileOp : uint8_t {
  // Memory and sources. kLoad, kGather: any stored type to any lane type, converted as kCast does.
  // kGather adds sum_k index_k * stride_k for its 1 to 3 i64 index registers; negative indices
  // count
  // from the end; others out of range fail the run (K4410). kStore writes src[0], converted.
  kLoad,
  kGather,
  kStore,
  kConst,  // f32, f64: params[0]; i64, bool: integer
  kIota,   // i64: the index along domain dim `integer`
  // Conversions. kCast: float to int truncates (out of range: INT64_MIN), anything to bool is != 0.
  // kRoundTo: rounds float lanes to `storage` (f32, f16, bf16), wraps i64 lanes to an integer type.
  kCast,
  kRoundTo,
  // Float (f32, f64) functions of one operand; kNeg, kAbs, kSign, kRelu also i64.
  kNeg,
  kAbs,
  kSign,
  kRelu,
  kExp,
  kExp2,
  kExpm1,
  kLog,
  kLog2,
  kLog10,
  kLog1p,
  kSqrt,
  kRsqrt,
  kReciprocal,
  kSin,
  kCos,
  kTan,
  kAsin,
  kAcos,
  kAtan,
  kSinh,
  kCosh,
  kTanh,
  kAsinh,
  kAcosh,
  kAtanh,
  kErf,
  kErfc,
  kSigmoid,
  kGeluErf,
  kGeluTanh,
  kSilu,
  kHardswish,
  kHardsigmoid,
  kMish,
  kSoftplus,   // params: beta, threshold
  kElu,        // params: alpha, scale, input_scale
  kLeakyRelu,  // params: negative slope
  kClamp,      // params: min, max (infinities for none); NaN stays
  kFloor,
  kCeil,
  kRound,
  kTrunc,
  kFrac,  // kRound: half to even
  kIsNan,
  kIsInf,
  kIsFinite,    // float to bool
  kLogicalNot,  // bool
  kBitwiseNot,  // i64
  // Two operands. i64 division, remainder and fmod by zero fail the run (K4411). kRemainder has the
  // sign of the divisor, kFmod of the dividend. kMax and kMin give NaN if an operand is NaN.
  kAdd,
  kSub,
  kMul,
  kDiv,  // float
  kFloorDiv,
  kTruncDiv,
  kRemainder,
  kFmod,
  kPow,
  kAtan2,  // float
  kMax,
  kMin,
  kEq,
  kNe,
  kLt,
  kLe,
  kGt,
  kGe,  // any type, to bool
  kAnd,
  kOr,
  kXor,  // bool and i64
  kShl,
  kShr,  // i64, arithmetic; counts outside 0..63 give 0, or the sign for kShr
  // Three operands.
  kSelect,  // src[0] (bool) ? src[1] : src[2]
  kFma,     // float: src[0] * src[1] + src[2]; one rounding where the machine has it
  // Reductions over the row. Over an empty row: 0, 1, false, true; max, min and arg* are refused.
  kReduceSum,
  kReduceProd,  // f32, f64, i64
  kReduceMax,
  kReduceMin,  // f32, f64 (NaN wins), i64
  kReduceArgMax,
  kReduceArgMin,  // f32, f64 (NaN wins), i64; to i64, the first one
  kReduceAny,
  kReduceAll,  // bool
};
inline constexpr int kTileOpCount = static_cast<int>(TileOp::kReduceAll) + 1;

enum class TileOpKind : uint8_t { kMemory, kSource, kConvert, kUnary, kBinary, kTernary, kReduce };

struct TileOpInfo {
  std::string_view name;
  TileOpKind kind;
  int arity;      // register operands; -1: as many as given (gather)
  int params;     // how many of TileInstr::params count
  uint8_t types;  // allowed TileInstr::type, bit per LaneType
  int result;     // LaneType of the result, or -1: same as `type`, or -2: none or free
};
const TileOpInfo& tile_op_info(TileOp op);

struct TileInstr {
  TileOp op = TileOp::kConst;
  LaneType type = LaneType::kF32;  // of the operands (kSelect: of the choices); of memory and
                                   // sources: of the register loaded or stored
  int32_t dst = -1;  // register; -1 for kStore
  std::array<int32_t, 3> src{-1, -1, -1};
  int32_t operand = -1;         // kLoad, kGather: input; kStore: output
  DType storage = DType::kF32;  // kRoundTo
  int64_t integer = 0;          // kConst (i64, bool), kIota (dim)
  std::array<double, 3> params{};

  bool operator==(const TileInstr&) const = default;
};

struct TileCode {
  int32_t rank = 0;
  int32_t row_rank = 0;  // 0: no reductions
  std::vector<DType> inputs, outputs;
  std::vector<LaneType> registers;
  std::vector<TileInstr> instrs;

  bool operator==(const TileCode&) const = default;
  int32_t memory_instr_count() const;
  // Has it an instruction that fails at some contents of its operands (K4410, K4411)?
  bool can_fail() const;
};

// Limits that the verifier enforces.
inline constexpr int32_t kMaxTileRank = 16;
inline constexpr int32_t kMaxTileOperands = 256;
inline constexpr int32_t kMaxTileRegisters = 4096;

struct TileGatherAxis {
  int64_t size = 0;    // of the indexed axis
  int64_t stride = 0;  // elements
  bool operator==(const TileGatherAxis&) const = default;
};

struct TileAccess {
  int64_t offset = 0;                // elements
  std::vector<int64_t> strides;      // elements, one per domain dim
  std::vector<TileGatherAxis> axes;  // kGather: one per index register
  bool operator==(const TileAccess&) const = default;
};

// The concrete sizes of one use.
struct TileBinding {
  std::vector<int64_t> extents;                          // one per domain dim
  std::vector<TileAccess> accesses;                      // one per memory instruction, in order
  std::vector<int64_t> input_elements, output_elements;  // sizes of the operands
};

// K4401 with the instruction's number when anything is not as described above.
Status verify_tile_code(const TileCode& code);
// K4402: lists of wrong length, overlapping stores; K4403: an access that leaves its operand.
// `code` must have passed verify_tile_code. Arithmetic is overflow-checked.
Status verify_tile_binding(const TileCode& code, const TileBinding& binding);

// One statement a line; parsing the text of a valid program gives the same program. Example:
//   tile rank=2 row=1
//   in f32 f32
//   out f32
//   %0 = load.f32 in0
//   %1 = reduce_max.f32 %0
//   %2 = sub.f32 %0 %1
//   store.f32 out0 %2
std::string print_tile_code(const TileCode& code);
Result<TileCode> parse_tile_code(std::string_view text);  // K4404; the result is verified

}  // namespace kiln

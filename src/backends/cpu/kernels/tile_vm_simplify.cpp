#include "backends/cpu/kernels/tile_vm_simplify.h"

namespace kiln::cpu::tile {
namespace {

bool is_float_op(const TileInstr& instr) {
  return instr.type == LaneType::kF32 || instr.type == LaneType::kF64;
}

class Simplifier {
 public:
  Simplifier(const TileCode& code, int64_t row_count, const std::vector<uint32_t>& masks)
      : row_count_(row_count), masks_(masks), definitions_(code.registers.size(), -1) {
    result_.code = code;
    result_.code.instrs.clear();
    uses_.assign(code.registers.size(), 0);
    for (const TileInstr& instr : code.instrs)
      for (int32_t s : instr.src)
        if (s >= 0) ++uses_[s];
    for (size_t i = 0; i < code.instrs.size(); ++i) {
      original_ = static_cast<int32_t>(i);
      TileInstr instr = code.instrs[i];
      switch (instr.op) {
        case TileOp::kReduceSum: fold_constant_sum(&instr); break;
        case TileOp::kPow: expand_power(&instr); break;
        case TileOp::kAdd: contract(&instr); break;
        case TileOp::kDiv: divide_once(&instr); break;
        default: break;
      }
      append(instr);
    }
  }

  Simplified take() { return std::move(result_); }

 private:
  void append(const TileInstr& instr) {
    if (instr.dst >= 0) definitions_[instr.dst] = static_cast<int32_t>(result_.code.instrs.size());
    result_.code.instrs.push_back(instr);
    result_.originals.push_back(original_);
  }

  const TileInstr& definition(int32_t reg) const { return result_.code.instrs[definitions_[reg]]; }

  void fold_constant_sum(TileInstr* instr) const {
    const TileInstr& source = definition(instr->src[0]);
    if (source.op != TileOp::kConst) return;
    instr->op = TileOp::kConst;
    instr->src[0] = -1;
    const double value =
        instr->type == LaneType::kF32 ? static_cast<float>(source.params[0]) : source.params[0];
    instr->params[0] = value * static_cast<double>(row_count_);
    instr->integer = static_cast<int64_t>(static_cast<uint64_t>(source.integer) *
                                          static_cast<uint64_t>(row_count_));
  }

  void expand_power(TileInstr* instr) const {
    const TileInstr& exponent = definition(instr->src[1]);
    if (exponent.op != TileOp::kConst || !is_float_op(*instr)) return;
    const double e = exponent.params[0];
    if (e == 2) {
      instr->op = TileOp::kMul;
      instr->src[1] = instr->src[0];
    } else if (e == 0.5 || e == -0.5 || e == -1) {
      instr->op = e == 0.5 ? TileOp::kSqrt : e == -0.5 ? TileOp::kRsqrt : TileOp::kReciprocal;
      instr->src[1] = -1;
    }
  }

  void contract(TileInstr* instr) const {
    if (!is_float_op(*instr)) return;
    for (int k = 0; k < 2; ++k) {
      const int32_t product = instr->src[k], other = instr->src[1 - k];
      const TileInstr& source = definition(product);
      // A product of fewer dims is made once and not for every point.
      if (source.op != TileOp::kMul || uses_[product] != 1 || masks_[product] != masks_[instr->dst])
        continue;
      // a * b + c * d keeps both roundings equal, so that a * b + (-a) * b stays 0.
      if (definition(other).op == TileOp::kMul || definition(other).op == TileOp::kNeg) continue;
      instr->op = TileOp::kFma;
      instr->src = {source.src[0], source.src[1], other};
      return;
    }
  }

  void divide_once(TileInstr* instr) {
    const TileInstr& sum = definition(instr->src[1]);
    if (definition(instr->src[0]).op != TileOp::kExp || sum.op != TileOp::kReduceSum ||
        sum.src[0] != instr->src[0])
      return;
    TileInstr inverse;
    inverse.op = TileOp::kReciprocal;
    inverse.type = instr->type;
    inverse.src[0] = instr->src[1];
    inverse.dst = static_cast<int32_t>(result_.code.registers.size());
    result_.code.registers.push_back(instr->type);
    definitions_.push_back(-1);
    append(inverse);
    instr->op = TileOp::kMul;
    instr->src[1] = inverse.dst;
  }

  const int64_t row_count_;
  const std::vector<uint32_t>& masks_;
  std::vector<int32_t> definitions_;  // instruction that writes each register
  std::vector<int32_t> uses_;
  int32_t original_ = 0;
  Simplified result_;
};

}  // namespace

Simplified simplify(const TileCode& code, int64_t row_count, const std::vector<uint32_t>& masks) {
  return Simplifier(code, row_count, masks).take();
}

}  // namespace kiln::cpu::tile

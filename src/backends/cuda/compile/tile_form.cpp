#include "backends/cuda/compile/tile_form.h"

#include <algorithm>
#include <numeric>

#include "backends/cuda/compile/tile_expression.h"
#include "base/check.h"

namespace kiln::cuda {
namespace {

bool is_memory(const TileInstr& instr) {
  return tile_op_info(instr.op).kind == TileOpKind::kMemory;
}
bool is_reduction(const TileInstr& instr) {
  return tile_op_info(instr.op).kind == TileOpKind::kReduce;
}

bool any_instr(const TileCode& code, auto&& test) {
  return std::any_of(code.instrs.begin(), code.instrs.end(), test);
}

// Takes out a dim; iotas along it become `0`.
void erase_dim(TileParams& params, size_t d) {
  TileCode& code = params.code;
  if (d >= static_cast<size_t>(code.rank - code.row_rank)) --code.row_rank;
  --code.rank;
  const auto at = static_cast<std::ptrdiff_t>(d);
  params.extents.erase(params.extents.begin() + at);
  for (TileParams::Access& access : params.accesses)
    access.strides.erase(access.strides.begin() + at);
  for (TileInstr& instr : code.instrs) {
    if (instr.op != TileOp::kIota) continue;
    if (instr.integer == static_cast<int64_t>(d)) {
      instr.op = TileOp::kConst;
      instr.integer = 0;
    } else if (instr.integer > static_cast<int64_t>(d)) {
      --instr.integer;
    }
  }
}

bool stores_once_per_row(const TileParams& params) {
  size_t next = 0;
  for (const TileInstr& instr : params.code.instrs) {
    if (!is_memory(instr)) continue;
    const TileParams::Access& access = params.accesses[next++];
    if (instr.op != TileOp::kStore) continue;
    const auto row = access.strides.end() - params.code.row_rank;
    if (std::all_of(row, access.strides.end(),
                    [](const DimExpr& stride) { return stride.is_value(0); })) {
      return true;
    }
  }
  return false;
}

void drop_single_elements(TileParams& params) {
  const bool reduces = any_instr(params.code, is_reduction);
  for (size_t d = params.extents.size(); d-- > 0;) {
    if (!params.extents[d].is_value(1)) continue;
    const bool in_row = d >= static_cast<size_t>(params.code.rank - params.code.row_rank);
    if (in_row && params.code.row_rank == 1 && reduces) continue;
    erase_dim(params, d);
  }
  if (!reduces && !stores_once_per_row(params)) params.code.row_rank = 0;
}

// The access that the order follows: the one that moves along most dims, loads where there are
// rows.
const TileParams::Access* leading_access(const TileParams& params) {
  const bool loads = any_instr(params.code, is_reduction);
  const TileParams::Access* best = nullptr;
  std::ptrdiff_t best_dims = -1;
  for (const bool second_choice : {false, true}) {
    size_t next = 0;
    for (const TileInstr& instr : params.code.instrs) {
      if (!is_memory(instr)) continue;
      const TileParams::Access& access = params.accesses[next++];
      if ((instr.op == TileOp::kStore) == (loads != second_choice)) continue;
      if (instr.op == TileOp::kGather) continue;
      const std::ptrdiff_t dims =
          std::count_if(access.strides.begin(), access.strides.end(),
                        [](const DimExpr& stride) { return !stride.is_value(0); });
      if (dims > best_dims) {
        best = &access;
        best_dims = dims;
      }
    }
    if (best != nullptr) return best;
  }
  return best;
}

// Does stride `a` belong outside of `b`, as far as can be told?
bool is_larger(const DimExpr& a, const DimExpr& b) {
  if (a.is_value(0) || b.is_value(0) || a == b) return false;
  if (a.is_constant() && b.is_constant()) return std::abs(a.value()) > std::abs(b.value());
  DimExpr quotient;
  return DimExpr::divide_exactly(a, b, &quotient) && !quotient.is_value(-1);
}

void sort_dims(const TileParams::Access& leading, std::vector<size_t>& order, size_t begin,
               size_t end) {
  for (size_t i = begin + 1; i < end; ++i) {
    for (size_t j = i; j > begin; --j) {
      if (!is_larger(leading.strides[order[j]], leading.strides[order[j - 1]])) break;
      std::swap(order[j], order[j - 1]);
    }
  }
}

bool runs_on(const TileParams& params, size_t d) {
  for (const TileInstr& instr : params.code.instrs) {
    if (instr.op == TileOp::kIota && (instr.integer == static_cast<int64_t>(d) ||
                                      instr.integer == static_cast<int64_t>(d) + 1)) {
      return false;
    }
  }
  return std::all_of(params.accesses.begin(), params.accesses.end(),
                     [&](const TileParams::Access& access) {
                       return access.strides[d] == access.strides[d + 1] * params.extents[d + 1];
                     });
}

// Merges dim d and the next one, which belong to the same part of the domain.
void merge(TileParams& params, size_t d) {
  params.extents[d + 1] = params.extents[d] * params.extents[d + 1];
  erase_dim(params, d);
}

}  // namespace

int64_t known_divisor(const DimExpr& expr) {
  int64_t divisor = std::abs(expr.constant_part());
  if (expr.terms() == nullptr) return divisor;
  for (const DimExpr::Term& term : *expr.terms()) divisor = std::gcd(divisor, term.coefficient);
  return divisor;
}

TileParams reordered(const TileParams& params, const std::vector<size_t>& order) {
  TileParams result = params;
  KILN_CHECK_EQ(order.size(), params.extents.size());
  for (size_t d = 0; d < order.size(); ++d) result.extents[d] = params.extents[order[d]];
  for (size_t i = 0; i < params.accesses.size(); ++i) {
    for (size_t d = 0; d < order.size(); ++d) {
      result.accesses[i].strides[d] = params.accesses[i].strides[order[d]];
    }
  }
  for (TileInstr& instr : result.code.instrs) {
    if (instr.op != TileOp::kIota) continue;
    const auto at = std::find(order.begin(), order.end(), static_cast<size_t>(instr.integer));
    instr.integer = at - order.begin();
  }
  return result;
}

TileParams canonical_form(const TileParams& params) {
  TileParams form = params;
  drop_single_elements(form);
  const auto rank = static_cast<size_t>(form.code.rank);
  const auto outer = static_cast<size_t>(form.code.rank - form.code.row_rank);
  if (const TileParams::Access* leading = leading_access(form)) {
    std::vector<size_t> order(rank);
    std::iota(order.begin(), order.end(), size_t{0});
    sort_dims(*leading, order, 0, outer);
    const bool places =
        any_instr(form.code, [](const TileInstr& instr) { return is_arg_reduction(instr.op); });
    if (!places) sort_dims(*leading, order, outer, rank);
    form = reordered(form, order);
  }
  for (size_t d = rank; d-- > 1;) {
    const auto first_row = static_cast<size_t>(form.code.rank - form.code.row_rank);
    if (d == first_row && form.code.row_rank > 0) continue;
    if (runs_on(form, d - 1)) merge(form, d - 1);
  }
  return form;
}

}  // namespace kiln::cuda

#include "backends/cuda/compile/tile_split.h"

#include <algorithm>

#include "backends/cuda/compile/tile_expression.h"

namespace kiln::cuda {
namespace {

// Rows shorter than this are not cut, and parts are not made shorter.
constexpr int64_t kLeastRow = 8192;
constexpr int64_t kLeastPart = 1024;

bool is_reduction(const TileInstr& instr) {
  return tile_op_info(instr.op).kind == TileOpKind::kReduce;
}
bool is_memory(const TileInstr& instr) {
  return tile_op_info(instr.op).kind == TileOpKind::kMemory;
}

DType stored_type(LaneType lane) {
  switch (lane) {
    case LaneType::kF32: return DType::kF32;
    case LaneType::kF64: return DType::kF64;
    case LaneType::kI64: return DType::kI64;
    default: return DType::kBool;
  }
}

std::optional<int64_t> known_product(const std::vector<DimExpr>& extents, size_t begin,
                                     size_t end) {
  int64_t product = 1;
  for (size_t d = begin; d < end; ++d) {
    if (!extents[d].is_constant()) return std::nullopt;
    if (__builtin_mul_overflow(product, extents[d].value(), &product)) return std::nullopt;
  }
  return product;
}

// What a store or a reduction of the program needs, with and without what lies before reductions.
std::vector<bool> needed(const TileCode& code, bool before_reductions) {
  std::vector<bool> result(code.registers.size(), false);
  for (size_t i = code.instrs.size(); i-- > 0;) {
    const TileInstr& instr = code.instrs[i];
    const bool root = before_reductions ? is_reduction(instr) : instr.op == TileOp::kStore;
    const bool wanted = instr.dst >= 0 && result[static_cast<size_t>(instr.dst)];
    if (!root && !wanted) continue;
    if (!before_reductions && is_reduction(instr)) continue;
    for (int32_t source : instr.src) {
      if (source >= 0) result[static_cast<size_t>(source)] = true;
    }
  }
  return result;
}

// Can the program be cut along row dim `cut`?
bool is_divisible(const TileParams& form, size_t cut) {
  const TileCode& code = form.code;
  const auto outer = static_cast<size_t>(code.rank - code.row_rank);
  std::vector<bool> after(code.registers.size(), false);  // depends on a reduction
  std::vector<bool> in_row(code.registers.size(), false);
  size_t next = 0;
  for (const TileInstr& instr : code.instrs) {
    bool is_after = is_reduction(instr), varies = false;
    for (int32_t source : instr.src) {
      if (source < 0) continue;
      const auto at = static_cast<size_t>(source);
      if (is_reduction(instr) && after[at]) return false;
      is_after = is_after || after[at];
      varies = varies || in_row[at];
    }
    if (is_arg_reduction(instr.op)) return false;
    if (instr.op == TileOp::kIota) {
      if (instr.integer == static_cast<int64_t>(cut)) return false;
      varies = varies || instr.integer >= static_cast<int64_t>(outer);
    }
    if (is_memory(instr)) {
      const TileParams::Access& access = form.accesses[next++];
      const bool moves = std::any_of(access.strides.begin() + static_cast<std::ptrdiff_t>(outer),
                                     access.strides.end(),
                                     [](const DimExpr& stride) { return !stride.is_value(0); });
      if (instr.op == TileOp::kStore && (moves || varies)) return false;
      varies = varies || moves;
    }
    if (instr.dst < 0) continue;
    after[static_cast<size_t>(instr.dst)] = is_after;
    in_row[static_cast<size_t>(instr.dst)] = varies && !is_reduction(instr);
  }
  return true;
}

// The number of parts: as many as keep the device busy, the parts' length a multiple of 8 if any.
int64_t part_count(int64_t extent, int64_t most) {
  int64_t best = 1;
  bool best_even = false;
  for (int64_t parts = 2; parts <= most; ++parts) {
    if (extent % parts != 0) continue;
    const bool even = extent / parts % 8 == 0;
    if (best_even && !even) continue;
    best = parts;
    best_even = even;
  }
  return best;
}

}  // namespace

std::optional<SplitTile> split_reduction(const TileParams& form, const DeviceSpec& device) {
  const TileCode& code = form.code;
  const auto rank = static_cast<size_t>(code.rank);
  const auto outer = rank - static_cast<size_t>(code.row_rank);
  if (code.row_rank == 0) return std::nullopt;
  const auto rows = known_product(form.extents, 0, outer);
  const auto row = known_product(form.extents, outer, rank);
  const int64_t busy = std::max(device.multiprocessors, 1);
  if (!rows || !row || *rows < 1 || *rows > busy || *row < kLeastRow) return std::nullopt;
  // The outermost dim of the row is cut.
  if (!is_divisible(form, outer)) return std::nullopt;
  const int64_t extent = form.extents[outer].value();
  const int64_t parts = part_count(extent, std::min(4 * busy / *rows, *row / kLeastPart));
  if (parts < 4) return std::nullopt;

  SplitTile split;
  split.partial_elements = *rows * parts;
  // Strides of partial results: dense over the outer dims and then the parts.
  std::vector<DimExpr> dense(outer + 1);
  dense[outer] = 1;
  for (size_t d = outer, stride = static_cast<size_t>(parts); d-- > 0;) {
    dense[d] = static_cast<int64_t>(stride);
    stride *= static_cast<size_t>(form.extents[d].value());
  }

  // The first kernel: dims outer, part, row.
  TileParams& first = split.first;
  first.code = code;
  first.code.rank = code.rank + 1;
  first.code.instrs.clear();
  first.code.outputs.clear();
  first.extents = form.extents;
  first.extents[outer] = extent / parts;
  first.extents.insert(first.extents.begin() + static_cast<std::ptrdiff_t>(outer), parts);
  // The second one: dims outer, part as the row.
  TileParams& second = split.second;
  second.code = code;
  second.code.rank = static_cast<int32_t>(outer) + 1;
  second.code.row_rank = 1;
  second.code.instrs.clear();
  second.extents.assign(form.extents.begin(),
                        form.extents.begin() + static_cast<std::ptrdiff_t>(outer));
  second.extents.emplace_back(parts);

  const std::vector<bool> before = needed(code, true), after = needed(code, false);
  std::vector<TileInstr> stores;
  size_t next = 0;
  for (const TileInstr& instr : code.instrs) {
    const TileParams::Access* access = is_memory(instr) ? &form.accesses[next++] : nullptr;
    const auto dst = static_cast<size_t>(instr.dst);
    if (instr.dst >= 0 && (before[dst] || is_reduction(instr))) {
      TileInstr copy = instr;
      if (copy.op == TileOp::kIota && copy.integer >= static_cast<int64_t>(outer)) ++copy.integer;
      first.code.instrs.push_back(copy);
      if (access != nullptr) {
        TileParams::Access moved = *access;
        moved.strides.insert(moved.strides.begin() + static_cast<std::ptrdiff_t>(outer),
                             access->strides[outer] * (extent / parts));
        first.accesses.push_back(std::move(moved));
      }
    }
    if (is_reduction(instr)) {
      const auto partial = static_cast<int32_t>(split.partial_types.size());
      const DType dtype = stored_type(instr.type);
      split.partial_types.push_back(dtype);
      first.code.outputs.push_back(dtype);
      TileInstr store;
      store.op = TileOp::kStore;
      store.type = instr.type;
      store.src[0] = instr.dst;
      store.operand = partial;
      stores.push_back(store);
      TileInstr load;
      load.op = TileOp::kLoad;
      load.type = instr.type;
      load.dst = static_cast<int32_t>(second.code.registers.size());
      load.operand = static_cast<int32_t>(second.code.inputs.size());
      second.code.registers.push_back(instr.type);
      second.code.inputs.push_back(dtype);
      second.code.instrs.push_back(load);
      second.accesses.push_back({0, dense, {}});
      TileInstr reduce = instr;
      reduce.src[0] = load.dst;
      second.code.instrs.push_back(reduce);
      continue;
    }
    if (instr.op != TileOp::kStore && !(instr.dst >= 0 && after[dst])) continue;
    second.code.instrs.push_back(instr);
    if (access == nullptr) continue;
    TileParams::Access moved = *access;
    moved.strides.resize(outer);
    moved.strides.emplace_back(0);
    second.accesses.push_back(std::move(moved));
  }
  for (const TileInstr& store : stores) {
    first.code.instrs.push_back(store);
    std::vector<DimExpr> strides = dense;
    strides.resize(first.extents.size(), DimExpr(0));
    first.accesses.push_back({0, std::move(strides), {}});
  }
  // Registers that a kernel does not compute stay unused, which the code's form allows.
  return split;
}

}  // namespace kiln::cuda

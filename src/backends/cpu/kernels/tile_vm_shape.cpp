#include "backends/cpu/kernels/tile_vm_shape.h"

#include <algorithm>
#include <cstdlib>

namespace kiln::cpu::tile {
namespace {

// A dim shorter than this makes poor columns.
constexpr int64_t kShortDim = 8;

struct Access {
  bool store;
  bool wide;  // f32 in memory and in lanes: has a fast transposed load
};

bool mergeable(const Dim& outer, const Dim& inner) {
  if (outer.iota >= 0 || inner.iota >= 0 || outer.reduced != inner.reduced) return false;
  for (size_t a = 0; a < outer.strides.size(); ++a) {
    int64_t step;
    if (__builtin_mul_overflow(inner.strides[a], inner.extent, &step) || outer.strides[a] != step)
      return false;
  }
  return true;
}

void merge_neighbours(std::vector<Dim>* dims) {
  std::vector<Dim> merged;
  for (Dim& dim : *dims) {
    if (!merged.empty() && mergeable(merged.back(), dim)) {
      dim.extent *= merged.back().extent;
      merged.back() = std::move(dim);
    } else {
      merged.push_back(std::move(dim));
    }
  }
  *dims = std::move(merged);
}

// Sorts by the strides of access `a`, widest first.
void sort_by_access(std::vector<Dim>::iterator begin, std::vector<Dim>::iterator end, size_t a) {
  std::stable_sort(begin, end, [a](const Dim& x, const Dim& y) {
    return std::abs(x.strides[a]) > std::abs(y.strides[a]);
  });
}

// Moves dim `from` to position `to`, shifting those between.
void move_dim(std::vector<Dim>* dims, size_t from, size_t to) {
  const auto base = dims->begin();
  if (from < to)
    std::rotate(base + from, base + from + 1, base + to + 1);
  else
    std::rotate(base + to, base + from, base + from + 1);
}

void shape_elementwise(const std::vector<Access>& accesses, Shape* shape) {
  std::vector<Dim>& dims = shape->dims;
  for (Dim& dim : dims) dim.reduced = false;
  const auto store = std::find_if(accesses.begin(), accesses.end(),
                                  [](const Access& access) { return access.store; });
  if (store != accesses.end())
    sort_by_access(dims.begin(), dims.end(), static_cast<size_t>(store - accesses.begin()));
  merge_neighbours(&dims);
  if (dims.empty()) return;

  // Columns: the dim along which most accesses are contiguous; stores count double.
  size_t best = dims.size() - 1;
  double best_score = -1;
  for (size_t d = dims.size(); d-- > 0;) {
    double score = 0;
    for (size_t a = 0; a < accesses.size(); ++a) {
      if (dims[d].strides[a] == 1)
        score += accesses[a].store ? 4 : 2;
      else if (dims[d].strides[a] == 0)
        score += 1;
    }
    if (dims[d].extent < kShortDim) score /= 3;
    if (score > best_score) {
      best_score = score;
      best = d;
    }
  }
  move_dim(&dims, best, dims.size() - 1);
  const Dim& cols = dims.back();
  for (size_t a = 0; a < accesses.size() && !shape->transposed; ++a) {
    if (!accesses[a].wide || cols.strides[a] == 0 || cols.strides[a] == 1 || cols.extent < 4)
      continue;
    for (size_t d = 0; d + 1 < dims.size(); ++d) {
      if (dims[d].strides[a] != 1 || dims[d].extent < 4) continue;
      move_dim(&dims, d, dims.size() - 2);
      shape->transposed = true;
      break;
    }
  }
  merge_neighbours(&dims);
  for (Dim& dim : dims) dim.role = Role::kRow;
  dims.back().role = Role::kCol;
}

void shape_rows(const TileCode& code, const std::vector<Access>& accesses, Shape* shape) {
  std::vector<Dim>& dims = shape->dims;
  merge_neighbours(&dims);
  const auto first_reduced =
      std::find_if(dims.begin(), dims.end(), [](const Dim& dim) { return dim.reduced; });
  const size_t outer = static_cast<size_t>(first_reduced - dims.begin());

  // The order within the row matters only to arg reductions: follow the memory of a load.
  const bool ordered =
      std::any_of(code.instrs.begin(), code.instrs.end(), [](const TileInstr& instr) {
        return instr.op == TileOp::kReduceArgMax || instr.op == TileOp::kReduceArgMin;
      });
  if (!ordered && dims.size() - outer > 1) {
    for (size_t a = 0; a < accesses.size(); ++a) {
      const bool varies = std::all_of(dims.begin() + outer, dims.end(),
                                      [a](const Dim& dim) { return dim.strides[a] != 0; });
      if (accesses[a].store || !varies) continue;
      sort_by_access(dims.begin() + outer, dims.end(), a);
      merge_neighbours(&dims);
      break;
    }
  }

  // Columns along an outer dim when more loads are contiguous there than along the row.
  size_t contiguous_row = 0;
  if (dims.size() > outer)
    for (size_t a = 0; a < accesses.size(); ++a)
      contiguous_row += !accesses[a].store && dims.back().strides[a] == 1;
  size_t best = dims.size(), best_count = contiguous_row;
  for (size_t d = 0; d < outer; ++d) {
    if (dims[d].extent < kShortDim || dims.size() == outer) continue;
    size_t count = 0;
    for (size_t a = 0; a < accesses.size(); ++a) {
      const bool over_row = std::any_of(dims.begin() + outer, dims.end(),
                                        [a](const Dim& dim) { return dim.strides[a] != 0; });
      count += !accesses[a].store && dims[d].strides[a] == 1 && over_row;
    }
    if (count > best_count) {
      best_count = count;
      best = d;
    }
  }
  const bool empty_row =
      std::any_of(dims.begin(), dims.end(), [](const Dim& dim) { return dim.extent == 0; });
  if (best < dims.size() && !empty_row) {
    shape->mode = Mode::kColumns;
    for (Dim& dim : dims) dim.role = dim.reduced ? Role::kRow : Role::kOuter;
    dims[best].role = Role::kCol;
    move_dim(&dims, best, dims.size() - 1);
  } else {
    shape->mode = Mode::kRows;
    for (Dim& dim : dims) dim.role = dim.reduced ? Role::kCol : Role::kRow;
  }
}

}  // namespace

Shape choose_shape(const TileCode& code, const TileBinding& binding) {
  Shape shape;
  const int outer_rank = code.rank - code.row_rank;
  std::vector<bool> has_iota(code.rank, false);
  std::vector<Access> accesses;
  bool reduces = false, row_uniform_store = false;
  size_t next = 0;
  for (const TileInstr& instr : code.instrs) {
    const TileOpKind kind = tile_op_info(instr.op).kind;
    reduces |= kind == TileOpKind::kReduce;
    if (instr.op == TileOp::kIota) has_iota[static_cast<size_t>(instr.integer)] = true;
    if (kind != TileOpKind::kMemory) continue;
    const bool store = instr.op == TileOp::kStore;
    const TileAccess& access = binding.accesses[next++];
    accesses.push_back({store, instr.op == TileOp::kLoad && instr.type == LaneType::kF32 &&
                                   code.inputs[instr.operand] == DType::kF32});
    if (store)
      for (int d = outer_rank; d < code.rank; ++d)
        row_uniform_store |= access.strides[d] == 0 && binding.extents[d] != 1;
  }
  for (int d = 0; d < code.rank; ++d) {
    if (binding.extents[d] == 1) continue;
    Dim dim;
    dim.extent = binding.extents[d];
    dim.reduced = d >= outer_rank;
    dim.iota = has_iota[d] ? d : -1;
    for (const TileAccess& access : binding.accesses) dim.strides.push_back(access.strides[d]);
    shape.dims.push_back(std::move(dim));
  }
  if (!reduces && !row_uniform_store)
    shape_elementwise(accesses, &shape);
  else
    shape_rows(code, accesses, &shape);
  return shape;
}

}  // namespace kiln::cpu::tile

#include "backends/cuda/runtime/cublaslt_problem.h"

#include <algorithm>
#include <utility>

#include "base/status.h"

namespace kiln::cuda {
namespace {

Status bad(std::string what) {
  return Status::error("K3212", "matmul step: " + std::move(what));
}

// One dim of the product; strides of a, b, c, d along it, 0 for those without it.
struct Axis {
  int64_t size = 1;
  std::array<int64_t, 4> strides{};
};

// Are `outer` and `inner` one dim for every operand?
bool mergeable(const Axis& outer, const Axis& inner) {
  for (size_t i = 0; i < 4; ++i) {
    if (outer.strides[i] != inner.strides[i] * inner.size) return false;
  }
  return true;
}

// The three dims of the product and the batch dims, those of one element left out.
struct Product {
  Axis m, n, k;
  std::vector<Axis> batch;  // outermost first
};

// Can the elements of a batch dim be the rows of a product that has one? In `a` and `c` a dim that
// has one element for all cannot: matrices need a leading dimension.
bool can_be_rows(const Axis& axis, const Axis& k) {
  const int64_t row = axis.strides[kMatmulA], depth = k.strides[kMatmulA];
  const bool dense_rows = (k.size == 1 || depth == 1) && row >= std::max<int64_t>(k.size, 1);
  return dense_rows || (row == 1 && depth >= axis.size);
}

Result<Product> product_of(const ConcreteView& a, const ConcreteView& b, const ConcreteView* c,
                           const ConcreteView& d) {
  const size_t rank = d.dims.size();
  if (rank < 2 || a.dims.size() != rank || b.dims.size() != rank) return bad("ranks do not fit");
  if (c != nullptr && c->dims != d.dims) return bad("what is added has another shape");
  const size_t rows = rank - 2, columns = rank - 1;
  if (a.dims[rows] != d.dims[rows] || b.dims[columns] != d.dims[columns] ||
      a.dims[columns] != b.dims[rows]) {
    return bad("sizes of the operands do not fit");
  }
  auto stride = [](const ConcreteView* view, size_t dim) {
    return view == nullptr || view->dims[dim] == 1 ? 0 : view->strides[dim];
  };
  Product p;
  p.m = {d.dims[rows], {stride(&a, rows), 0, stride(c, rows), stride(&d, rows)}};
  p.n = {d.dims[columns], {0, stride(&b, columns), stride(c, columns), stride(&d, columns)}};
  p.k = {a.dims[columns], {stride(&a, columns), stride(&b, rows), 0, 0}};
  for (size_t i = 0; i + 2 < rank; ++i) {
    const int64_t size = d.dims[i];
    for (const ConcreteView* view : {&a, &b}) {
      if (view->dims[i] != size && view->dims[i] != 1) return bad("batch dims do not fit");
    }
    if (size == 1) continue;
    const Axis axis{size, {stride(&a, i), stride(&b, i), stride(c, i), stride(&d, i)}};
    if (!p.batch.empty() && mergeable(p.batch.back(), axis)) {
      const int64_t outer = p.batch.back().size;
      p.batch.back() = axis;
      p.batch.back().size *= outer;
    } else {
      p.batch.push_back(axis);
    }
  }
  // Batches of one and the same b are more rows.
  while (!p.batch.empty() && p.batch.back().strides[kMatmulB] == 0) {
    const Axis outer = p.batch.back();
    const bool one_added = c != nullptr && outer.strides[kMatmulC] == 0;
    const bool rows = p.m.size == 1 ? can_be_rows(outer, p.k) && !one_added
                                    : mergeable(outer, p.m);
    if (!rows) break;
    p.batch.pop_back();
    if (p.m.size == 1) p.m = outer;
    else p.m.size *= outer.size;
  }
  return p;
}

// A row-major matrix seen column-major: `fast` lies dense.
Status store(const char* name, const Axis& slow, const Axis& fast, int operand,
             ColumnMajorMatrix* matrix) {
  matrix->rows = fast.size;
  matrix->columns = slow.size;
  const auto i = static_cast<size_t>(operand);
  matrix->leading = slow.size == 1 ? std::max<int64_t>(fast.size, 1) : slow.strides[i];
  if (matrix->leading < std::max<int64_t>(fast.size, 1)) {
    return bad(std::string("rows overlap in ") + name);
  }
  return {};
}

bool is_dense(const Axis& axis, int operand) {
  return axis.size == 1 || axis.strides[static_cast<size_t>(operand)] == 1;
}

// An input with rows and columns as the product's: plain or as the transpose.
Status store_input(const char* name, const Axis& rows, const Axis& columns, int operand,
                   ColumnMajorMatrix* matrix) {
  // A dim of one element counts as dense, but wide loads need one that is.
  const bool long_columns = columns.size > 1 && is_dense(columns, operand);
  const bool long_rows = rows.size > 1 && is_dense(rows, operand);
  for (const bool transposed : {long_columns && !long_rows, !long_columns || long_rows}) {
    const Axis& fast = transposed ? columns : rows;
    if (!is_dense(fast, operand)) continue;
    if (!store(name, transposed ? rows : columns, fast, operand, matrix).ok()) continue;
    matrix->transposed = transposed;
    return {};
  }
  return bad(std::string("no dense dim without overlap in ") + name);
}

}  // namespace

Result<CublasLtProblem> describe_matmul(const ConcreteView& a, const ConcreteView& b,
                                        const ConcreteView* c, const ConcreteView& d, bool bias) {
  KILN_ASSIGN_OR_RETURN(Product p, product_of(a, b, c, d));
  CublasLtProblem problem;
  // Column-major results have dense columns: the transposed product where rows are dense.
  auto dense_result = [&](const Axis& fast) {
    return is_dense(fast, kMatmulD) && (c == nullptr || is_dense(fast, kMatmulC));
  };
  problem.swapped = dense_result(p.n);
  if (!problem.swapped && !dense_result(p.m)) return bad("no dense dim in the result");
  if (!problem.swapped && bias) return bad("bias along the columns of a transposed result");
  const Axis& m = problem.swapped ? p.n : p.m;
  const Axis& n = problem.swapped ? p.m : p.n;
  const int first = problem.swapped ? kMatmulB : kMatmulA;
  const int second = problem.swapped ? kMatmulA : kMatmulB;
  problem.m = m.size;
  problem.n = n.size;
  problem.k = p.k.size;
  auto& [ma, mb, mc, md] = problem.matrices;
  KILN_RETURN_IF_ERROR(store_input("the first operand", m, p.k, first, &ma));
  KILN_RETURN_IF_ERROR(store_input("the second operand", p.k, n, second, &mb));
  KILN_RETURN_IF_ERROR(store("the result", n, m, kMatmulD, &md));
  mc = md;
  if (c != nullptr) KILN_RETURN_IF_ERROR(store("what is added", n, m, kMatmulC, &mc));

  // The longest batch dim is one call; the others are loops around it.
  std::vector<Axis> loops = p.batch;
  if (!loops.empty()) {
    auto longest = std::max_element(loops.begin(), loops.end(), [](const Axis& x, const Axis& y) {
      return x.size < y.size;
    });
    problem.batch = longest->size;
    ma.batch_stride = longest->strides[static_cast<size_t>(first)];
    mb.batch_stride = longest->strides[static_cast<size_t>(second)];
    mc.batch_stride = longest->strides[c != nullptr ? kMatmulC : kMatmulD];
    md.batch_stride = longest->strides[kMatmulD];
    if (md.batch_stride == 0) return bad("batches of the result overlap");
    for (const ColumnMajorMatrix* matrix : {&ma, &mb, &mc, &md}) {
      if (matrix->batch_stride < 0) return bad("batches in reverse order");
    }
    loops.erase(longest);
  }
  if (problem.m == 0 || problem.n == 0 || problem.batch == 0) return problem;
  problem.calls = {{}};
  for (const Axis& axis : loops) {
    if (axis.size == 0) {
      problem.calls.clear();
      return problem;
    }
    if (axis.strides[kMatmulD] == 0) return bad("batches of the result overlap");
    if (static_cast<size_t>(axis.size) > kMaxMatmulCalls / problem.calls.size()) {
      return bad("batch dims that no stride walks");
    }
    std::vector<std::array<int64_t, 4>> more;
    for (const auto& base : problem.calls) {
      for (int64_t i = 0; i < axis.size; ++i) {
        more.push_back({base[0] + i * axis.strides[static_cast<size_t>(first)],
                        base[1] + i * axis.strides[static_cast<size_t>(second)],
                        base[2] + i * axis.strides[kMatmulC],
                        base[3] + i * axis.strides[kMatmulD]});
      }
    }
    problem.calls = std::move(more);
  }
  return problem;
}

std::string CublasLtProblem::to_string() const {
  std::string text = std::to_string(m) + "x" + std::to_string(n) + "x" + std::to_string(k) + "b" +
                     std::to_string(batch);
  for (const ColumnMajorMatrix& matrix : matrices) {
    text += std::string(matrix.transposed ? " t" : " n") + std::to_string(matrix.leading) + "/" +
            std::to_string(matrix.batch_stride);
  }
  return text;
}

}  // namespace kiln::cuda

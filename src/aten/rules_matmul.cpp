// Matrix products. A product with a matrix that comes from a weight is a `linear`, which packs its
// weight once; everything else is a `matmul`.
#include <algorithm>
#include <map>

#include "aten/view_nodes.h"
#include "ir/op_def.h"

namespace kiln {
namespace {

// Is the value a weight, or a view or cast of one?
bool from_weight(Value* value) {
  while (value->producer() != nullptr) {
    Node* node = value->producer();
    if ((!node->op->has(kView) && !node->is("cast")) || node->num_operands() != 1) return false;
    value = node->operand(0);
  }
  return value->is_constant_argument();
}

// The transposed matrix; of a transposed one, what it came from.
Value* transposed_matrix(ImportCall& call, Value* x) {
  Node* node = x->producer();
  if (node != nullptr && node->is("permute") &&
      node->get_ints("order") == std::vector<int64_t>{1, 0}) {
    return node->operand(0);
  }
  return emit_permute(call, x, {1, 0});
}

Value* scaled(ImportCall& call, Value* x, int factor) {
  if (call.arg(factor).get<bool>() == nullptr && call.arg(factor).get<double>() == nullptr) {
    if (call.dim(factor).is_value(1)) return x;
  } else if (call.number(factor) == 1) {
    return x;
  }
  return call.emit("mul", {x, call.operand(factor, x->dtype())});
}

// x[..., k] @ w[k, n] (+ bias[n]).
Value* product_with_matrix(ImportCall& call, Value* x, Value* w, Value* bias = nullptr) {
  if (is_float(x->dtype()) && x->dtype() == w->dtype() && from_weight(w)) {
    std::vector<Value*> operands{x, transposed_matrix(call, w)};
    if (bias != nullptr) operands.push_back(bias);
    return call.emit("linear", operands);
  }
  Value* y = call.emit("matmul", {x, w});
  return bias == nullptr ? y : call.emit("add", {y, bias});
}

// numpy's matmul.
Value* product(ImportCall& call, Value* a, Value* b) {
  const int rank_a = rank_of(a), rank_b = rank_of(b);
  if (rank_a == 0 || rank_b == 0) call.refuse("matmul of a scalar");
  if (rank_a >= 2 && rank_b == 2) return product_with_matrix(call, a, b);
  Value* left = rank_a == 1 ? emit_unsqueeze(call, a, 0) : a;
  Value* right = rank_b == 1 ? emit_unsqueeze(call, b, 1) : b;
  Value* y =
      rank_b <= 2 ? product_with_matrix(call, left, right) : call.emit("matmul", {left, right});
  Shape shape = y->shape();
  if (rank_b == 1) shape.pop_back();
  if (rank_a == 1) shape.erase(shape.end() - (rank_b == 1 ? 1 : 2));
  return call.reshape(y, std::move(shape));
}

void matmul(ImportCall& call) { call.result(product(call, call.tensor(0), call.tensor(1))); }
KILN_ATEN_RULE(matmul, "aten::matmul(Tensor self, Tensor other) -> Tensor");
KILN_ATEN_RULE(matmul, "aten::mm(Tensor self, Tensor mat2) -> Tensor");
KILN_ATEN_RULE(matmul, "aten::bmm(Tensor self, Tensor mat2) -> Tensor");
KILN_ATEN_RULE(matmul, "aten::mv(Tensor self, Tensor vec) -> Tensor");
KILN_ATEN_RULE(matmul, "aten::dot(Tensor self, Tensor tensor) -> Tensor");
KILN_ATEN_RULE(matmul, "aten::vdot(Tensor self, Tensor other) -> Tensor");
KILN_ATEN_RULE(matmul, "aten::linalg_matmul(Tensor self, Tensor other) -> Tensor");

void linear(ImportCall& call) {
  Value *x = call.tensor(0), *w = call.tensor(1), *bias = call.tensor_or_null(2);
  if (rank_of(w) == 2) {
    call.result(call.emit("linear", {x, w, bias}));
    return;
  }
  Value* y = product(call, x, w);
  call.result(bias == nullptr ? y : call.emit("add", {y, bias}));
}
KILN_ATEN_RULE(linear, "aten::linear(Tensor input, Tensor weight, Tensor? bias=None) -> Tensor");

// beta * c + alpha * product. With beta 0, c is ignored, NaN or not.
void add_product(ImportCall& call, Value* y, int beta, int alpha) {
  y = scaled(call, y, alpha);
  if (call.number(beta) != 0) y = call.emit("add", {scaled(call, call.tensor(0), beta), y});
  call.result(y);
}

void addmm(ImportCall& call) {
  Value *bias = call.tensor(0), *x = call.tensor(1), *w = call.tensor(2);
  if (call.number(3) == 1 && call.number(4) == 1 && rank_of(bias) == 1 && rank_of(w) == 2 &&
      bias->shape()[0] == w->shape()[1]) {
    call.result(product_with_matrix(call, x, w, bias));
    return;
  }
  add_product(call, product(call, x, w), 3, 4);
}
KILN_ATEN_RULE(addmm,
               "aten::addmm(Tensor self, Tensor mat1, Tensor mat2, *, Scalar beta=1, Scalar "
               "alpha=1) -> Tensor");
KILN_ATEN_RULE(addmm,
               "aten::addmv(Tensor self, Tensor mat, Tensor vec, *, Scalar beta=1, Scalar "
               "alpha=1) -> Tensor");
KILN_ATEN_RULE(addmm,
               "aten::baddbmm(Tensor self, Tensor batch1, Tensor batch2, *, Scalar beta=1, "
               "Scalar alpha=1) -> Tensor");

void addbmm(ImportCall& call) {
  Value* y = call.emit("matmul", {call.tensor(1), call.tensor(2)});
  add_product(call, emit_reduce(call, "reduce_sum", y, {0}, false), 3, 4);
}
KILN_ATEN_RULE(addbmm,
               "aten::addbmm(Tensor self, Tensor batch1, Tensor batch2, *, Scalar beta=1, Scalar "
               "alpha=1) -> Tensor");

Value* outer_product(ImportCall& call, int i, int j, DType dtype) {
  return call.emit("mul", {emit_unsqueeze(call, call.cast(call.tensor(i), dtype), 1),
                           emit_unsqueeze(call, call.cast(call.tensor(j), dtype), 0)});
}
void outer(ImportCall& call) { call.result(outer_product(call, 0, 1, call.promoted({0, 1}))); }
void addr(ImportCall& call) {
  add_product(call, outer_product(call, 1, 2, call.captured_dtype()), 3, 4);
}
KILN_ATEN_RULE(outer, "aten::outer(Tensor self, Tensor vec2) -> Tensor");
KILN_ATEN_RULE(outer, "aten::ger(Tensor self, Tensor vec2) -> Tensor");
KILN_ATEN_RULE(addr,
               "aten::addr(Tensor self, Tensor vec1, Tensor vec2, *, Scalar beta=1, Scalar "
               "alpha=1) -> Tensor");

void inner(ImportCall& call) {
  Value *a = call.tensor(0), *b = call.tensor(1);
  if (rank_of(a) == 0 || rank_of(b) == 0) {
    call.result(call.emit("mul", {a, b}));
    return;
  }
  // Every row of a with every row of b: one product of two matrices.
  const DimExpr depth = a->shape().back();
  DimExpr rows_a = 1, rows_b = 1;
  Shape shape;
  for (size_t i = 0; i + 1 < a->shape().size(); ++i) {
    rows_a *= a->shape()[i];
    shape.push_back(a->shape()[i]);
  }
  for (size_t i = 0; i + 1 < b->shape().size(); ++i) {
    rows_b *= b->shape()[i];
    shape.push_back(b->shape()[i]);
  }
  Value* y =
      call.emit("matmul", {call.reshape(a, {rows_a, depth}), call.reshape(b, {rows_b, depth})},
                {{"transpose_b", true}});
  call.result(call.reshape(y, std::move(shape)));
}
KILN_ATEN_RULE(inner, "aten::inner(Tensor self, Tensor other) -> Tensor");

// The products of the other two components, rotated: (b1 c2 - b2 c1, ...).
void emit_cross(ImportCall& call, int64_t axis) {
  const DType dtype = call.captured_dtype();
  const Shape& shape = call.captured().tensor().shape;
  auto rolled = [&](int i, int64_t by) {
    Value* x = emit_expand(call, call.cast(call.tensor(i), dtype), shape);
    return call.emit("roll", {x},
                     {{"shifts", std::vector<DimExpr>{by}}, {"axes", std::vector<int64_t>{axis}}});
  };
  Value* left = call.emit("mul", {rolled(0, -1), rolled(1, -2)});
  call.result(call.emit("sub", {left, call.emit("mul", {rolled(0, -2), rolled(1, -1)})}));
}
void linalg_cross(ImportCall& call) { emit_cross(call, call.axis(2, rank_of(call.tensor(0)))); }
KILN_ATEN_RULE(linalg_cross,
               "aten::linalg_cross(Tensor self, Tensor other, *, int dim=-1) -> Tensor");

// Sums over pairs of axes: both sides become matrices.
void tensordot(ImportCall& call) {
  Value *a = call.tensor(0), *b = call.tensor(1);
  std::vector<int64_t> axes_a = call.integers(2), axes_b = call.integers(3);
  if (axes_a.size() != axes_b.size()) call.refuse("dims differ in length");
  for (size_t i = 0; i < axes_a.size(); ++i) {
    axes_a[i] = ImportCall::wrap_axis(axes_a[i], rank_of(a));
    axes_b[i] = ImportCall::wrap_axis(axes_b[i], rank_of(b));
    if (axes_a[i] < 0 || axes_b[i] < 0) call.refuse("dim is out of range");
    size_of(call, a, axes_a[i]);  // refuses axes that there are not
    size_of(call, b, axes_b[i]);
  }
  Shape shape;
  auto others = [&](Value* x, const std::vector<int64_t>& axes) {
    std::vector<int64_t> rest;
    for (int64_t axis : all_axes(x)) {
      if (std::find(axes.begin(), axes.end(), axis) != axes.end()) continue;
      rest.push_back(axis);
      shape.push_back(x->shape()[static_cast<size_t>(axis)]);
    }
    return rest;
  };
  const std::vector<int64_t> rest_a = others(a, axes_a), rest_b = others(b, axes_b);
  std::vector<int64_t> order_a = rest_a, order_b = axes_b;
  order_a.insert(order_a.end(), axes_a.begin(), axes_a.end());
  order_b.insert(order_b.end(), rest_b.begin(), rest_b.end());
  const DimExpr depth = count_along(a, axes_a);
  Value* left = call.reshape(emit_permute(call, a, order_a), {count_along(a, rest_a), depth});
  Value* right = call.reshape(emit_permute(call, b, order_b), {depth, count_along(b, rest_b)});
  call.result(call.reshape(product_with_matrix(call, left, right), shape));
}
KILN_ATEN_RULE(tensordot,
               "aten::tensordot(Tensor self, Tensor other, int[] dims_self, int[] dims_other) -> "
               "Tensor");

// ---- einsum: sums, transpositions and products, two operands at a time

struct Term {
  Value* value;
  std::string labels;  // one letter per axis, no repeats
};

// Sums the axes that neither the result nor another term names.
Term drop_unused(ImportCall& call, Term term, const std::string& needed) {
  std::vector<int64_t> axes;
  std::string kept;
  for (size_t i = 0; i < term.labels.size(); ++i) {
    if (needed.find(term.labels[i]) == std::string::npos) {
      axes.push_back(static_cast<int64_t>(i));
    } else {
      kept += term.labels[i];
    }
  }
  if (axes.empty()) return term;
  return {emit_reduce(call, "reduce_sum", term.value, axes, false), kept};
}

// Axes in the order of `labels`; a label that the term lacks becomes an axis of size 1.
Value* arrange(ImportCall& call, const Term& term, const std::string& labels) {
  std::vector<int64_t> order;
  Shape shape;
  for (char label : labels) {
    const size_t at = term.labels.find(label);
    if (at != std::string::npos) {
      order.push_back(static_cast<int64_t>(at));
      shape.push_back(term.value->shape()[at]);
    } else {
      shape.push_back(1);
    }
  }
  return call.reshape(emit_permute(call, term.value, order), std::move(shape));
}

Term contract(ImportCall& call, Term a, Term b, const std::string& needed) {
  a = drop_unused(call, a, needed + b.labels);
  b = drop_unused(call, b, needed + a.labels);
  std::string batch, rows, columns, summed;
  std::map<char, DimExpr> sizes;
  for (const Term* term : {&a, &b}) {
    for (size_t i = 0; i < term->labels.size(); ++i) {
      DimExpr& size = sizes.emplace(term->labels[i], 1).first->second;
      if (size.is_value(1)) size = term->value->shape()[i];
    }
  }
  for (char label : a.labels) {
    const bool shared = b.labels.find(label) != std::string::npos;
    const bool kept = needed.find(label) != std::string::npos;
    (shared ? (kept ? batch : summed) : rows) += label;
  }
  for (char label : b.labels) {
    if (a.labels.find(label) == std::string::npos) columns += label;
  }
  // Axes of size 1 broadcast; as groups of a product they must have their full size.
  auto group = [&](const Term& term, const std::string& left, const std::string& right) {
    const std::string labels = batch + left + right;
    Shape full, shape;
    for (char label : labels) full.push_back(sizes.at(label));
    for (char label : batch) shape.push_back(sizes.at(label));
    for (const std::string* part : {&left, &right}) {
      DimExpr extent = 1;
      for (char label : *part) extent *= sizes.at(label);
      shape.push_back(extent);
    }
    return call.reshape(emit_expand(call, arrange(call, term, labels), full), shape);
  };
  Value* y = call.emit("matmul", {group(a, rows, summed), group(b, summed, columns)});
  Shape shape;
  for (char label : batch + rows + columns) shape.push_back(sizes.at(label));
  return {call.reshape(y, std::move(shape)), batch + rows + columns};
}

void einsum(ImportCall& call) {
  std::string equation = call.text(0);
  equation.erase(std::remove(equation.begin(), equation.end(), ' '), equation.end());
  const std::vector<Value*> values = call.tensors(1);
  const size_t arrow = equation.find("->");
  std::string output = arrow == std::string::npos ? "" : equation.substr(arrow + 2);
  std::vector<std::string> inputs(1);
  for (char c : equation.substr(0, arrow)) {
    if (c == ',') {
      inputs.emplace_back();
    } else {
      inputs.back() += c;
    }
  }
  if (inputs.size() != values.size() || values.empty()) call.refuse("einsum: wrong equation");
  // The axes under an ellipsis get labels of their own, aligned at the last one.
  size_t hidden = 0;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i].find("...") == std::string::npos) continue;
    hidden = std::max(hidden, values[i]->shape().size() - (inputs[i].size() - 3));
  }
  if (hidden > 10) call.refuse("einsum: too many axes under the ellipsis");
  const std::string ellipsis = std::string("0123456789").substr(0, hidden);
  std::map<char, int> count;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (const size_t at = inputs[i].find("..."); at != std::string::npos) {
      const size_t own = values[i]->shape().size() - (inputs[i].size() - 3);
      inputs[i].replace(at, 3, ellipsis.substr(hidden - own));
    }
    if (inputs[i].size() != values[i]->shape().size()) call.refuse("einsum: wrong rank");
    for (size_t j = 0; j < inputs[i].size(); ++j) {
      ++count[inputs[i][j]];
      if (inputs[i].find(inputs[i][j], j + 1) != std::string::npos) {
        call.refuse("einsum: repeated subscript within an operand");
      }
    }
  }
  if (arrow == std::string::npos) {
    output = ellipsis;
    for (const auto& [label, times] : count) {
      if (times == 1 && ellipsis.find(label) == std::string::npos) output += label;
    }
  } else if (const size_t at = output.find("..."); at != std::string::npos) {
    output.replace(at, 3, ellipsis);
  }
  Term term{values[0], inputs[0]};
  for (size_t i = 1; i < values.size(); ++i) {
    std::string needed = output;
    for (size_t j = i + 1; j < values.size(); ++j) needed += inputs[j];
    term = contract(call, term, {values[i], inputs[i]}, needed);
  }
  term = drop_unused(call, term, output);
  if (term.labels.size() != output.size()) call.refuse("einsum: unknown subscript in the result");
  call.result(arrange(call, term, output));
}
KILN_ATEN_RULE(einsum,
               "aten::einsum(str equation, Tensor[] tensors, *, int[]? path=None) -> Tensor");

}  // namespace
}  // namespace kiln

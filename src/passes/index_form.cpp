#include "passes/index_form.h"

#include "ir/op_def.h"
#include "passes/match.h"

namespace kiln {
namespace {

// Follows a chain of producers only so far; masks are shallow.
constexpr int kMaxDepth = 32;

class FormReader {
 public:
  explicit FormReader(Module& module) : module_(module) {}

  // Over the value's own axes.
  std::optional<IndexForm> read(Value* value, int depth = 0) {
    if (depth > kMaxDepth || !value->type.is_tensor()) return std::nullopt;
    if (value->dtype() != DType::kI64 && value->dtype() != DType::kI32) return std::nullopt;
    if (value->is_constant_argument() && value->graph() == &module_.main) {
      return read(module_.init_value(value), depth + 1);
    }
    const size_t rank = value->shape().size();
    IndexForm form{0, std::vector<DimExpr>(rank, DimExpr(0))};
    if (const std::optional<Splat> splat = splat_of(module_, value)) {
      form.constant = DimExpr(splat->integer);
      return form;
    }
    Node* node = value->producer();
    if (node == nullptr) return std::nullopt;
    if (node->is("iota")) {
      form.constant = node->get_dim("start");
      form.factors[0] = node->get_dim("step");
      return form;
    }
    if (node->is("constant")) return read_literal(std::get<HostTensor>(node->attr("value")));
    if (node->is("cast")) return read(node->operand(0), depth + 1);
    if (node->is("add") || node->is("sub")) {
      std::optional<IndexForm> a = read_over(node->operand(0), value->shape(), depth + 1);
      std::optional<IndexForm> b = read_over(node->operand(1), value->shape(), depth + 1);
      if (!a || !b) return std::nullopt;
      return combine(*a, *b, node->is("add") ? 1 : -1);
    }
    if (node->is("mul")) {
      for (int i : {0, 1}) {
        const std::optional<Splat> number = splat_of(module_, node->operand(i));
        std::optional<IndexForm> x = read_over(node->operand(1 - i), value->shape(), depth + 1);
        if (number && x) return combine(form, *x, number->integer);
      }
      return std::nullopt;
    }
    if (node->is("concat")) return read_concat(*node, depth);
    if (!node->op->has(kView)) return std::nullopt;
    return read_view(*node, depth);
  }

  std::optional<IndexForm> read_over(Value* value, const Shape& shape, int depth) {
    std::optional<IndexForm> form = read(value, depth);
    if (!form || value->shape().size() > shape.size()) return std::nullopt;
    // Axes that broadcast have no factor.
    const size_t lead = shape.size() - value->shape().size();
    for (size_t i = 0; i < value->shape().size(); ++i) {
      if (value->shape()[i].is_value(1)) form->factors[i] = 0;
    }
    form->factors.insert(form->factors.begin(), lead, DimExpr(0));
    return form;
  }

 private:
  static IndexForm combine(const IndexForm& a, const IndexForm& b, int64_t factor) {
    IndexForm sum = a;
    sum.constant += b.constant * factor;
    for (size_t i = 0; i < sum.factors.size(); ++i) sum.factors[i] += b.factors[i] * factor;
    return sum;
  }

  // A literal progression along one axis.
  static std::optional<IndexForm> read_literal(const HostTensor& value) {
    IndexForm form{0, std::vector<DimExpr>(static_cast<size_t>(value.rank()), DimExpr(0))};
    int axis = -1;
    for (int i = 0; i < value.rank(); ++i) {
      if (value.size(i) == 1) continue;
      if (axis >= 0) return std::nullopt;
      axis = i;
    }
    if (axis < 0 || value.num_elements() < 2) return std::nullopt;
    const int64_t step = value.get_int(1) - value.get_int(0);
    for (int64_t i = 1; i < value.num_elements(); ++i) {
      if (value.get_int(i) - value.get_int(i - 1) != step) return std::nullopt;
    }
    form.constant = DimExpr(value.get_int(0));
    form.factors[static_cast<size_t>(axis)] = DimExpr(step);
    return form;
  }

  // Parts that go on where the one before ended.
  std::optional<IndexForm> read_concat(Node& node, int depth) {
    const auto axis = static_cast<size_t>(node.get_int("axis"));
    std::vector<IndexForm> parts;
    std::optional<DimExpr> step;
    for (Value* operand : node.operands()) {
      std::optional<IndexForm> part = read(operand, depth + 1);
      if (!part) return std::nullopt;
      // One element has no step of its own.
      if (!operand->shape()[axis].is_value(1)) {
        if (step && !(*step == part->factors[axis])) return std::nullopt;
        step = part->factors[axis];
      }
      parts.push_back(std::move(*part));
    }
    if (!step) return std::nullopt;
    IndexForm whole = parts[0];
    whole.factors[axis] = *step;
    DimExpr offset = 0;
    for (size_t i = 0; i < parts.size(); ++i) {
      IndexForm& part = parts[i];
      part.factors[axis] = *step;
      if (!(part.factors == whole.factors) || !(part.constant == whole.constant + *step * offset)) {
        return std::nullopt;
      }
      offset += node.operand(static_cast<int>(i))->shape()[axis];
    }
    return whole;
  }

  std::optional<IndexForm> read_view(Node& node, int depth) {
    Value* x = node.operand(0);
    const Shape& from = x->shape();
    const Shape& to = node.result()->shape();
    if (node.is("expand")) return read_over(x, to, depth + 1);
    std::optional<IndexForm> form = read(x, depth + 1);
    if (!form) return std::nullopt;
    IndexForm moved{form->constant, std::vector<DimExpr>(to.size(), DimExpr(0))};
    if (node.is("permute")) {
      const std::vector<int64_t>& order = node.get_ints("order");
      for (size_t i = 0; i < to.size(); ++i) {
        moved.factors[i] = form->factors[static_cast<size_t>(order[i])];
      }
      return moved;
    }
    if (node.is("slice")) {
      const auto axis = static_cast<size_t>(node.get_int("axis"));
      moved.factors = form->factors;
      moved.constant += form->factors[axis] * node.get_dim("start");
      moved.factors[axis] = form->factors[axis] * node.get_dim("step");
      return moved;
    }
    if (!node.is("reshape")) return std::nullopt;
    // Axes of size 1 may come and go; all others must stay in order.
    size_t at = 0;
    for (size_t i = 0; i < to.size(); ++i) {
      if (to[i].is_value(1)) continue;
      while (at < from.size() && from[at].is_value(1)) ++at;
      if (at == from.size() || !(from[at] == to[i])) return std::nullopt;
      moved.factors[i] = form->factors[at++];
    }
    while (at < from.size() && from[at].is_value(1)) ++at;
    if (at != from.size()) return std::nullopt;
    return moved;
  }

  Module& module_;
};

// difference <= 0 at every index?
bool never_positive(const IndexForm& difference, const Shape& shape, const SymbolRanges& symbols) {
  DimExpr top = difference.constant;
  for (size_t i = 0; i < shape.size(); ++i) {
    const DimRange factor = difference.factors[i].range(symbols);
    // Indices run from 0 to size - 1; only a constant sign of the factor says which end counts.
    if (factor.min >= 0) {
      top += difference.factors[i] * (shape[i] - 1);
    } else if (factor.max > 0) {
      return false;
    }
  }
  return top.range(symbols).max <= 0;
}

class MaskReader {
 public:
  MaskReader(Module& module, const Shape& shape) : module_(module), shape_(shape) {}

  MaskKind read(Value* value, int depth = 0) {
    if (depth > kMaxDepth || !value->type.is_tensor() || value->dtype() != DType::kBool) {
      return MaskKind::kUnknown;
    }
    if (value->is_constant_argument() && value->graph() == &module_.main) {
      return read(module_.init_value(value), depth + 1);
    }
    if (const std::optional<Splat> splat = splat_of(module_, value)) {
      return splat->is_true() ? MaskKind::kAllTrue : MaskKind::kAllFalse;
    }
    Node* node = value->producer();
    if (node == nullptr) return MaskKind::kUnknown;
    if (node->is("constant")) return read_literal(std::get<HostTensor>(node->attr("value")));
    if (node->num_operands() == 2 && node->op->has(kElementwise) && !node->is("mul")) {
      if (node->operand(0)->dtype() != DType::kBool) return compare_if_known(*node);
    }
    if (node->is("expand")) return read(node->operand(0), depth + 1);
    if (node->is("reshape") && keeps_matrix(*node)) return read(node->operand(0), depth + 1);
    if (node->is("tril") && node->get_int("diagonal") == 0) {
      const std::optional<Splat> splat = splat_of(module_, node->operand(0));
      if (splat && splat->is_true() && is_matrix(value)) return MaskKind::kCausal;
    }
    if ((node->is("logical_not") || node->is("bitwise_not"))) {
      Node* upper = producer_of(node->operand(0), "triu");
      if (upper == nullptr || upper->get_int("diagonal") != 1) return MaskKind::kUnknown;
      const std::optional<Splat> splat = splat_of(module_, upper->operand(0));
      if (splat && splat->is_true() && is_matrix(value)) return MaskKind::kCausal;
      return MaskKind::kUnknown;
    }
    if (node->is("logical_and") || node->is("bitwise_and") || node->is("mul")) {
      const MaskKind a = read(node->operand(0), depth + 1);
      const MaskKind b = read(node->operand(1), depth + 1);
      if (a == MaskKind::kAllFalse || b == MaskKind::kAllFalse) return MaskKind::kAllFalse;
      if (a == MaskKind::kAllTrue || a == b) return b;
      if (b == MaskKind::kAllTrue) return a;
    }
    return MaskKind::kUnknown;
  }

 private:
  // The last two axes are those of the scores, not broadcast ones.
  bool is_matrix(Value* value) {
    return shape_.size() >= 2 && value->shape().size() >= 2 &&
           common_suffix(value->shape(), shape_) >= 2;
  }

  static bool keeps_matrix(Node& node) {
    return common_suffix(node.operand(0)->shape(), node.result()->shape()) >= 2;
  }

  MaskKind read_literal(const HostTensor& value) {
    if (value.rank() < 2 || shape_.size() < 2) return MaskKind::kUnknown;
    const int64_t rows = value.size(value.rank() - 2);
    const int64_t columns = value.size(value.rank() - 1);
    if (!shape_[shape_.size() - 2].is_value(rows) || !shape_.back().is_value(columns)) {
      return MaskKind::kUnknown;
    }
    for (int64_t i = 0; i < value.num_elements(); ++i) {
      const bool visible = i % columns <= i / columns % rows;
      if ((value.get_int(i) != 0) != visible) return MaskKind::kUnknown;
    }
    return MaskKind::kCausal;
  }

  MaskKind compare_if_known(Node& node) {
    for (std::string_view op : {"le", "ge", "lt", "gt", "eq", "ne"}) {
      if (node.is(op)) return compare(node);
    }
    return MaskKind::kUnknown;
  }

  // a - b over the shape.
  std::optional<IndexForm> difference_of(Node& node) {
    FormReader reader(module_);
    std::optional<IndexForm> a = reader.read_over(node.operand(0), shape_, 0);
    std::optional<IndexForm> b = reader.read_over(node.operand(1), shape_, 0);
    if (!a || !b) return std::nullopt;
    a->constant = a->constant - b->constant;
    for (size_t i = 0; i < shape_.size(); ++i) a->factors[i] += -b->factors[i];
    return a;
  }

  static IndexForm negated(IndexForm form) {
    form.constant = -form.constant;
    for (DimExpr& factor : form.factors) factor = -factor;
    return form;
  }

  static IndexForm plus(IndexForm form, int64_t n) {
    form.constant += n;
    return form;
  }

  bool negative(const IndexForm& form) {
    return never_positive(plus(form, 1), shape_, module_.symbols);
  }

  MaskKind compare(Node& node) {
    std::optional<IndexForm> difference = difference_of(node);
    if (!difference) return MaskKind::kUnknown;
    if (node.is("eq") || node.is("ne")) {
      const bool same = never_positive(*difference, shape_, module_.symbols) &&
                        never_positive(negated(*difference), shape_, module_.symbols);
      const bool apart = negative(*difference) || negative(negated(*difference));
      if (!same && !apart) return MaskKind::kUnknown;
      return same == node.is("eq") ? MaskKind::kAllTrue : MaskKind::kAllFalse;
    }
    // As difference <= 0.
    if (node.is("ge") || node.is("gt")) difference = negated(*difference);
    if (node.is("lt") || node.is("gt")) difference->constant += 1;
    if (never_positive(*difference, shape_, module_.symbols)) return MaskKind::kAllTrue;
    if (negative(negated(*difference))) return MaskKind::kAllFalse;
    const size_t rank = shape_.size();
    if (rank < 2 || !difference->constant.is_value(0)) return MaskKind::kUnknown;
    for (size_t i = 0; i + 2 < rank; ++i) {
      if (!difference->factors[i].is_value(0)) return MaskKind::kUnknown;
    }
    const bool causal =
        difference->factors[rank - 1].is_value(1) && difference->factors[rank - 2].is_value(-1);
    return causal ? MaskKind::kCausal : MaskKind::kUnknown;
  }

  Module& module_;
  const Shape& shape_;
};

}  // namespace

std::optional<IndexForm> index_form(Module& module, Value* value, const Shape& shape) {
  return FormReader(module).read_over(value, shape, 0);
}

MaskKind mask_kind(Module& module, Value* value, const Shape& shape) {
  return MaskReader(module, shape).read(value);
}

}  // namespace kiln

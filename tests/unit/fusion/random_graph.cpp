#include "unit/fusion/random_graph.h"

#include <algorithm>
#include <numeric>
#include <string>

#include "base/check.h"
#include "ir/op_def.h"

namespace kiln::test {
namespace {

constexpr int64_t kMaxElements = 20000;  // with symbols at their largest

int64_t size_bound(const Shape& shape) {
  int64_t total = 1;
  for (const DimExpr& dim : shape) {
    total *= dim.evaluate({{"s0", 13}, {"s1", 7}}).value();
  }
  return total;
}

}  // namespace

std::unique_ptr<Module> RandomGraph::make() {
  module_ = std::make_unique<Module>();
  if (options_.symbols) module_->symbols = {{"s0", {1, 64}}, {"s1", {2, 64}}};
  const int inputs = 1 + below(3);
  for (int i = 0; i < inputs; ++i) {
    const Shape shape = random_shape();
    InputSpec spec;
    spec.name = "x" + std::to_string(i);
    if (chance(20)) {
      spec.order.resize(shape.size());
      std::iota(spec.order.begin(), spec.order.end(), 0);
      std::shuffle(spec.order.begin(), spec.order.end(), random_);
    }
    values_.push_back(module_->main.add_input(Type(DType::kF32, shape), spec.name));
    module_->inputs.push_back(std::move(spec));
  }
  if (options_.symbols) {
    // So that every symbol is the size of some input.
    values_.push_back(module_->main.add_input(
        Type(DType::kF32, {DimExpr::symbol("s0"), DimExpr::symbol("s1")}), "sizes"));
    InputSpec spec;
    spec.name = "sizes";
    module_->inputs.push_back(std::move(spec));
  }
  const int nodes = 3 + below(options_.max_nodes - 3);
  for (int i = 0; i < nodes; ++i) {
    const int kind = below(100);
    if (kind < 45) {
      add_elementwise();
    } else if (kind < 60) {
      options_.reductions ? add_reduction() : add_elementwise();
    } else if (kind < 73) {
      options_.reductions ? add_row_op() : add_elementwise();
    } else if (kind < 90) {
      options_.views ? add_view() : add_elementwise();
    } else if (kind < 96) {
      options_.views ? add_concat() : add_elementwise();
    } else {
      options_.pools ? add_pool() : add_elementwise();
    }
  }
  add_outputs();
  return std::move(module_);
}

DimExpr RandomGraph::random_dim() {
  static const int kSizes[] = {1, 2, 3, 4, 5, 6, 8, 16, 17};
  if (options_.symbols && chance(40)) return DimExpr::symbol(chance(60) ? "s0" : "s1");
  return kSizes[below(9)];
}

Shape RandomGraph::random_shape() {
  for (;;) {
    Shape shape;
    const int rank = below(20) == 0 ? 0 : 1 + below(4);
    for (int i = 0; i < rank; ++i) shape.push_back(random_dim());
    if (size_bound(shape) <= kMaxElements) return shape;
  }
}

Value* RandomGraph::any(DType dtype) {
  std::vector<Value*> fitting;
  for (Value* value : values_) {
    if (value->dtype() == dtype) fitting.push_back(value);
  }
  if (fitting.empty()) return nullptr;
  // Mostly what came last, so that chains grow.
  const auto count = static_cast<int>(fitting.size());
  return fitting[static_cast<size_t>(chance(60) ? count - 1 - below(std::min(count, 3))
                                                : below(count))];
}

Value* RandomGraph::constant(const Shape& shape) {
  Weight weight;
  weight.name = "w" + std::to_string(module_->weights.size());
  weight.type.dtype = DType::kF32;
  weight.type.shape = shape;
  return module_->constant_for(module_->add_weight(std::move(weight)));
}

Value* RandomGraph::broadcastable(const Shape& shape) {
  std::vector<Value*> fitting;
  for (Value* value : values_) {
    if (value->dtype() != DType::kF32 || value->shape().size() > shape.size()) continue;
    const size_t added = shape.size() - value->shape().size();
    bool fits = true;
    for (size_t i = 0; i < value->shape().size(); ++i) {
      const DimExpr& dim = value->shape()[i];
      fits = fits && (dim == shape[added + i] || dim.is_value(1));
    }
    if (fits) fitting.push_back(value);
  }
  if (!fitting.empty() && chance(80))
    return fitting[static_cast<size_t>(below(static_cast<int>(fitting.size())))];
  // A parameter of the trailing dims, as models have them, or one number.
  Shape dims;
  if (chance(70)) {
    for (size_t i = static_cast<size_t>(below(static_cast<int>(shape.size()) + 1));
         i < shape.size(); ++i) {
      dims.push_back(shape[i].is_constant() && chance(80) ? shape[i] : DimExpr(1));
    }
    return constant(dims);
  }
  return add(
      "full", {},
      {{"shape", std::vector<DimExpr>()}, {"dtype", DType::kF32}, {"value", 0.5 + below(3)}});
}

Value* RandomGraph::add(const char* op, std::vector<Value*> operands, AttrList attrs) {
  auto node =
      module_->main.create(OpRegistry::global().get(op), std::move(operands), std::move(attrs));
  KILN_CHECK_MSG(node.ok(), node.status().to_string());
  Value* value = (*node)->result();
  if (size_bound(value->shape()) > kMaxElements) {
    module_->main.erase(*node);
    return nullptr;
  }
  values_.push_back(value);
  return value;
}

void RandomGraph::add_elementwise() {
  static const char* const kUnary[] = {"relu", "neg",  "abs",      "tanh", "sigmoid",
                                       "sin",  "silu", "softplus", "erf",  "square"};
  static const char* const kBinary[] = {"add", "sub", "mul", "maximum", "minimum"};
  const int kind = below(100);
  if (Value* flag = kind < 8 ? any(DType::kBool) : nullptr) {
    if (chance(40)) {
      add("logical_not", {flag});
    } else if (chance(50)) {
      add("cast", {flag}, {{"dtype", DType::kF32}});
    } else {
      Value* x = broadcastable(flag->shape());
      add("where", {flag, x, broadcastable(flag->shape())});
    }
    return;
  }
  Value* x = any();
  if (kind < 40) {
    Value* y = add(kUnary[below(10)], {x});
    if (y != nullptr && y->producer()->is("square")) add("tanh", {y});  // keeps numbers small
  } else if (kind < 85) {
    Value* other = broadcastable(x->shape());
    std::vector<Value*> operands = {x, other};
    if (chance(30)) std::swap(operands[0], operands[1]);
    add(kBinary[below(5)], operands);
  } else if (kind < 92) {
    add(chance(50) ? "gt" : "le", {x, broadcastable(x->shape())});
  } else {
    add("clamp", {x}, {{"has_min", true}, {"has_max", chance(50)}, {"min", -1.5}, {"max", 2.0}});
  }
}

void RandomGraph::add_reduction() {
  static const char* const kOps[] = {"reduce_mean", "reduce_max", "reduce_min",
                                     "reduce_sum",  "var",        "logsumexp"};
  Value* x = any();
  const auto rank = static_cast<int>(x->shape().size());
  if (rank == 0) return;
  std::vector<int64_t> axes;
  for (int d = 0; d < rank; ++d) {
    if (chance(40)) axes.push_back(d);
  }
  if (axes.empty()) axes.push_back(below(rank));
  if (chance(30)) std::shuffle(axes.begin(), axes.end(), random_);
  const char* op = kOps[below(6)];
  AttrList attrs = {{"axes", axes}, {"keepdim", chance(60)}};
  if (std::string(op) == "var") attrs.emplace_back("correction", 0.0);
  Value* y = add(op, {x}, attrs);
  if (y != nullptr && std::string(op) == "reduce_sum") add("tanh", {y});
}

void RandomGraph::add_row_op() {
  Value* x = any();
  const Shape shape = x->shape();
  const auto rank = static_cast<int>(shape.size());
  if (rank == 0) return;
  const int kind = below(4);
  if (kind == 0) {
    add(chance(70) ? "softmax" : "log_softmax", {x},
        {{"axis", int64_t{chance(60) ? rank - 1 : below(rank)}}});
    return;
  }
  if (kind == 3 && rank >= 2 && shape[1].is_constant()) {
    std::vector<int64_t> divisors;
    for (int64_t g = 1; g <= shape[1].value(); ++g) {
      if (shape[1].value() % g == 0) divisors.push_back(g);
    }
    std::vector<Value*> operands = {x};
    if (chance(50)) operands = {x, constant({shape[1]}), constant({shape[1]})};
    add("group_norm", operands,
        {{"groups", divisors[static_cast<size_t>(below(static_cast<int>(divisors.size())))]},
         {"eps", 0.1}});
    return;
  }
  const int count = 1 + below(rank);
  const Shape inner(shape.end() - count, shape.end());
  const bool fixed =
      std::all_of(inner.begin(), inner.end(), [](const DimExpr& d) { return d.is_constant(); });
  std::vector<Value*> operands = {x};
  const bool layer = kind != 2;
  if (fixed && chance(60)) {
    operands.push_back(constant(inner));
    if (layer && chance(70)) operands.push_back(constant(inner));
  }
  add(layer ? "layer_norm" : "rms_norm", operands, {{"num_axes", int64_t{count}}, {"eps", 0.1}});
}

void RandomGraph::add_view() {
  Value* x = any();
  const Shape shape = x->shape();
  const auto rank = static_cast<int>(shape.size());
  switch (below(5)) {
    case 0: {  // merge two neighbours, or add a dim of one
      Shape dims = shape;
      if (rank >= 2 && chance(70)) {
        const auto at = static_cast<size_t>(below(rank - 1));
        dims[at] = dims[at] * dims[at + 1];
        dims.erase(dims.begin() + static_cast<int64_t>(at) + 1);
      } else if (rank < 5) {
        dims.insert(dims.begin() + below(rank + 1), DimExpr(1));
      }
      add("reshape", {x}, {{"shape", dims}});
      return;
    }
    case 1: {  // split a dim
      for (int d = 0; d < rank && rank < 5; ++d) {
        const DimExpr& dim = shape[static_cast<size_t>(d)];
        for (int64_t factor : {2, 3, 4}) {
          DimExpr rest;
          if (dim.is_value(factor) || !DimExpr::divide_exactly(dim, factor, &rest)) continue;
          Shape dims = shape;
          dims[static_cast<size_t>(d)] = rest;
          dims.insert(dims.begin() + d + (chance(50) ? 1 : 0), DimExpr(factor));
          add("reshape", {x}, {{"shape", dims}});
          return;
        }
      }
      return;
    }
    case 2: {
      std::vector<int64_t> order(static_cast<size_t>(rank));
      std::iota(order.begin(), order.end(), int64_t{0});
      std::shuffle(order.begin(), order.end(), random_);
      add("permute", {x}, {{"order", order}});
      return;
    }
    case 3: {
      if (rank == 0) return;
      const int axis = below(rank);
      const DimExpr& dim = shape[static_cast<size_t>(axis)];
      if (dim.is_constant()) {
        if (dim.value() < 2) return;
        const int64_t start = below(static_cast<int>(dim.value()));
        add("slice", {x},
            {{"axis", int64_t{axis}},
             {"start", DimExpr(start)},
             {"end", dim},
             {"step", DimExpr(1 + below(3))}});
      } else if (dim.is_symbol()) {  // all but the first, which may leave nothing
        add("slice", {x},
            {{"axis", int64_t{axis}}, {"start", DimExpr(1)}, {"end", dim}, {"step", DimExpr(1)}});
      }
      return;
    }
    default: {
      Shape dims = shape;
      for (DimExpr& dim : dims) {
        if (dim.is_value(1) && chance(70)) dim = random_dim();
      }
      if (rank < 4 && chance(50)) dims.insert(dims.begin(), random_dim());
      add("expand", {x}, {{"shape", dims}});
      return;
    }
  }
}

void RandomGraph::add_concat() {
  Value* x = any();
  const auto rank = static_cast<int>(x->shape().size());
  if (rank == 0) return;
  const auto axis = static_cast<size_t>(below(rank));
  std::vector<Value*> operands = {x};
  for (Value* value : values_) {
    if (operands.size() == 4 || value->dtype() != DType::kF32 ||
        static_cast<int>(value->shape().size()) != rank) {
      continue;
    }
    bool fits = true;
    for (size_t d = 0; d < value->shape().size(); ++d) {
      fits = fits && (d == axis || value->shape()[d] == x->shape()[d]);
    }
    if (fits && chance(60)) operands.push_back(value);
  }
  if (chance(30)) {  // fresh operands, which are computed in place
    for (Value*& operand : operands) {
      if (Value* fresh = add(chance(50) ? "tanh" : "neg", {operand})) operand = fresh;
    }
  }
  std::shuffle(operands.begin(), operands.end(), random_);
  add("concat", operands, {{"axis", static_cast<int64_t>(axis)}});
}

void RandomGraph::add_pool() {
  Value* x = any();
  const Shape& shape = x->shape();
  if (shape.size() != 4) return;
  for (size_t d = 2; d < 4; ++d) {
    if (!shape[d].is_constant() || shape[d].value() < 3) return;
  }
  add("max_pool", {x},
      {{"kernel", std::vector<int64_t>{3, 2}}, {"stride", std::vector<int64_t>{1, 1}}});
}

void RandomGraph::add_outputs() {
  Graph& main = module_->main;
  auto add_output = [&](Value* value, OutputSpec spec) {
    spec.name = "y" + std::to_string(module_->outputs.size());
    main.add_output(value);
    module_->outputs.push_back(std::move(spec));
  };
  std::vector<Value*> picked;
  for (Value* value : values_) {
    if (value->producer() == nullptr || value->producer()->is("full")) continue;
    if (value->uses().empty() || chance(15)) picked.push_back(value);
  }
  if (picked.empty() || chance(10)) picked.push_back(values_[0]);
  if (chance(20)) picked.push_back(picked[0]);
  std::vector<bool> written(main.inputs().size(), false);
  for (Value* value : picked) {
    OutputSpec spec;
    for (size_t i = 0; i < main.inputs().size() && chance(40); ++i) {
      Value* input = main.inputs()[i];
      if (written[i] || !(input->shape() == value->shape()) || input->dtype() != value->dtype())
        continue;
      written[i] = true;
      spec.kind = OutputSpec::Kind::kWriteInput;
      spec.target = static_cast<int>(i);
      break;
    }
    if (spec.kind == OutputSpec::Kind::kResult && chance(20)) {
      spec.order.resize(value->shape().size());
      std::iota(spec.order.begin(), spec.order.end(), 0);
      std::shuffle(spec.order.begin(), spec.order.end(), random_);
    }
    add_output(value, std::move(spec));
  }
}

}  // namespace kiln::test

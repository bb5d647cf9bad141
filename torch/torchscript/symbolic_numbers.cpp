// Arithmetic of sizes that vary. TorchScript's own operators do all other arithmetic.
#include <algorithm>

#include "torch/torchscript/importer.h"

namespace kiln::torchscript {
namespace {

bool is_false(const c10::IValue& value) { return value.isBool() && !value.toBool(); }
bool is_true(const c10::IValue& value) { return value.isBool() && value.toBool(); }

}  // namespace

// An integer, a size, or a known tensor that holds one.
std::optional<SymbolicNumber::Size> Importer::as_size(const c10::IValue& value) {
  if (const auto* size = symbolic_size(value)) return *size;
  if (value.isInt()) {
    SymbolicNumber::Size size{DimExpr(value.toInt()), {}};
    size.at.assign(points_, value.toInt());
    return size;
  }
  if (!value.isTensor() || !value.toTensor().defined()) return std::nullopt;
  const TensorInfo& t = info(value.toTensor());
  if (!t.known() || t.values[0].dim() != 0) return std::nullopt;
  if (!t.number.isNone()) return as_size(t.number);
  if (t.values.size() > 1 || !c10::isIntegralType(t.values[0].scalar_type(), false)) {
    return std::nullopt;
  }
  return as_size(t.values[0].item<int64_t>());
}

c10::IValue Importer::relate(const std::string& name, const SymbolicNumber::Size& a,
                             const SymbolicNumber::Size& b) {
  SizeCondition condition;
  const bool turned = name == "gt" || name == "ge";
  condition.relation = name == "eq"                   ? SizeRelation::kEq
                       : name == "ne"                 ? SizeRelation::kNe
                       : name == "lt" || name == "gt" ? SizeRelation::kLt
                                                      : SizeRelation::kLe;
  condition.left = turned ? b.expr : a.expr;
  condition.right = turned ? a.expr : b.expr;
  if (const auto decided = condition.decide(symbols_)) return *decided;
  return symbolic_value(
      SymbolicNumber::Relation{condition.relation, condition.left, condition.right});
}

// What the operator called `name` gives for sizes; nothing where it is another kind of operator.
std::optional<c10::IValue> Importer::arithmetic(const std::string& name,
                                                const std::vector<c10::IValue>& a) {
  const size_t colon = name.find("::");
  const std::string base = name.substr(colon + 2);
  if (a.empty()) return std::nullopt;
  const auto left = as_size(a[0]);
  if (!left) return std::nullopt;
  auto result = [&](const DimExpr& expr) { return size_value(expr, at_points(expr)); };
  static const std::set<std::string> kSame = {
      "NumToTensor", "tensor",      "as_tensor", "to",   "Int",           "detach",
      "clone",       "IntImplicit", "Scalar",    "item", "ScalarImplicit"};
  if (kSame.contains(base)) return result(left->expr);
  if (base == "neg") return result(-left->expr);
  if (base == "clamp" || base == "clamp_min" || base == "clamp_max") {
    DimExpr clamped = left->expr;
    for (size_t i = 1; i < a.size(); ++i) {
      if (a[i].isNone()) continue;
      const auto bound = as_size(a[i]);
      if (!bound) return std::nullopt;
      const bool lower = i == 1 && base != "clamp_max";
      clamped = lower ? DimExpr::max(clamped, bound->expr) : DimExpr::min(clamped, bound->expr);
    }
    return result(clamped);
  }
  const auto right = a.size() > 1 ? as_size(a[1]) : std::nullopt;
  if (!right) return std::nullopt;
  const DimExpr &x = left->expr, &y = right->expr;
  if (base == "add" || base == "sub") {
    DimExpr scaled = y;
    if (a.size() > 2) {
      const auto alpha = as_size(a[2]);
      if (!alpha) return std::nullopt;
      scaled = scaled * alpha->expr;
    }
    return result(base == "add" ? x + scaled : x - scaled);
  }
  if (base == "rsub") return result(y - x);
  if (base == "mul") return result(x * y);
  if (base == "min" || base == "minimum") return result(DimExpr::min(x, y));
  if (base == "max" || base == "maximum") return result(DimExpr::max(x, y));
  static const std::set<std::string> kDivisions = {"floordiv", "floor_divide", "remainder",
                                                   "__round_to_zero_floordiv", "div"};
  if (!kDivisions.contains(base) || y.is_value(0)) return std::nullopt;
  if (!y.is_constant() && !is_unbacked(y)) {
    const SizeCondition divides{SizeRelation::kNe, y, 0, ""};
    if (!divides.decide(symbols_)) demand("ne", y, 0, "the program divides by it");
  }
  if (base == "floordiv" || base == "floor_divide") return result(DimExpr::floordiv(x, y));
  if (base == "remainder") return result(DimExpr::mod(x, y));
  const bool signs_alike = x.range(symbols_).min >= 0 && y.range(symbols_).min > 0;
  if (base == "__round_to_zero_floordiv" && signs_alike) return result(DimExpr::floordiv(x, y));
  if (base == "div" && a.size() > 2 && a[2].isString()) {
    const std::string& mode = a[2].toStringRef();
    if (mode == "floor" || signs_alike) return result(DimExpr::floordiv(x, y));
  }
  return std::nullopt;
}

// An operator of numbers one of which is symbolic.
std::optional<c10::IValue> Importer::number_operator(const c10::FunctionSchema& schema,
                                                     const Stack& inputs) {
  const bool any = std::any_of(inputs.begin(), inputs.end(),
                               [](const c10::IValue& input) { return symbolic(input) != nullptr; });
  const bool plain = std::all_of(inputs.begin(), inputs.end(), [](const c10::IValue& input) {
    return symbolic(input) != nullptr || input.isInt() || input.isBool() || input.isDouble();
  });
  if (!any || !plain) return std::nullopt;
  const std::string& name = schema.name();
  if (name == "prim::NumToTensor" || name == "aten::tensor" || name == "aten::as_tensor") {
    return std::nullopt;  // makes a tensor
  }
  const std::string base = name.substr(name.find("::") + 2);
  static const std::set<std::string> kRelations = {"eq", "ne", "lt", "le", "gt", "ge"};
  if (kRelations.contains(base)) {
    const auto a = as_size(inputs[0]), b = as_size(inputs[1]);
    if (a && b) return relate(base, *a, *b);
  }
  if (base == "Bool") {
    if (const auto a = as_size(inputs[0])) return relate("ne", *a, *as_size(int64_t{0}));
    return inputs[0];
  }
  const SymbolicNumber* number = symbolic(inputs[0]);
  if (base == "__not__" && number != nullptr) {
    if (const auto* r = std::get_if<SymbolicNumber::Relation>(&number->value)) {
      switch (r->relation) {
        case SizeRelation::kEq:
          return symbolic_value(SymbolicNumber::Relation{SizeRelation::kNe, r->left, r->right});
        case SizeRelation::kNe:
          return symbolic_value(SymbolicNumber::Relation{SizeRelation::kEq, r->left, r->right});
        case SizeRelation::kLt:
          return symbolic_value(SymbolicNumber::Relation{SizeRelation::kLe, r->right, r->left});
        case SizeRelation::kLe:
          return symbolic_value(SymbolicNumber::Relation{SizeRelation::kLt, r->right, r->left});
      }
    }
  }
  if (base == "__and__" || base == "__or__") {
    const bool conjunction = base == "__and__";
    for (size_t i : {0, 1}) {
      if (conjunction ? is_false(inputs[i]) : is_true(inputs[i])) return inputs[i];
      if (conjunction ? is_true(inputs[i]) : is_false(inputs[i])) return inputs[1 - i];
    }
  }
  return arithmetic(name, inputs);
}

}  // namespace kiln::torchscript

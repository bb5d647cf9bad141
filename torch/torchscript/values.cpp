#include "torch/torchscript/values.h"

#include <algorithm>

namespace kiln::torchscript {

std::string SymbolicNumber::str() {
  if (const auto* size = std::get_if<Size>(&value)) return size->expr.to_string();
  if (const auto* relation = std::get_if<Relation>(&value)) {
    return SizeCondition{relation->relation, relation->left, relation->right, ""}.to_string();
  }
  return "an element of a tensor";
}

std::string SymbolicNumber::unknown() {
  if (std::holds_alternative<HostResult>(value)) {
    return "the value of a number that is computed from tensors is needed";
  }
  return "the value of a size is needed: " + str();
}

c10::IValue symbolic_value(SymbolicNumber::Value value) {
  c10::SymNode node = c10::make_intrusive<SymbolicNumber>(std::move(value));
  if (node->is_int()) return c10::SymInt(std::move(node));
  if (node->is_float()) return c10::SymFloat(std::move(node));
  return c10::SymBool(std::move(node));
}

c10::IValue size_value(const DimExpr& expr, const Points& at) {
  if (expr.is_constant()) return expr.value();
  return symbolic_value(SymbolicNumber::Size{expr, at});
}

const SymbolicNumber* symbolic(const c10::IValue& value) {
  c10::SymNodeImpl* node = nullptr;
  if (value.isSymInt()) {
    node = value.toSymInt().toSymNodeImplUnowned();
  } else if (value.isSymFloat()) {
    node = value.toSymFloat().toSymNodeImplUnowned();
  } else if (value.isSymBool()) {
    node = value.toSymBool().toSymNodeImplUnowned();
  }
  return dynamic_cast<SymbolicNumber*>(node);
}

const SymbolicNumber::Size* symbolic_size(const c10::IValue& value) {
  const SymbolicNumber* number = symbolic(value);
  return number == nullptr ? nullptr : std::get_if<SymbolicNumber::Size>(&number->value);
}

void for_each_tensor(const c10::IValue& value, const std::function<void(const at::Tensor&)>& f) {
  if (value.isTensor()) {
    if (value.toTensor().defined()) f(value.toTensor());
  } else if (value.isList()) {
    for (const c10::IValue& item : value.toListRef()) for_each_tensor(item, f);
  } else if (value.isTuple()) {
    for (const c10::IValue& item : value.toTupleRef().elements()) for_each_tensor(item, f);
  } else if (value.isGenericDict()) {
    for (const auto& entry : value.toGenericDict()) for_each_tensor(entry.value(), f);
  }
}

bool contains_tensor(const c10::IValue& value) {
  bool found = false;
  for_each_tensor(value, [&](const at::Tensor&) { found = true; });
  return found;
}

bool contains_symbolic(const c10::IValue& value) {
  if (value.isList()) {
    const auto items = value.toListRef();
    return std::any_of(items.begin(), items.end(), contains_symbolic);
  }
  if (value.isTuple()) {
    const auto& items = value.toTupleRef().elements();
    return std::any_of(items.begin(), items.end(), contains_symbolic);
  }
  return symbolic(value) != nullptr;
}

}  // namespace kiln::torchscript

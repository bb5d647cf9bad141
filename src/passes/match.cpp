#include "passes/match.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <string>

#include "ir/op_def.h"

namespace kiln {
namespace {

std::optional<Splat> splat_of_tensor(const HostTensor& tensor) {
  if (tensor.num_elements() == 0) return std::nullopt;
  const size_t width = dtype_bytes(tensor.dtype());
  for (size_t i = width; i < tensor.num_bytes(); ++i) {
    if (tensor.bytes()[i] != tensor.bytes()[i - width]) return std::nullopt;
  }
  Splat splat{tensor.dtype(), tensor.get_double(0), 0};
  if (!is_float(tensor.dtype())) splat.integer = tensor.get_int(0);
  return splat;
}

// A float as its dtype stores it.
double rounded(DType dtype, double number) {
  HostTensor one(dtype, {});
  one.set_double(0, number);
  return one.get_double(0);
}

Splat splat_of_full(Node& node) {
  const DType dtype = node.get_dtype("dtype");
  if (is_float(dtype)) return Splat{dtype, rounded(dtype, node.get_float("value")), 0};
  HostTensor one(dtype, {});
  one.set_int(0, node.get_int("int_value"));
  return Splat{dtype, one.get_double(0), one.get_int(0)};
}

}  // namespace

std::optional<Splat> splat_of(Module& module, Value* value) {
  if (value == nullptr || !value->type.is_tensor()) return std::nullopt;
  if (value->is_constant_argument() && value->graph() == &module.main) {
    return splat_of(module, module.init_value(value));
  }
  Node* node = value->producer();
  if (node == nullptr) return std::nullopt;
  if (node->is("full")) {
    for (const DimExpr& dim : value->shape()) {
      if (dim.is_value(0)) return std::nullopt;
    }
    return splat_of_full(*node);
  }
  if (node->is("constant")) return splat_of_tensor(std::get<HostTensor>(node->attr("value")));
  if (node->op->has(kView)) return splat_of(module, node->operand(0));
  return std::nullopt;
}

bool is_known(Value* value) {
  if (value == nullptr || !value->type.is_tensor()) return false;
  if (value->is_constant_argument()) return true;
  Node* node = value->producer();
  if (node == nullptr || !node->op->has(kSource)) return false;
  std::set<std::string> symbols;
  for (const Attr& attr : node->attrs()) {
    if (const auto* dim = std::get_if<DimExpr>(&attr)) dim->collect_symbols(symbols);
    if (const auto* dims = std::get_if<std::vector<DimExpr>>(&attr)) {
      for (const DimExpr& dim : *dims) dim.collect_symbols(symbols);
    }
  }
  return symbols.empty();
}

bool has_one_element(Value* value) {
  if (!value->type.is_tensor()) return false;
  const Shape& shape = value->shape();
  return std::all_of(shape.begin(), shape.end(), [](const DimExpr& d) { return d.is_value(1); });
}

Node* producer_of(Value* value, std::string_view op) {
  Node* node = value == nullptr ? nullptr : value->producer();
  return node != nullptr && node->is(op) ? node : nullptr;
}

int common_suffix(const Shape& a, const Shape& b) {
  size_t count = 0;
  while (count < a.size() && count < b.size() &&
         a[a.size() - 1 - count] == b[b.size() - 1 - count]) {
    ++count;
  }
  return static_cast<int>(count);
}

std::optional<int64_t> static_elements(const Shape& shape, int64_t limit) {
  int64_t product = 1;
  for (const DimExpr& dim : shape) {
    if (!dim.is_constant()) return std::nullopt;
    if (dim.value() == 0) return 0;
  }
  for (const DimExpr& dim : shape) {
    if (dim.value() < 0 || product > limit / dim.value()) return std::nullopt;
    product *= dim.value();
  }
  return product;
}

}  // namespace kiln

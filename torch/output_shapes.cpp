#include "torch/output_shapes.h"

#include <ATen/ATen.h>
#include <c10/core/SymInt.h>

#include <map>

#include "runtime/input_symbols.h"
#include "torch/dtype_conversion.h"

namespace kiln {
namespace {

using SymbolSizes = std::map<std::string, c10::SymInt, std::less<>>;

// SymInt's own division rounds towards zero where both sides are plain numbers.
c10::SymInt floor_div(const c10::SymInt& a, const c10::SymInt& b) {
  const auto x = a.maybe_as_int(), y = b.maybe_as_int();
  if (!x || !y) return a / b;
  TORCH_CHECK(*y != 0, "size expression divides by zero");
  if (*y == -1) return -a;
  return *x / *y - ((*x % *y != 0 && (*x < 0) != (*y < 0)) ? 1 : 0);
}

c10::SymInt floor_mod(const c10::SymInt& a, const c10::SymInt& b) {
  if (a.maybe_as_int() && b.maybe_as_int()) return a - floor_div(a, b) * b;
  return a % b;
}

c10::SymInt evaluate(const DimExpr& expr, const SymbolSizes& sizes) {
  c10::SymInt total = expr.constant_part();
  if (expr.terms() == nullptr) return total;
  for (const DimExpr::Term& term : *expr.terms()) {
    c10::SymInt product = term.coefficient;
    for (const auto& factor : term.factors) {
      if (factor->kind == AtomKind::kSymbol) {
        const auto found = sizes.find(factor->text);
        TORCH_CHECK(found != sizes.end(), "size symbol has no value: ", factor->text);
        product *= found->second;
        continue;
      }
      const c10::SymInt a = evaluate(factor->a, sizes), b = evaluate(factor->b, sizes);
      switch (factor->kind) {
        case AtomKind::kFloorDiv: product *= floor_div(a, b); break;
        case AtomKind::kMod: product *= floor_mod(a, b); break;
        case AtomKind::kMin: product *= a.min(b); break;
        case AtomKind::kMax: product *= a.max(b); break;
        case AtomKind::kSymbol: break;
      }
    }
    total += product;
  }
  return total;
}

std::string place(const TensorSignature& input, size_t dim) {
  return "input '" + input.name + "' dim " + std::to_string(dim);
}

Status check_types(const EnginePlan& plan, const MetaInputs& inputs) {
  if (inputs.size() != plan.inputs.size()) {
    return Status::error("K4101", "wrong number of inputs: " + std::to_string(inputs.size()) +
                                      ", expected " + std::to_string(plan.inputs.size()));
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    const TensorSignature& signature = plan.inputs[i];
    if (signature.is_object && signature.dims.empty()) continue;
    const at::Tensor& tensor = inputs[i].tensor;
    if (!tensor.defined() ||
        (!signature.is_object && tensor.scalar_type() != to_scalar_type(signature.dtype))) {
      return Status::error("K4102", "wrong dtype: input '" + signature.name + "', expected " +
                                        std::string(dtype_name(signature.dtype)));
    }
    if (tensor.dim() != static_cast<int64_t>(signature.dims.size())) {
      return Status::error("K4104", "wrong rank: input '" + signature.name + "' has " +
                                        std::to_string(tensor.dim()) + " dims, expected " +
                                        std::to_string(signature.dims.size()));
    }
  }
  return {};
}

// Reads the symbols from the inputs; guards say what else the plan expects of their sizes.
SymbolSizes solve(const EnginePlan& plan, const MetaInputs& inputs) {
  SymbolSizes sizes;
  for (const SymbolSource& source : symbol_sources(plan.inputs)) {
    const MetaInput& input = inputs[source.input];
    const c10::SymInt extent =
        (plan.inputs[source.input].number
             ? input.number
             : input.tensor.sym_size(static_cast<int64_t>(source.dim))) - source.bias;
    const c10::SymInt value =
        source.scale == 1 ? extent : floor_div(extent, c10::SymInt(source.scale));
    if (auto range = plan.symbols.find(source.symbol); range != plan.symbols.end()) {
      const std::string what = place(plan.inputs[source.input], source.dim);
      if (range->second.min > -DimRange::kNoBound) {
        TORCH_SYM_CHECK(value.sym_ge(range->second.min), "K4105: size is out of range: ", what);
      }
      if (range->second.max != DimRange::kNoBound) {
        TORCH_SYM_CHECK(value.sym_le(range->second.max), "K4105: size is out of range: ", what);
      }
    }
    sizes[source.symbol] = value;
  }
  for (size_t i = 0; i < plan.inputs.size(); ++i) {
    if (const auto& number = plan.inputs[i].number) {
      TORCH_SYM_CHECK(inputs[i].number.sym_eq(evaluate(*number, sizes)),
                      "K4105: number does not fit: ", plan.inputs[i].name);
    }
    for (size_t d = 0; d < plan.inputs[i].dims.size(); ++d) {
      TORCH_SYM_CHECK(inputs[i].tensor.sym_size(static_cast<int64_t>(d)).sym_eq(
                          evaluate(plan.inputs[i].dims[d], sizes)),
                      "K4105: size does not fit: ", place(plan.inputs[i], d), ", expected ",
                      plan.inputs[i].dims[d].to_string());
    }
  }
  return sizes;
}

}  // namespace

Result<std::vector<at::Tensor>> meta_outputs(const EnginePlan& plan,
                                             const MetaInputs& inputs) {
  KILN_RETURN_IF_ERROR(check_types(plan, inputs));
  const SymbolSizes sizes = solve(plan, inputs);
  std::vector<at::Tensor> outputs;
  for (const PlanOutput& output : plan.outputs) {
    const TensorSignature& signature = output.signature;
    if (output.kind != PlanOutput::Kind::kResult) continue;
    if (signature.scalar) {
      outputs.push_back(at::empty(
          {}, at::TensorOptions().dtype(to_scalar_type(*signature.scalar)).device(c10::kMeta)));
      continue;
    }
    if (signature.is_object) {
      outputs.emplace_back();
      continue;
    }
    std::vector<c10::SymInt> shape, strides(signature.dims.size(), c10::SymInt(1));
    for (const DimExpr& dim : signature.dims) shape.push_back(evaluate(dim, sizes));
    c10::SymInt stride = 1;
    for (size_t k = shape.size(); k-- > 0;) {
      const size_t d = signature.order.empty() ? k : static_cast<size_t>(signature.order[k]);
      strides[d] = stride;
      stride = stride * shape[d].max(c10::SymInt(1));
    }
    outputs.push_back(at::empty_strided_symint(
        shape, strides,
        at::TensorOptions().dtype(to_scalar_type(signature.dtype)).device(c10::kMeta)));
  }
  return outputs;
}

}  // namespace kiln

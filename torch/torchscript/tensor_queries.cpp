// Questions about tensors that are answered here: sizes, devices, elements that are known.
#include <ATen/ATen.h>

#include <algorithm>

#include "torch/torchscript/importer.h"
#include "torch/torchscript/operator_schema.h"

namespace kiln::torchscript {

std::optional<Results> Importer::query(const c10::FunctionSchema& schema, const Stack& inputs,
                                       torch::jit::Node* node) {
  if (!any_tensor(schema.arguments()) || any_tensor(schema.returns())) return std::nullopt;
  const auto& returns = schema.returns();
  if (returns.empty()) return std::nullopt;
  const std::string& name = schema.name();
  if (!inputs.empty() && inputs[0].isTensor() && inputs[0].toTensor().defined()) {
    TensorInfo& t = info(inputs[0].toTensor());
    ensure_metas(t, inputs[0].toTensor());
    const at::Tensor& meta = t.metas[0];
    const auto rank = static_cast<size_t>(meta.dim());
    if (name == "prim::device") return Results{t.device};
    if (name == "prim::is_cuda" || name == "aten::is_cuda") return Results{t.device.is_cuda()};
    if (name == "prim::is_cpu") return Results{t.device.is_cpu()};
    if (name == "prim::is_meta") return Results{t.device.is_meta()};
    if (name == "aten::get_device") return Results{static_cast<int64_t>(t.device.index())};
    if (name == "prim::requires_grad") return Results{false};
    if (t.opaque == kRankUnknown) {
      throw Stop("the rank of a tensor is known only at run time: " + name);
    }
    if (t.metas.size() > 1) {
      auto dim = [&](size_t d) {
        const SymbolicNumber::Size size = dim_of(t, d);
        return size_value(size.expr, size.at);
      };
      if (name == "aten::size" && inputs.size() == 1) {
        c10::impl::GenericList sizes(c10::IntType::get());
        for (size_t d = 0; d < rank; ++d) sizes.push_back(dim(d));
        return Results{sizes};
      }
      if (name == "aten::size" && inputs[1].isInt()) {
        int64_t d = inputs[1].toInt();
        if (d < 0) d += static_cast<int64_t>(rank);
        if (d < 0 || d >= static_cast<int64_t>(rank)) {
          throw Raised("Dimension out of range (expected to be in range of [" +
                       std::to_string(-static_cast<int64_t>(rank)) + ", " +
                       std::to_string(static_cast<int64_t>(rank) - 1) + "], but got " +
                       std::to_string(inputs[1].toInt()) + ")");
        }
        return Results{dim(static_cast<size_t>(d))};
      }
      if (name == "aten::len") return Results{dim(0)};
      if (name == "aten::numel") {
        const DimExpr expr = num_elements(t.dims);
        if (is_unbacked(expr)) {
          size_sources_.try_emplace(expr.to_string(), SizeSource{inputs[0].toTensor(), -1});
        }
        return Results{size_value(expr, at_points(expr))};
      }
    }
  }
  const auto op = c10::Dispatcher::singleton().findSchema(schema.operator_name());
  if (op && (op->hasTag(at::Tag::data_dependent_output) || name == "aten::is_nonzero")) {
    bool known = true;
    for (const c10::IValue& input : inputs) {
      for_each_tensor(input, [&](const at::Tensor& t) { known = known && info(t).known(); });
    }
    if (!known) {
      if (returns.size() != 1) throw Stop("several numbers are computed from a tensor: " + name);
      return emit(*op, inputs);
    }
  }
  bool known = true;
  for (const c10::IValue& input : inputs) {
    for_each_tensor(input, [&](const at::Tensor& t) { known = known && info(t).known(); });
  }
  const bool varies = !std::all_of(inputs.begin(), inputs.end(),
                                   [&](const c10::IValue& input) { return uniform(input); });
  if (varies && name == "aten::is_same_size") {
    ensure_metas(info(inputs[1].toTensor()), inputs[1].toTensor());
    const TensorInfo &a = info(inputs[0].toTensor()), &b = info(inputs[1].toTensor());
    for (int64_t d = 0; d < a.metas[0].dim() && a.metas[0].dim() == b.metas[0].dim(); ++d) {
      const auto i = static_cast<size_t>(d);
      const SizeCondition same{SizeRelation::kEq, dim_of(a, i).expr, dim_of(b, i).expr, ""};
      if (!same.decide(symbols_)) {
        throw Stop("an answer depends on sizes that vary: " + name + " where " + same.to_string());
      }
    }
  }
  Results results;
  for (size_t point = 0; point < (varies ? points_ : 1); ++point) {
    Stack stack;
    // Elements that follow from sizes are not the same at all sizes that have these answers.
    const bool elements = known && !varies;
    for (const c10::IValue& input : inputs) stack.push_back(at_point(input, point, elements));
    try {
      run_jit(node, stack);
    } catch (const c10::NotImplementedError&) {
      throw Stop("the value of a tensor is needed: " + name);
    } catch (const c10::Error& error) {
      if (!varies || (point == 0 && !known)) throw;
      throw Stop(known ? "an answer depends on sizes that vary: " + name
                       : "at some sizes of the ranges " + name + " raises an exception, as for " +
                             text_at(point) + ": " + error.what_without_backtrace());
    }
    if (point > 0 && !std::equal(stack.begin(), stack.end(), results.begin(), results.end())) {
      throw Stop("an answer depends on sizes that vary: " + name + " differs for " + text_at(0) +
                     " and " + text_at(point),
                 "give ranges in which it is the same");
    }
    results = std::move(stack);
  }
  return results;
}

// int(tensor), tensor.item() and their like.
std::optional<Results> Importer::element_query(const c10::FunctionSchema& schema,
                                               const Stack& inputs) {
  static const std::map<std::string, char> kKinds = {
      {"aten::Int.Tensor", 'i'},  {"aten::Float.Tensor", 'f'},  {"aten::Bool.Tensor", 'b'},
      {"aten::IntImplicit", 'i'}, {"aten::FloatImplicit", 'f'}, {"aten::ScalarImplicit", 0},
      {"aten::item", 0}};
  const auto wanted = kKinds.find(full_name(schema.operator_name()));
  if (wanted == kKinds.end()) return std::nullopt;
  at::Tensor tensor = inputs[0].toTensor();
  TensorInfo* t = &info(tensor);
  ensure_metas(*t, tensor);
  if (has_unbacked(inputs[0]) && !t->known()) {
    throw Stop("whether a tensor has one element is known only at run time");
  }
  if (t->metas[0].numel() != 1) {
    throw Raised("a Tensor with " + std::to_string(t->metas[0].numel()) +
                 " elements cannot be converted to Scalar");
  }
  const c10::ScalarType type = t->metas[0].scalar_type();
  if (c10::isComplexType(type)) {
    throw Stop("a complex number is computed from a tensor", kRealPartsHint);
  }
  const char kind = wanted->second != 0 ? wanted->second : kind_of(type);
  if (t->known()) {
    const auto* size = symbolic_size(t->number);
    if (size != nullptr && kind == 'i') return Results{t->number};
    if (size != nullptr && kind == 'b') return Results{relate("ne", *size, *as_size(int64_t{0}))};
    if (symbolic(t->number) != nullptr && kind == 'b') return Results{t->number};
    if (t->values.size() > 1) throw Stop("a number is computed from sizes that vary");
    const at::Tensor& value = t->values[0];
    if (kind == 'i') return Results{value.item().toLong()};
    if (kind == 'f') return Results{value.item().toDouble()};
    return Results{value.item().toBool()};
  }
  if (kind != kind_of(type)) {
    const c10::ScalarType to = kind == 'i' ? c10::kLong : kind == 'f' ? c10::kDouble : c10::kBool;
    const auto cast = c10::Dispatcher::singleton().findSchemaOrThrow("aten::to", "dtype");
    tensor =
        emit(cast, {tensor, static_cast<int64_t>(to), false, false, c10::IValue()})[0].toTensor();
  }
  return emit(c10::Dispatcher::singleton().findSchemaOrThrow("aten::item", ""), {tensor});
}

}  // namespace kiln::torchscript

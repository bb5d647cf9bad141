// Operators that change in place how a tensor sees its memory.
#include <ATen/ATen.h>
#include <torch/csrc/jit/runtime/operator.h>

#include <algorithm>

#include "torch/torchscript/importer.h"

namespace kiln::torchscript {
namespace {

bool same_sizes(const TensorInfo& a, const TensorInfo& b) {
  return std::equal(a.metas.begin(), a.metas.end(), b.metas.begin(), b.metas.end(),
                    [](const at::Tensor& x, const at::Tensor& y) {
                      return x.defined() && y.defined() && x.sizes() == y.sizes() &&
                             x.strides() == y.strides();
                    });
}

// For unsqueeze_ unsqueeze, for an operator that has no such twin nothing.
std::optional<c10::OperatorHandle> view_of(const c10::OperatorHandle& op) {
  const c10::FunctionSchema& own = op.schema();
  const std::string base = own.name().substr(0, own.name().size() - 1);
  const auto same_type = [](const c10::Argument& a, const c10::Argument& b) {
    return *a.type() == *b.type();
  };
  // The overload's name can differ: transpose_ is transpose.int.
  for (const auto& twin : torch::jit::getAllOperatorsFor(c10::Symbol::fromQualString(base))) {
    const auto& schema = twin->schema();
    if (schema.arguments().size() != own.arguments().size() || schema.returns().size() != 1 ||
        !std::equal(schema.arguments().begin(), schema.arguments().end(), own.arguments().begin(),
                    same_type)) {
      continue;
    }
    const c10::AliasInfo* alias = schema.returns()[0].alias_info();
    if (alias == nullptr || alias->isWrite()) continue;
    return c10::Dispatcher::singleton().findSchema(schema.operator_name());
  }
  return std::nullopt;
}

}  // namespace

// unsqueeze_, t_ and their like: from now on the tensor is what the operator of that name without
// the underscore makes of it. Views that were made of it before stay what they are.
std::optional<Results> Importer::view_in_place(const c10::OperatorHandle& op, const Stack& inputs) {
  const auto view = view_of(op);
  if (!view) return std::nullopt;
  const at::Tensor& tensor = inputs[0].toTensor();
  const at::Tensor seen = emit(*view, inputs)[0].toTensor();
  const TensorInfo& t = info(tensor);
  if (seen.is_same(tensor) || same_sizes(t, info(seen))) return Results{tensor};
  if (t.given || t.weight) {
    throw Stop(std::string("the program changes the shape of ") +
                   (t.given ? "an argument" : "a tensor of the module") +
                   " in place: " + op.schema().name(),
               "use " + view->schema().name().substr(6) + "(), which makes a view");
  }
  if (t.known() && known_in_memory_of(tensor).size() > 1) {
    throw Stop("the shape of one of several views of a constant is changed in place");
  }
  // Sizes that were asked of it are those of what it was.
  at::Tensor former;
  for (auto& [text, source] : size_sources_) {
    if (!source.tensor.defined() || !source.tensor.is_same(tensor)) continue;
    if (!former.defined()) former = tensor.alias();
    source.tensor = former;
  }
  if (former.defined()) {
    TensorInfo was = t;
    was.keep = former;
    tensors_[former.unsafeGetTensorImpl()] = std::move(was);
  }
  counts_.clear();
  TensorInfo after = info(seen);
  after.keep = tensor;
  tensors_[tensor.unsafeGetTensorImpl()] = std::move(after);
  return Results{tensor};
}

}  // namespace kiln::torchscript

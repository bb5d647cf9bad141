// What the signature of an operator says.
#pragma once

#include <ATen/core/function_schema.h>

#include <algorithm>
#include <string>
#include <vector>

#include "torch/schema_arguments.h"
#include "torch/torchscript/values.h"

namespace kiln::torchscript {

inline bool has_tensor(const c10::TypePtr& type) {
  if (type->kind() == c10::TypeKind::TensorType) return true;
  const auto inner = type->containedTypes();
  return std::any_of(inner.begin(), inner.end(), has_tensor);
}

inline bool any_tensor(const std::vector<c10::Argument>& arguments) {
  return std::any_of(arguments.begin(), arguments.end(),
                     [](const c10::Argument& a) { return has_tensor(a.type()); });
}

// "aten::add.Tensor"
inline std::string full_name(const c10::OperatorName& name) {
  return name.overload_name.empty() ? name.name : name.name + "." + name.overload_name;
}

// The tensors that an operator writes.
inline std::vector<at::Tensor> written_by(const c10::FunctionSchema& schema,
                                          const std::vector<c10::IValue>& inputs) {
  std::vector<at::Tensor> written;
  for (size_t i = 0; i < schema.arguments().size() && i < inputs.size(); ++i) {
    if (!is_written(schema.arguments()[i])) continue;
    for_each_tensor(inputs[i], [&](const at::Tensor& tensor) { written.push_back(tensor); });
  }
  return written;
}

// What a number of the dtype is in a program: 'b', 'i' or 'f'.
inline char kind_of(c10::ScalarType type) {
  return type == c10::kBool ? 'b' : c10::isIntegralType(type, false) ? 'i' : 'f';
}

}  // namespace kiln::torchscript

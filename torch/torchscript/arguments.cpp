#include "torch/torchscript/arguments.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include "torch/exception_text.h"

namespace kiln::torchscript {
namespace {

Status wrong_input(const std::string& name, const std::string& what) {
  return Status::error("K1101", "input " + name + ": " + what);
}

Status check_input(const ScriptInput& input, const std::string& name) {
  if (input.min.size() != input.opt.size() || input.max.size() != input.opt.size()) {
    return wrong_input(name, "its minimum, optimum and maximum differ in rank");
  }
  for (size_t d = 0; d < input.opt.size(); ++d) {
    if (input.min[d] < 0 || input.min[d] > input.opt[d] || input.opt[d] > input.max[d]) {
      return wrong_input(
          name, "dim " + std::to_string(d) + " has no range: " + std::to_string(input.min[d]) +
                    " <= " + std::to_string(input.opt[d]) + " <= " + std::to_string(input.max[d]));
    }
  }
  if (input.domain && !(input.domain->first < input.domain->second)) {
    return wrong_input(name, "its values have no range");
  }
  return {};
}

at::Tensor example_values(const ScriptInput& input, uint64_t seed) {
  const at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(seed);
  const bool floating = c10::isFloatingType(input.dtype) || c10::isComplexType(input.dtype);
  if (input.dtype == at::kBool || !floating) {
    const auto low = input.domain ? static_cast<int64_t>(input.domain->first) : 0;
    const auto high = input.domain ? static_cast<int64_t>(input.domain->second) : 2;
    return at::randint(low, std::max(high, low + 1), input.opt, generator, at::kLong)
        .to(input.dtype);
  }
  if (!input.domain) return at::randn(input.opt, generator).to(input.dtype);
  const auto [low, high] = *input.domain;
  return (at::rand(input.opt, generator) * (high - low) + low).to(input.dtype);
}

Status wrong_type(const std::string& name, const c10::TypePtr& type, const c10::IValue& value) {
  return wrong_input(name,
                     "the method takes " + type->repr_str() + ", not " + value.type()->repr_str());
}

Result<c10::IValue> fitted(const c10::IValue& value, const c10::TypePtr& type,
                           const std::string& name);

Result<std::vector<c10::IValue>> fitted_items(const std::vector<c10::IValue>& values,
                                              const std::vector<c10::TypePtr>& types,
                                              const std::string& name) {
  std::vector<c10::IValue> items;
  for (size_t i = 0; i < values.size(); ++i) {
    const c10::TypePtr& type = types.size() == 1 ? types[0] : types[i];
    KILN_ASSIGN_OR_RETURN(c10::IValue item,
                          fitted(values[i], type, name + "." + std::to_string(i)));
    items.push_back(std::move(item));
  }
  return items;
}

// `value` as the schema types it: its containers may be typed more loosely, and an integer stands
// for a float.
Result<c10::IValue> fitted(const c10::IValue& value, const c10::TypePtr& type,
                           const std::string& name) {
  if (const auto optional = type->cast<c10::OptionalType>()) {
    return value.isNone() ? Result<c10::IValue>(value)
                          : fitted(value, optional->getElementType(), name);
  }
  const bool sequence = value.isList() || value.isTuple();
  const auto tuple = type->cast<c10::TupleType>();
  const auto list = type->cast<c10::ListType>();
  if (sequence && (tuple != nullptr || list != nullptr)) {
    const std::vector<c10::IValue> given =
        value.isList() ? value.toListRef().vec() : value.toTupleRef().elements().vec();
    if (list != nullptr) {
      KILN_ASSIGN_OR_RETURN(std::vector<c10::IValue> items,
                            fitted_items(given, {list->getElementType()}, name));
      c10::impl::GenericList result(list->getElementType());
      for (c10::IValue& item : items) result.push_back(std::move(item));
      return c10::IValue(std::move(result));
    }
    const std::vector<c10::TypePtr> types = tuple->elements().vec();
    if (types.size() != given.size()) {
      return wrong_input(name, "the method takes " + std::to_string(types.size()) +
                                   " values, not " + std::to_string(given.size()));
    }
    KILN_ASSIGN_OR_RETURN(std::vector<c10::IValue> items, fitted_items(given, types, name));
    return c10::IValue(tuple->name() ? c10::ivalue::Tuple::createNamed(std::move(items), tuple)
                                     : c10::ivalue::Tuple::create(std::move(items)));
  }
  if (const auto dict = type->cast<c10::DictType>(); dict != nullptr && value.isGenericDict()) {
    c10::impl::GenericDict result(dict->getKeyType(), dict->getValueType());
    for (const auto& entry : value.toGenericDict()) {
      KILN_ASSIGN_OR_RETURN(c10::IValue key, fitted(entry.key(), dict->getKeyType(), name));
      KILN_ASSIGN_OR_RETURN(c10::IValue item, fitted(entry.value(), dict->getValueType(), name));
      result.insert(std::move(key), std::move(item));
    }
    return c10::IValue(std::move(result));
  }
  if (type->kind() == c10::TypeKind::FloatType && value.isInt()) {
    return c10::IValue(static_cast<double>(value.toInt()));
  }
  if (!value.type()->isSubtypeOf(*type)) return wrong_type(name, type, value);
  return value;
}

}  // namespace

c10::Device home_of(const torch::jit::Module& module) {
  c10::Device home = c10::kCPU;
  for (const at::Tensor& parameter : module.parameters()) home = parameter.device();
  return home;
}

Result<at::Tensor> ArgumentBuilder::example(const ScriptInput& input, const std::string& name) {
  KILN_RETURN_IF_ERROR(check_input(input, name));
  at::Tensor tensor;
  try {
    tensor = example_values(input, ++seed_).to(home_).contiguous(input.format);
  } catch (const std::exception& error) {
    return wrong_input(name, "no such tensor can be made: " + text_of(error));
  }
  if (input.min == input.max) return tensor;
  std::vector<CaptureDim> dims;
  for (size_t d = 0; d < input.opt.size(); ++d) {
    if (input.min[d] == input.max[d]) {
      dims.emplace_back(std::to_string(input.opt[d]));
      continue;
    }
    const std::string key =
        std::to_string(d) + " " + std::to_string(input.min[d]) + " " + std::to_string(input.max[d]);
    const std::string symbol =
        names_.try_emplace(key, "s" + std::to_string(names_.size())).first->second;
    symbols_[symbol] = {input.min[d], input.max[d]};
    dims.emplace_back(symbol);
  }
  dims_.emplace_back(tensor, std::move(dims));
  return tensor;
}

Result<Arguments> ArgumentBuilder::finish(const std::vector<c10::IValue>& values,
                                          const c10::FunctionSchema& schema) {
  const std::vector<c10::Argument>& wanted = schema.arguments();  // self is the first
  if (values.size() + 1 > wanted.size()) {
    return Status::error(
        "K1101", "more inputs than the method has arguments: " + std::to_string(values.size()));
  }
  Arguments arguments;
  arguments.positional = values.size();
  for (size_t i = 0; i + 1 < wanted.size(); ++i) {
    const c10::Argument& argument = wanted[i + 1];
    if (i < values.size()) {
      KILN_ASSIGN_OR_RETURN(c10::IValue value, fitted(values[i], argument.type(), argument.name()));
      arguments.values.push_back(std::move(value));
    } else if (argument.default_value()) {
      arguments.values.push_back(*argument.default_value());
    } else {
      return Status::error("K1101", "no input is given for argument " + argument.name());
    }
  }
  arguments.dims = dims_;
  arguments.symbols = symbols_;
  return arguments;
}

}  // namespace kiln::torchscript

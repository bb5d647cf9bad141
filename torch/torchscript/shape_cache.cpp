#include "torch/torchscript/shape_cache.h"

#include <ATen/ATen.h>

#include "torch/torchscript/operator_schema.h"
#include "torch/torchscript/values.h"

namespace kiln::torchscript {
namespace {

bool is_plain(const at::Tensor& tensor) {
  return tensor.layout() == c10::kStrided && !tensor.is_quantized() && !tensor.is_conj() &&
         !tensor.is_neg() && tensor.is_meta();
}

bool append(std::string& key, const c10::IValue& value) {
  auto number = [&](int64_t n) { key += std::to_string(n) + ","; };
  if (value.isNone()) {
    key += "-;";
  } else if (value.isTensor()) {
    const at::Tensor& tensor = value.toTensor();
    if (!tensor.defined()) {
      key += "-;";
      return true;
    }
    if (!is_plain(tensor)) return false;
    key += 't';
    number(static_cast<int64_t>(tensor.scalar_type()));
    number(tensor.unsafeGetTensorImpl()->is_wrapped_number() ? 1 : 0);
    for (const int64_t size : tensor.sizes()) number(size);
    key += '/';
    for (const int64_t stride : tensor.strides()) number(stride);
    key += ';';
  } else if (value.isBool()) {
    key += value.toBool() ? "true;" : "false;";
  } else if (value.isInt()) {
    number(value.toInt());
  } else if (value.isDouble()) {
    const double given = value.toDouble();
    key += 'd';
    key.append(reinterpret_cast<const char*>(&given), sizeof given);
  } else if (value.isString()) {
    key += 's' + std::to_string(value.toStringRef().size()) + ":" + value.toStringRef();
  } else if (value.isDevice()) {
    key += value.toDevice().str() + ";";
  } else if (value.isList()) {
    key += '[';
    for (const c10::IValue& item : value.toListRef()) {
      if (!append(key, item)) return false;
    }
    key += ']';
  } else {
    return false;
  }
  return true;
}

std::vector<at::Tensor> tensors_in(const std::vector<c10::IValue>& values) {
  std::vector<at::Tensor> result;
  for (const c10::IValue& value : values) {
    for_each_tensor(value, [&](const at::Tensor& tensor) { result.push_back(tensor); });
  }
  return result;
}

}  // namespace

std::optional<std::string> ShapeCache::key(const c10::OperatorHandle& op,
                                           const std::vector<c10::IValue>& arguments,
                                           const std::string& place) {
  std::string key = full_name(op.operator_name()) + " " + place + " ";
  for (const c10::IValue& argument : arguments) {
    if (!append(key, argument)) return std::nullopt;
  }
  // Which arguments are one tensor: the call may return it.
  const std::vector<at::Tensor> given = tensors_in(arguments);
  for (size_t i = 0; i < given.size(); ++i) {
    for (size_t other = 0; other < i; ++other) {
      if (!given[i].is_same(given[other])) continue;
      key += "=" + std::to_string(other) + "," + std::to_string(i);
      break;
    }
  }
  return key;
}

std::optional<std::vector<c10::IValue>> ShapeCache::find(
    const std::string& key, const std::vector<c10::IValue>& arguments) const {
  const auto found = known_.find(key);
  if (found == known_.end()) return std::nullopt;
  const std::vector<at::Tensor> given = tensors_in(arguments);
  auto made = [&](const Entry& entry) {
    if (entry.given) return given[*entry.given];
    if (!entry.like.defined()) return at::Tensor();
    return at::empty_strided(entry.like.sizes(), entry.like.strides(), entry.like.options());
  };
  std::vector<c10::IValue> results;
  for (const Value& value : found->second) {
    if (value.none) {
      results.emplace_back();
    } else if (value.element == nullptr) {
      results.emplace_back(made(value.entries[0]));
    } else {
      c10::impl::GenericList list(value.element);
      for (const Entry& entry : value.entries) list.push_back(made(entry));
      results.emplace_back(std::move(list));
    }
  }
  return results;
}

void ShapeCache::store(const std::string& key, const std::vector<c10::IValue>& arguments,
                       const std::vector<c10::IValue>& results) {
  const std::vector<at::Tensor> given = tensors_in(arguments);
  auto add = [&](Value& value, const c10::IValue& result) {
    if (!result.isTensor()) return false;
    const at::Tensor& tensor = result.toTensor();
    if (tensor.defined() && !is_plain(tensor)) return false;
    Entry entry;
    for (size_t i = 0; tensor.defined() && i < given.size(); ++i) {
      if (tensor.is_same(given[i])) {
        entry.given = i;
      } else if (tensor.is_alias_of(given[i])) {
        return false;  // a view
      }
    }
    if (tensor.defined() && !entry.given) {
      if (tensor.unsafeGetTensorImpl()->is_wrapped_number()) return false;
      entry.like = tensor;
    }
    value.entries.push_back(std::move(entry));
    return true;
  };
  std::vector<Value> values;
  for (const c10::IValue& result : results) {
    Value& value = values.emplace_back();
    if (result.isNone()) {
      value.none = true;
    } else if (result.isList()) {
      value.element = result.toList().elementType();
      for (const c10::IValue& item : result.toListRef()) {
        if (!add(value, item)) return;
      }
    } else if (!add(value, result)) {
      return;
    }
  }
  known_.emplace(key, std::move(values));
}

}  // namespace kiln::torchscript

#include "runtime/given_weights.h"

#include <cstring>
#include <map>
#include <set>
#include <string_view>

#include "base/hash.h"
#include "base/names.h"
#include "runtime/device_runtime.h"
#include "runtime/memory.h"

namespace kiln {
namespace {

std::string describe(DType dtype, const std::vector<int64_t>& dims) {
  std::string text(dtype_name(dtype));
  text += '[';
  for (size_t i = 0; i < dims.size(); ++i) text += (i == 0 ? "" : ",") + std::to_string(dims[i]);
  return text + ']';
}

// The hint for a name that the program does not have; "" when it has no weights at all.
std::string names_hint(const EnginePlan& plan, const std::string& name) {
  std::vector<std::string> names;
  for (const WeightSignature& weight : plan.weights) names.push_back(weight.name);
  const std::vector<std::string> near = nearest_names(name, names);
  if (!near.empty()) return unknown_name_hint(name, near);
  return "the program has " + std::to_string(names.size()) + " weights; kiln inspect lists them";
}

Status check(const WeightSignature& expected, const WeightView& given) {
  if (given.dtype != expected.dtype || given.shape != expected.dims) {
    return Status::error("K3114", "given weight '" + given.name + "' is " +
                                      describe(given.dtype, given.shape) + ", expected " +
                                      describe(expected.dtype, expected.dims));
  }
  KILN_ASSIGN_OR_RETURN(const size_t bytes, weight_size(expected));
  if (given.bytes != bytes || (bytes != 0 && given.data == nullptr)) {
    return Status::error("K3114", "given weight '" + given.name + "' has " +
                                      std::to_string(given.data == nullptr ? 0 : given.bytes) +
                                      " bytes, expected " + std::to_string(bytes));
  }
  if (expected.fixed_hash.empty()) return {};
  KILN_ASSIGN_OR_RETURN(const WeightBytes value,
                        weight_on_host({given.data, given.bytes, given.owner, given.device}));
  if (hash128(value.data, value.bytes).hex() == expected.fixed_hash) return {};
  return Status::error(
      "K3115",
      "program depends on the value of a weight, which is another one now: '" + given.name + "'",
      "compile the model again with the new value");
}

}  // namespace

Result<size_t> weight_size(const WeightSignature& weight) {
  auto bytes = static_cast<int64_t>(dtype_bytes(weight.dtype));
  for (int64_t extent : weight.dims) {
    if (extent < 0 || __builtin_mul_overflow(bytes, extent, &bytes)) {
      return Status::error("K3106", "size of a weight is out of range: " + weight.name);
    }
  }
  return static_cast<size_t>(bytes);
}

Result<WeightBytes> weight_on_host(const WeightBytes& weight) {
  if (weight.device.kind == DeviceKind::kCpu || weight.data == nullptr) return weight;
  const std::shared_ptr<void> copy = allocate_block(weight.bytes);
  if (copy == nullptr) return Status::error("K4501", "out of memory for a copy of a weight");
  KILN_ASSIGN_OR_RETURN(DeviceRuntime * device, device_runtime_of(weight.device));
  KILN_RETURN_IF_ERROR(
      device->copy(copy.get(), weight.data, weight.bytes, device->current_stream()));
  return WeightBytes{copy.get(), weight.bytes, copy};
}

Status place_given_weights(const EnginePlan& plan, const std::vector<WeightView>& given,
                           std::vector<WeightBytes>& weights, std::vector<bool>* changed) {
  if (given.empty()) return {};
  std::map<std::string_view, size_t> positions;
  for (size_t i = 0; i < plan.weights.size(); ++i) positions.emplace(plan.weights[i].name, i);
  std::set<size_t> seen;
  for (const WeightView& view : given) {
    const auto found = positions.find(view.name);
    if (found == positions.end()) {
      return Status::error("K3113", "program has no weight named '" + view.name + "'",
                           names_hint(plan, view.name));
    }
    if (!seen.insert(found->second).second) {
      return Status::error("K3116", "weight is given twice: '" + view.name + "'");
    }
    KILN_RETURN_IF_ERROR(check(plan.weights[found->second], view));
    WeightBytes& weight = weights[found->second];
    weight = {view.data, view.bytes, view.owner, view.device};
    if (changed != nullptr) (*changed)[found->second] = true;
    // Constants on another device are moved to where they are aligned when they are used.
    if (view.device.kind != DeviceKind::kCpu ||
        reinterpret_cast<uintptr_t>(view.data) % dtype_bytes(view.dtype) == 0) {
      continue;
    }
    const std::shared_ptr<void> copy = allocate_block(view.bytes);
    if (copy == nullptr) return Status::error("K4501", "out of memory for a copy of a weight");
    std::memcpy(copy.get(), view.data, view.bytes);
    weight = {copy.get(), view.bytes, copy};
  }
  return {};
}

}  // namespace kiln

#include "backends/cuda/runtime/step_operands.h"

#include <algorithm>
#include <string>

#include "base/status.h"
#include "core/dtype.h"
#include "runtime/device_runtime.h"

namespace kiln::cuda {
namespace {

Status bad(std::string_view step, std::string what) {
  return Status::error("K3212", std::string(step) + " step: " + std::move(what));
}

}  // namespace

Status check_dense_operands(std::string_view step, const BindContext& context, DType dtype) {
  for (const auto* views : {&context.inputs, &context.outputs}) {
    for (const ConcreteView& view : *views) {
      if (view.packed != nullptr) return bad(step, "an operand is a packed constant");
      if (view.dtype != dtype) {
        return bad(step, "operands of different dtypes: " + std::string(dtype_name(dtype)) +
                             " and " + std::string(dtype_name(view.dtype)));
      }
    }
  }
  return {};
}

Status check_members(std::string_view step, const Json& json,
                     std::initializer_list<std::string_view> names) {
  if (!json.is_object()) return bad(step, "params are no object");
  for (const JsonMember& member : json.as_object()) {
    if (std::find(names.begin(), names.end(), member.key) == names.end()) {
      return bad(step, "unknown param '" + member.key + "'");
    }
  }
  return {};
}

Result<DeviceRuntime*> cuda_device_of(std::string_view step, const StepEnvironment& environment) {
  if (environment.device == nullptr ||
      environment.device->device().kind != DeviceKind::kCuda) {
    return Status::error("K5311", std::string(step) + " step in a plan for another device");
  }
  return environment.device;
}

uint32_t alignment_of_offset(int64_t bytes) {
  uint32_t alignment = 64;
  while (alignment > 1 && bytes % alignment != 0) alignment /= 2;
  return alignment;
}

uint32_t alignment_of(const ConcreteView& view) {
  const bool ours = view.kind == SlotKind::kTemp || view.kind == SlotKind::kConstant;
  const auto bytes = static_cast<int64_t>(dtype_bytes(view.dtype));
  return std::min(ours ? 64u : 16u, alignment_of_offset(view.offset * bytes));
}

}  // namespace kiln::cuda

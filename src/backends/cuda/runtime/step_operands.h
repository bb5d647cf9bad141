// What steps on libraries check of their operands, which may come from a damaged file. That every
// element of a view lies inside its slot is proved by the runtime before.
#pragma once

#include <initializer_list>
#include <string_view>

#include <kiln/status.h>

#include "base/json.h"
#include "runtime/step.h"

namespace kiln::cuda {

// K3212 unless every view of the context is a plain tensor of this dtype.
Status check_dense_operands(std::string_view step, const BindContext& context, DType dtype);
// K3212 unless `json` is an object with these members and no others.
Status check_members(std::string_view step, const Json& json,
                     std::initializer_list<std::string_view> names);
// The plan's device; K5311 when that is no CUDA device.
Result<DeviceRuntime*> cuda_device_of(std::string_view step, const StepEnvironment& environment);

// The power of two that the address of the view's first element is a multiple of at least: the
// caller's and the host's memory begins at multiples of 16 bytes, Kiln's own of 64.
// alignment_of_offset: of a number of bytes, at most 64.
uint32_t alignment_of(const ConcreteView& view);
uint32_t alignment_of_offset(int64_t bytes);

}  // namespace kiln::cuda

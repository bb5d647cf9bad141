// PyTorch as the host of Kiln programs: calls go through the dispatcher.
#pragma once

#include <memory>

#include "runtime/host.h"

namespace at {
class Tensor;
}
namespace c10 {
struct IValue;
}

namespace kiln {

// One for the process; lives forever.
Host* torch_host();

// A value of PyTorch as a host object. Tensors with strided layout on the CPU or a GPU
// get a view.
std::shared_ptr<HostObject> wrap_in_object(const c10::IValue& value);
// The value again. Precondition: made by wrap_in_object().
const c10::IValue& unwrap_object(const HostObject& object);

}  // namespace kiln

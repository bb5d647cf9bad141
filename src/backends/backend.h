// What the builder asks of a backend. One object per build; made by builder/backends.cpp.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "fusion/fusion_advisor.h"
#include "passes/backend_support.h"
#include "runtime/plan.h"
#include "tuning/device_spec.h"
#include "tuning/kernel_provider.h"

namespace kiln {

class Backend : public BackendSupport, public FusionAdvisor {
 public:
  virtual std::string target() const = 0;  // "cpu:avx512"
  // Everything but the target and Kiln itself that plans for this machine depend on: libraries with
  // their versions, sizes, switches. Part of the keys of cached programs.
  virtual std::string surroundings() const = 0;
  // Best first. The builder asks each in turn and takes the first tactic unless a tuner decides
  // otherwise.
  virtual const std::vector<std::unique_ptr<KernelProvider>>& providers() = 0;
  virtual const DeviceSpec& device() const = 0;
  // The last word on a plan: EngineLowering makes copies as steps of kind "copy" for the CPU.
  virtual void finish(EnginePlan&) const {}
};

}  // namespace kiln

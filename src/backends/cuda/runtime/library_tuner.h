// Picks algorithms of libraries by time, when a step that asks for it is bound to a shape. What was
// measured is kept in the user's timing cache (runtime/timing_cache.h) and not measured again.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <kiln/status.h>

#include "backends/cuda/runtime/cublaslt_matmul.h"
#include "backends/cuda/runtime/cudnn_conv.h"
#include "backends/cuda/runtime/cudnn_sdpa.h"
#include "backends/cuda/runtime/driver.h"

namespace kiln::cuda {

struct TuningProblem {
  std::string key;                   // problem and library version; the device is added here
  int device = 0;
  std::vector<std::string> choices;  // a name per candidate that means the same in later processes
  size_t bytes = 0;                  // of all operands together
  size_t workspace_bytes = 0;        // the most that a candidate needs
  // Puts candidate `choice` on the stream, its operands at `operands`, its workspace elsewhere.
  std::function<Status(size_t choice, char* operands, void* workspace, CUstream)> run;
};

// The best candidate: from the cache, or by measuring all, for which the device must be the current
// one and the thread's stream must not be recorded. Candidates that fail are left out; 0 when none
// can be measured, which the log says. Never fails a program that could run untuned.
size_t tune(const TuningProblem& problem);
// The candidate that the cache names; nothing where it was not measured yet.
std::optional<size_t> known_choice(const TuningProblem& problem);

// "NVIDIA H100 80GB HBM3, 132 SMs, driver 13000".
Result<std::string> device_description(const Driver& driver, int device);

// The fastest of steps that compute the same from the same operands, bound in `context`, whose
// views are of device memory; `problem` says what they compute, the steps' implementations name
// them.
std::unique_ptr<BoundStep> fastest_step(const std::string& problem, const BindContext& context,
                                        std::vector<std::unique_ptr<BoundStep>> steps,
                                        DeviceRuntime& device);

void tune_matmul(CublasLtMatmul& matmul);
void tune_conv(CudnnConv& conv, const CudnnConv::Operands& operands, int device);
// The fastest of cuDNN's plans; null when `otherwise` (null: none), a step on the same operands, is
// faster. K5308 when cuDNN has no plan.
Result<std::shared_ptr<CudnnSdpa>> tune_sdpa(const CudnnSdpaStepParams& params,
                                             const CudnnSdpa::Operands& operands,
                                             BoundStep* otherwise, int device);

}  // namespace kiln::cuda

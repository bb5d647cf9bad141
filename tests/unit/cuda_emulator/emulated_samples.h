// The samples of the op table as programs for the emulated device.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "backends/cpu/compile/cpu_backend.h"
#include "backends/cuda/compile/copy_kernel.h"
#include "backends/cuda/compile/cuda_backend.h"
#include "backends/provider_list.h"
#include "emulator/emulated_cuda.h"
#include "samples/sample_check.h"
#include "samples/sample_program.h"

namespace kiln::emulator {

inline constexpr uint64_t kSeed = 20;

// Kernels of ours alone: the emulator has no libraries.
class OwnCudaKernels : public Backend {
 public:
  OwnCudaKernels() : device_(DeviceSpec::gpu(90).value()), providers_(cuda::cuda_providers()) {
    std::erase_if(providers_, [](const auto& provider) {
      return !provider->name().starts_with("cuda.");
    });
  }
  std::string target() const override { return device_.target(); }
  std::string surroundings() const override { return "own kernels"; }
  const ProviderList& providers() override { return providers_; }
  const DeviceSpec& device() const override { return device_; }
  Status supports(Node& node) override { return find_support(node, providers_, device_, "cuda"); }
  int epilogue_length(Node&, const std::vector<Node*>&) override { return 0; }
  void finish(EnginePlan& plan) const override { cuda::lower_copies(plan); }

 private:
  DeviceSpec device_;
  ProviderList providers_;
};

inline Status supported(Backend& backend, const OpDef& op, const OpSample& sample) {
  KILN_ASSIGN_OR_RETURN(SampleGraph graph, make_sample_graph(op, sample));
  return backend.supports(*graph.node);
}

struct Case {
  const OpDef* op = nullptr;
  OpSample sample;
  InputForm form = InputForm::kContiguous;
  SampleData data;
  Status status;  // of lowering
  std::unique_ptr<SampleProgram> program;
};

// All of them, lowered, and their kernels compiled: together that is a few calls of the compiler,
// one by one it would be thousands.
class Cases {
 public:
  static Cases& get() {
    static auto* cases = new Cases();
    return *cases;
  }
  std::vector<Case>& of(const OpDef* op) { return cases_[op]; }
  int native_samples() const { return native_; }
  const std::map<std::pair<std::string, DType>, std::string>& not_native() const {
    return not_native_;
  }

 private:
  Cases() {
    use_emulated_cuda();
    std::vector<KernelDesc> kernels;
    auto cpu = make_cpu_backend(DeviceSpec::host());
    OwnCudaKernels cuda;
    for (const OpDef* op : sampled_ops()) {
      for (const OpSample& sample : op->samples()) {
        const Status native = supported(cuda, *op, sample);
        if (!native.ok()) {
          if (supported(*cpu, *op, sample).ok()) {
            not_native_[{op->name, sample_dtype(*op, sample)}] = native.message();
          }
          continue;
        }
        ++native_;
        for (InputForm form : {InputForm::kContiguous, InputForm::kReversed, InputForm::kGaps,
                               InputForm::kWeights}) {
          cases_[op].push_back(lower(*op, sample, form));
          const Case& made = cases_[op].back();
          if (!made.status.ok()) continue;
          const std::vector<KernelDesc>& wanted = made.program->plan().kernels;
          kernels.insert(kernels.end(), wanted.begin(), wanted.end());
        }
      }
    }
    // What does not compile fails in the tests that use it.
    (void)HostKernelCompiler::instance().compile(kernels, 90).ok();
  }

  static Case lower(const OpDef& op, const OpSample& sample, InputForm form) {
    Case made{&op, sample, form, {}, {}, nullptr};
    Result<SampleData> data = make_sample_data(sample, kSeed);
    if (data.ok()) {
      made.data = std::move(*data);
      auto program = SampleProgram::lower(op, sample, form, std::make_unique<OwnCudaKernels>(),
                                          &made.data);
      if (program.ok()) made.program = std::move(*program);
      made.status = program.status();
    } else {
      made.status = data.status();
    }
    return made;
  }

  std::map<const OpDef*, std::vector<Case>> cases_;
  std::map<std::pair<std::string, DType>, std::string> not_native_;
  int native_ = 0;
};

// Further sizes for the symbols of a sample: each odd, one, and beyond a warp and a block.
inline std::vector<SymbolValues> further_sizes(const SampleData& first) {
  std::vector<SymbolValues> result;
  if (first.symbols.empty()) return result;
  SymbolValues odd, one, beyond;
  int64_t next = 0;
  for (const auto& [name, value] : first.symbols) {
    odd[name] = (value + 4) | 1;
    one[name] = 1;
    beyond[name] = next == 0 ? 259 : 33 + next;
    next += 4;
  }
  return {odd, one, beyond};
}

}  // namespace kiln::emulator

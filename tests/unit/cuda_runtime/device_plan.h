// Plans for a GPU whose kernels are known to the null driver: scale (a kernel of Kiln's), library
// (a step whose addresses cannot be changed) and host calls.
#pragma once

#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "backends/cuda/runtime/cuda_device.h"
#include "cuda/null_driver.h"
#include "runtime/execution.h"
#include "runtime/host.h"
#include "unit/runtime/plan_builder.h"

namespace kiln::test {

// out = x * factor, by one launch; counts of runs are kept by the null driver.
class BoundLibrary : public BoundStep {
 public:
  BoundLibrary(const cuda::Driver& driver, size_t bytes) : driver_(driver), bytes_(bytes) {}
  Status run(const RunArgs& args) override {
    return cuda::check(driver_,
                       driver_.MemcpyAsync(reinterpret_cast<uintptr_t>(args.outputs[0]),
                                           reinterpret_cast<uintptr_t>(args.inputs[0]), bytes_,
                                           static_cast<cuda::CUstream>(args.stream)),
                       "cuMemcpyAsync");
  }
  std::string implementation() const override { return "test:library"; }
  Replay replay() const override { return Replay::kSameAddresses; }

 private:
  const cuda::Driver& driver_;
  size_t bytes_;
};

class ScaleStep : public Step {
 public:
  ScaleStep(std::shared_ptr<const cuda::KernelCode> code, int kernel, float factor)
      : code_(std::move(code)), kernel_(kernel), factor_(factor) {}
  Result<std::unique_ptr<BoundStep>> bind(const BindContext& context) const override {
    cuda::Launch launch;
    launch.kernel = kernel_;
    launch.grid[0] = 1;
    launch.block[0] = 32;
    launch.arguments = {cuda::Argument::input(0), cuda::Argument::output(0),
                        cuda::Argument::i64(context.outputs[0].num_elements()),
                        cuda::Argument::f32(factor_), cuda::Argument::fault(*code_)};
    return cuda::BoundLaunches::make(code_, {launch}, context, "test:scale");
  }

 private:
  std::shared_ptr<const cuda::KernelCode> code_;
  int kernel_;
  float factor_;
};

class LibraryStep : public Step {
 public:
  explicit LibraryStep(std::shared_ptr<const cuda::KernelCode> code) : code_(std::move(code)) {}
  Result<std::unique_ptr<BoundStep>> bind(const BindContext& context) const override {
    return std::unique_ptr<BoundStep>(new BoundLibrary(
        *code_->driver, static_cast<size_t>(context.outputs[0].num_elements()) * sizeof(float)));
  }

 private:
  std::shared_ptr<const cuda::KernelCode> code_;
};

inline Result<std::unique_ptr<Step>> make_scale(const StepDesc& desc, const StepEnvironment& env) {
  KILN_ASSIGN_OR_RETURN(auto code, cuda::kernel_code(env));
  KILN_ASSIGN_OR_RETURN(const int64_t kernel, desc.params.int_at("kernel"));
  KILN_ASSIGN_OR_RETURN(const double factor, desc.params.double_at("factor"));
  KILN_RETURN_IF_ERROR(cuda::kernel_params(env, kernel, "test_scale").status());
  return std::unique_ptr<Step>(
      new ScaleStep(std::move(code), static_cast<int>(kernel), static_cast<float>(factor)));
}

inline Result<std::unique_ptr<Step>> make_library(const StepDesc&, const StepEnvironment& env) {
  KILN_ASSIGN_OR_RETURN(auto code, cuda::kernel_code(env));
  return std::unique_ptr<Step>(new LibraryStep(std::move(code)));
}

class DevicePlan : public PlanBuilder {
 public:
  DevicePlan() {
    plan.target = "cuda:sm_90";
    plan.kernels.push_back({"test_scale", Json::object()});
  }
  static StepDesc scale_step(const PlanView& from, const PlanView& to, double factor) {
    Json params = Json::object();
    params.set("kernel", int64_t{0});
    params.set("factor", factor);
    return {"cuda.test_scale", {from}, {to}, std::move(params), "", "scale"};
  }
  void scale(const PlanView& from, const PlanView& to, double factor) {
    plan.main.steps.push_back(scale_step(from, to, factor));
  }
  void library(const PlanView& from, const PlanView& to) {
    plan.main.steps.push_back({"cuda.test_library", {from}, {to}, Json::object(), "", "library"});
  }
  // A constant that the init plan computes on the device: weight * factor.
  PlanView scaled_weight(const std::string& name, const std::vector<int64_t>& dims, double factor) {
    const PlanView constant = computed(name, dims, "neg");
    StepDesc& step = plan.init.steps.back();
    step = scale_step(step.inputs[0], step.outputs[0], factor);
    return constant;
  }
};

// Floats in device memory.
class DeviceTensor {
 public:
  DeviceTensor(DeviceRuntime& device, std::vector<int64_t> shape, std::vector<float> values)
      : shape_(std::move(shape)), count_(values.size()), device_(device.device()) {
    memory_ = device.allocate_lasting(count_ * sizeof(float));
    std::memcpy(memory_.get(), values.data(), count_ * sizeof(float));
  }
  TensorView view() {
    return {memory_.get(), DType::kF32,
            device_,       static_cast<int>(shape_.size()),
            shape_.data(), strides.empty() ? nullptr : strides.data()};
  }
  std::vector<float> values() const {
    const auto* data = static_cast<const float*>(memory_.get());
    return {data, data + count_};
  }
  const std::shared_ptr<void>& memory() const { return memory_; }
  std::vector<int64_t> strides;

 private:
  std::vector<int64_t> shape_;
  size_t count_;
  Device device_;
  std::shared_ptr<void> memory_;
};

// The null driver with the kernels above.
class DevicePlanTest : public ::testing::Test {
 protected:
  void SetUp() override {
    NullDriver::get().reset();
    cuda::set_kernel_compiler(&compiler_);
    compiler_.parameters["test_scale"] = {8, 8, 8, 4, 8};
    NullDriver::get().bodies["test_scale"] = [](const NullLaunch& launch) {
      float factor = 0;
      std::memcpy(&factor, &launch.params[3], sizeof factor);
      for (uint64_t i = 0; i < launch.params[2]; ++i) {
        const float x = launch.pointer<float>(0)[i];
        if (x > 1e6f) *launch.pointer<unsigned>(4) = 1;
        launch.pointer<float>(1)[i] = x * factor;
      }
    };
    static const bool registered = [] {
      StepRegistry::global().add("cuda.test_scale", make_scale);
      StepRegistry::global().add("cuda.test_library", make_library);
      return true;
    }();
    ASSERT_TRUE(registered);
    auto device = cuda::cuda_device(0);
    ASSERT_TRUE(device.ok()) << device.status().to_string();
    device_ = *device;
  }
  void TearDown() override { cuda::set_kernel_compiler(nullptr); }

  NullDriver& driver() { return NullDriver::get(); }
  DeviceTensor tensor(std::vector<float> values) {
    const auto size = static_cast<int64_t>(values.size());
    return {*device_, {size}, std::move(values)};
  }
  static std::shared_ptr<Engine> engine_of(const EnginePlan& plan,
                                           std::vector<WeightBytes> weights = {},
                                           const EngineOptions& options = {}) {
    auto engine = Engine::create(plan, std::move(weights), options);
    EXPECT_TRUE(engine.ok()) << engine.status().to_string();
    return engine.ok() ? *engine : nullptr;
  }
  static void expect_ok(const Status& status) { EXPECT_TRUE(status.ok()) << status.to_string(); }

  NullCompiler compiler_;
  DeviceRuntime* device_ = nullptr;
};

}  // namespace kiln::test

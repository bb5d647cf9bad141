#include "backends/cuda/runtime/launch.h"

#include <atomic>
#include <cstring>

#include "base/status.h"
#include "core/dtype.h"

namespace kiln::cuda {
namespace {

// Of all devices that Kiln knows code for (compute capability 5.0 and later).
constexpr int64_t kMaxGrid[3] = {(int64_t{1} << 31) - 1, 65535, 65535};
constexpr int64_t kMaxBlock[3] = {1024, 1024, 64};

Status out_of_limits(const std::string& what, const std::string& name) {
  return Status::error("K5310", "launch is out of the device's limits: " + what + " of " + name);
}

Argument value_of(const void* bytes, uint32_t size) {
  Argument argument;
  argument.bytes = size;
  std::memcpy(&argument.value, bytes, size);
  return argument;
}

Argument address_of(Argument::Kind kind, int view, int64_t offset) {
  Argument argument;
  argument.kind = kind;
  argument.view = view;
  argument.offset = offset;
  return argument;
}

bool is_empty(const Launch& launch) {
  return launch.grid[0] == 0 || launch.grid[1] == 0 || launch.grid[2] == 0;
}

Status check(const Launch& launch, const KernelCode& code, const BindContext& context,
             size_t scratch_bytes) {
  if (launch.kernel < 0 || launch.kernel >= static_cast<int>(code.kernels.size())) {
    return Status::error("K3212", "step names a kernel that the plan does not have: " +
                                      std::to_string(launch.kernel));
  }
  const KernelCode::Kernel& kernel = code.kernels[static_cast<size_t>(launch.kernel)];
  int64_t threads = 1;
  for (size_t d = 0; d < 3; ++d) {
    if (launch.grid[d] < 0 || launch.grid[d] > kMaxGrid[d]) {
      return out_of_limits("grid " + std::to_string(launch.grid[d]), kernel.name);
    }
    if (launch.block[d] < 1 || launch.block[d] > kMaxBlock[d]) {
      return out_of_limits("block " + std::to_string(launch.block[d]), kernel.name);
    }
    threads *= launch.block[d];
  }
  if (threads > kernel.max_threads) {
    return out_of_limits("threads " + std::to_string(threads), kernel.name);
  }
  if (launch.shared_bytes < 0 || launch.shared_bytes > kernel.max_shared) {
    return out_of_limits("shared memory " + std::to_string(launch.shared_bytes), kernel.name);
  }
  if (launch.arguments.size() > BoundLaunches::kMaxArguments) {
    return out_of_limits("number of arguments " + std::to_string(launch.arguments.size()),
                         kernel.name);
  }
  if (launch.matrices.size() > BoundLaunches::kMaxMatrices) {
    return out_of_limits("number of matrices " + std::to_string(launch.matrices.size()),
                         kernel.name);
  }
  for (const Argument& argument : launch.arguments) {
    size_t count = 0;
    if (argument.matrix >= static_cast<int>(launch.matrices.size())) {
      return out_of_limits("matrix " + std::to_string(argument.matrix), kernel.name);
    }
    switch (argument.kind) {
      case Argument::Kind::kValue:
        if (argument.bytes == 0 || argument.bytes > sizeof argument.value) {
          return out_of_limits("size of an argument", kernel.name);
        }
        continue;
      case Argument::Kind::kScratch:
        if (argument.offset < 0 || static_cast<uint64_t>(argument.offset) > scratch_bytes) {
          return Status::error("K3212", "argument lies outside the scratch memory: " + kernel.name);
        }
        continue;
      case Argument::Kind::kInput: count = context.inputs.size(); break;
      case Argument::Kind::kOutput: count = context.outputs.size(); break;
    }
    if (argument.view < 0 || static_cast<size_t>(argument.view) >= count) {
      return Status::error("K3212", "argument names a view that the step does not have: " +
                                        std::to_string(argument.view) + " of " + kernel.name);
    }
  }
  return {};
}

// CUtensorMapDataType.
int map_type(DType dtype) { return dtype == DType::kBF16 ? 9 : 6; }

Status encode(const Driver& driver, const MatrixMap& matrix, uint64_t address, void* map) {
  constexpr int kNoInterleave = 0, kSwizzle128 = 3, kPromoteTo256 = 3, kZerosOutside = 0;
  const uint64_t dims[] = {static_cast<uint64_t>(matrix.columns),
                           static_cast<uint64_t>(matrix.rows)};
  const uint64_t strides[] = {static_cast<uint64_t>(matrix.row_bytes)};
  const unsigned box[] = {static_cast<unsigned>(matrix.box_columns),
                          static_cast<unsigned>(matrix.box_rows)};
  const unsigned steps[] = {1, 1};
  KILN_CUDA_RETURN_IF_ERROR(driver, TensorMapEncodeTiled, map, map_type(matrix.dtype), 2,
                            reinterpret_cast<void*>(address), dims, strides, box, steps,
                            kNoInterleave, kSwizzle128, kPromoteTo256, kZerosOutside);
  return {};
}

std::atomic<LaunchObserver> launch_observer{nullptr};

// Of a view, from the address of its first element.
AddressRange range_of(const ConcreteView& view) {
  if (view.packed != nullptr) return {0, static_cast<int64_t>(view.packed->bytes)};
  AddressRange range{0, 1};
  for (size_t d = 0; d < view.dims.size(); ++d) {
    if (view.dims[d] == 0) return {0, 0};
    const int64_t reach = (view.dims[d] - 1) * view.strides[d];
    (reach < 0 ? range.begin : range.end) += reach;
  }
  const auto bytes = static_cast<int64_t>(dtype_bytes(view.dtype));
  return {range.begin * bytes, range.end * bytes};
}

std::vector<AddressRange> ranges_of(const Launch& launch, const BindContext& context,
                                    size_t scratch_bytes) {
  std::vector<AddressRange> ranges;
  for (const Argument& argument : launch.arguments) {
    AddressRange range;
    const auto view = static_cast<size_t>(argument.view);
    switch (argument.kind) {
      case Argument::Kind::kValue: ranges.emplace_back(); continue;
      case Argument::Kind::kInput: range = range_of(context.inputs[view]); break;
      case Argument::Kind::kOutput: range = range_of(context.outputs[view]); break;
      case Argument::Kind::kScratch: range = {0, static_cast<int64_t>(scratch_bytes)}; break;
    }
    ranges.push_back({range.begin - argument.offset, range.end - argument.offset});
  }
  return ranges;
}

}  // namespace

void set_launch_observer_for_test(LaunchObserver observer) { launch_observer = observer; }

Argument Argument::input(int view, int64_t byte_offset) {
  return address_of(Kind::kInput, view, byte_offset);
}
Argument Argument::output(int view, int64_t byte_offset) {
  return address_of(Kind::kOutput, view, byte_offset);
}
Argument Argument::scratch(int64_t byte_offset) {
  return address_of(Kind::kScratch, 0, byte_offset);
}
Argument Argument::i32(int32_t value) { return value_of(&value, sizeof value); }
Argument Argument::i64(int64_t value) { return value_of(&value, sizeof value); }
Argument Argument::f32(float value) { return value_of(&value, sizeof value); }
Argument Argument::f64(double value) { return value_of(&value, sizeof value); }
Argument Argument::fault(const KernelCode& code) {
  return i64(static_cast<int64_t>(reinterpret_cast<uintptr_t>(code.fault)));
}

Result<std::unique_ptr<BoundStep>> BoundLaunches::make(std::shared_ptr<const KernelCode> code,
                                                       std::vector<Launch> launches,
                                                       const BindContext& context,
                                                       std::string implementation,
                                                       size_t scratch_bytes) {
  for (const Launch& launch : launches) {
    Status checked = check(launch, *code, context, scratch_bytes);
    if (!checked.ok()) return std::move(checked).at(implementation);
  }
  std::erase_if(launches, is_empty);
  std::unique_ptr<BoundLaunches> step(new BoundLaunches());
  if (launch_observer != nullptr) {
    for (const Launch& launch : launches) {
      step->ranges_.push_back(ranges_of(launch, context, scratch_bytes));
    }
  }
  step->code_ = std::move(code);
  step->launches_ = std::move(launches);
  step->implementation_ = std::move(implementation);
  step->scratch_bytes_ = scratch_bytes;
  return std::unique_ptr<BoundStep>(std::move(step));
}

Status BoundLaunches::fill(const Launch& launch, const RunArgs& args,
                           Parameters& parameters) const {
  for (size_t i = 0; i < launch.arguments.size(); ++i) {
    const Argument& argument = launch.arguments[i];
    const void* base = nullptr;
    switch (argument.kind) {
      case Argument::Kind::kValue: break;
      case Argument::Kind::kInput: base = args.inputs[argument.view]; break;
      case Argument::Kind::kOutput: base = args.outputs[argument.view]; break;
      case Argument::Kind::kScratch: base = args.scratch; break;
    }
    parameters.values[i] =
        argument.kind == Argument::Kind::kValue
            ? argument.value
            : reinterpret_cast<uintptr_t>(base) + static_cast<uint64_t>(argument.offset);
    parameters.pointers[i] = &parameters.values[i];
    if (argument.matrix < 0) continue;
    const auto matrix = static_cast<size_t>(argument.matrix);
    parameters.pointers[i] = parameters.maps[matrix];
    KILN_RETURN_IF_ERROR(encode(*code_->driver, launch.matrices[matrix], parameters.values[i],
                                parameters.maps[matrix]));
  }
  return {};
}

Status BoundLaunches::run_launch(const RunArgs& args, size_t i) {
  const Launch& launch = launches_[i];
  const KernelCode::Kernel& kernel = code_->kernels[static_cast<size_t>(launch.kernel)];
  Parameters parameters;
  KILN_RETURN_IF_ERROR(fill(launch, args, parameters).at(kernel.name));
  if (!ranges_.empty()) {
    if (const LaunchObserver observer = launch_observer) observer(ranges_[i]);
  }
  LaunchAttribute attribute;
  const LaunchConfig config =
      launch_config(launch.grid, launch.block, launch.shared_bytes,
                    static_cast<CUstream>(args.stream), code_->overlap, attribute);
  const CUresult result =
      code_->driver->LaunchKernelEx(&config, kernel.function, parameters.pointers, nullptr);
  if (result == 0) return {};
  return cuda::check(*code_->driver, result, "cuLaunchKernelEx").at(kernel.name);
}

Status BoundLaunches::run(const RunArgs& args) {
  for (size_t i = 0; i < launches_.size(); ++i) KILN_RETURN_IF_ERROR(run_launch(args, i));
  return {};
}

LaunchConfig launch_config(const std::array<int64_t, 3>& grid, const std::array<int64_t, 3>& block,
                           int64_t shared_bytes, CUstream stream, bool overlap,
                           LaunchAttribute& attribute) {
  LaunchConfig config;
  for (size_t d = 0; d < 3; ++d) {
    config.grid[d] = static_cast<unsigned>(grid[d]);
    config.block[d] = static_cast<unsigned>(block[d]);
  }
  config.shared_bytes = static_cast<unsigned>(shared_bytes);
  config.stream = stream;
  if (overlap) {
    attribute.id = kLaunchProgrammaticSerialization;
    const int allowed = 1;
    std::memcpy(attribute.value, &allowed, sizeof allowed);
    config.attributes = &attribute;
    config.attribute_count = 1;
  }
  return config;
}

Result<int> device_attribute(const KernelCode& code, int device, int attribute) {
  CUdevice handle = 0;
  int value = 0;
  KILN_CUDA_RETURN_IF_ERROR(*code.driver, DeviceGet, &handle, device);
  KILN_CUDA_RETURN_IF_ERROR(*code.driver, DeviceGetAttribute, &value, attribute, handle);
  return value;
}

Result<int> compute_capability(const KernelCode& code, int device) {
  KILN_ASSIGN_OR_RETURN(const int major, device_attribute(code, device, kAttributeMajor));
  KILN_ASSIGN_OR_RETURN(const int minor, device_attribute(code, device, kAttributeMinor));
  return major * 10 + minor;
}

Result<std::shared_ptr<const KernelCode>> kernel_code(const StepEnvironment& environment) {
  auto code = std::dynamic_pointer_cast<const KernelCode>(environment.code);
  if (code == nullptr) {
    return Status::error("K5311",
                         "step runs on a CUDA device only, and the plan is for another one");
  }
  return code;
}

Result<const Json*> kernel_params(const StepEnvironment& environment, int64_t index,
                                  std::string_view family) {
  if (environment.kernels == nullptr || index < 0 ||
      static_cast<uint64_t>(index) >= environment.kernels->size()) {
    return Status::error(
        "K3212", "step names a kernel that the plan does not have: " + std::to_string(index));
  }
  const KernelDesc& kernel = (*environment.kernels)[static_cast<size_t>(index)];
  if (kernel.family != family) {
    return Status::error("K3212", "step names a kernel of another family: '" + kernel.family +
                                      "', expected '" + std::string(family) + "'");
  }
  if (const auto code = std::dynamic_pointer_cast<const KernelCode>(environment.code)) {
    // The environment holds it as long as the step.
    if (const auto found = code->fitted.find(index); found != code->fitted.end()) {
      return &found->second.params;
    }
  }
  return &kernel.params;
}

}  // namespace kiln::cuda

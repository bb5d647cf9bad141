#include "builder/backends.h"

#include <charconv>

#include "backends/backend.h"
#include "backends/cpu/compile/cpu_backend.h"
#include "backends/cuda/compile/cuda_backend.h"
#include "backends/cuda/compile/kernel_cache.h"
#include "backends/cuda/runtime/cuda_device.h"
#include "backends/provider_list.h"
#include "base/file.h"
#include "base/status.h"

namespace kiln {
namespace {

// "cuda:sm_90" and "sm_90": 90; 0 for other texts.
int sm_of(std::string_view target) {
  if (target.starts_with("cuda:")) target.remove_prefix(5);
  if (!target.starts_with("sm_")) return 0;
  target.remove_prefix(3);
  int sm = 0;
  const auto [end, error] = std::from_chars(target.data(), target.data() + target.size(), sm);
  return error == std::errc() && end == target.data() + target.size() ? sm : 0;
}

Result<DeviceSpec> gpu_of_this_machine(int index) {
  auto properties = cuda::device_properties(index);
  if (!properties.ok()) return std::move(properties).status().at("target 'cuda'");
  DeviceSpec spec;
  spec.kind = DeviceKind::kCuda;
  spec.isa = "sm_" + std::to_string(properties->sm);
  spec.multiprocessors = properties->multiprocessors;
  spec.shared_bytes_per_block = properties->shared_bytes_per_block;
  spec.l2_bytes = properties->l2_bytes;
  spec.memory_bytes_per_second = properties->memory_bytes_per_second;
  if (spec.memory_bytes_per_second == 0) {  // the driver does not say: the data sheet of its kind
    if (auto known = DeviceSpec::gpu(properties->sm); known.ok()) {
      spec.memory_bytes_per_second = known->memory_bytes_per_second;
    }
  }
  return spec;
}

Result<DeviceSpec> gpu_of_file(const std::string& path) {
  KILN_ASSIGN_OR_RETURN(const std::string text, read_file(path));
  auto json = parse_json(text);
  if (!json.ok()) return std::move(json).status().at(path);
  auto spec = DeviceSpec::gpu_from_json(*json);
  if (!spec.ok()) return std::move(spec).status().at(path);
  return spec;
}

}  // namespace

Result<NativeCode> compile_kernels(const EnginePlan& plan) {
  const int sm = sm_of(plan.target);
  if (sm != 0) return cuda::compile_native(plan, sm);
  return Status::error("K2011", "programs for " + plan.target + " hold no machine code",
                       "native=True is for programs that were compiled for a GPU");
}

Result<std::unique_ptr<Backend>> make_backend(const BuildOptions& options) {
  const ProviderList cpu = cpu_providers(), gpu = cuda::cuda_providers();
  KILN_RETURN_IF_ERROR(check_disabled_providers({&cpu, &gpu}));
  DeviceSpec device = DeviceSpec::host();
  if (options.threads > 0) device.threads = options.threads;
  const std::string& target = options.target;
  if (target.empty() || target == "cpu" || target == device.target()) {
    return make_cpu_backend(device);
  }
  if (target == "cuda") {
    KILN_ASSIGN_OR_RETURN(device, gpu_of_this_machine(options.device_index));
    return cuda::make_cuda_backend(device, {options.allow_tf32, options.tune});
  }
  if (const int sm = sm_of(target); sm != 0) {
    KILN_ASSIGN_OR_RETURN(device, DeviceSpec::gpu(sm));
    return cuda::make_cuda_backend(device, {options.allow_tf32, options.tune});
  }
  if (target.ends_with(".json")) {
    KILN_ASSIGN_OR_RETURN(device, gpu_of_file(target));
    return cuda::make_cuda_backend(device, {options.allow_tf32, options.tune});
  }
  return Status::error("K2010", "unknown target: '" + target + "'",
                       "this build knows 'cpu' (here " + device.target() +
                           "), 'cuda', 'cuda:sm_90' and the like, and files NAME.json");
}

}  // namespace kiln

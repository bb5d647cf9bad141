#include "backends/cuda/compile/kernel_cache.h"

#include <algorithm>
#include <filesystem>
#include <optional>

#include "backends/cuda/compile/kernel_family.h"
#include "backends/cuda/compile/nvrtc.h"
#include "backends/cuda/runtime/cuda_device.h"
#include "backends/cuda/runtime/fitted_kernel.h"
#include "base/cache_folder.h"
#include "base/file.h"
#include "base/log.h"
#include "base/options.h"
#include "base/parallel_for.h"
#include "tuning/device_spec.h"

namespace kiln::cuda {
namespace {

constexpr int64_t kKeyFormat = 1;
constexpr std::string_view kKind = "cubin";

std::optional<CacheFolder> open_cache() {
  if (!debug_options().cache) return std::nullopt;
  const std::string path = user_cache_folder();
  if (path.empty()) return std::nullopt;
  const Result<uint64_t> limit = user_cache_bytes();
  Result<CacheFolder> folder =
      limit.ok() ? CacheFolder::open(path, *limit) : Result<CacheFolder>(limit.status());
  if (!folder.ok()) {
    KILN_LOG(kBuilder, kWarning) << "kernels are not cached: " << folder.status().to_string();
    return std::nullopt;
  }
  return std::move(folder).value();
}

Hash128 key_of(const KernelSource& source, int sm, const std::string& nvrtc_version) {
  Hasher128 hasher;
  hasher.add_int(kKeyFormat).add_text(source.text).add_text(source.entry).add_text(nvrtc_version);
  for (const std::string& option : nvrtc_options(sm)) hasher.add_text(option);
  for (const DeviceHeader& header : device_headers()) {
    hasher.add_text(header.name).add_text(header.text);
  }
  return hasher.finish();
}

class NvrtcKernelCompiler : public KernelCompiler {
 public:
  Result<std::vector<CompiledKernel>> compile(const std::vector<KernelDesc>& kernels,
                                              int sm) override {
    std::vector<KernelSource> sources;
    for (const KernelDesc& kernel : kernels) {
      KILN_ASSIGN_OR_RETURN(KernelSource source, print_kernel(kernel));
      sources.push_back(std::move(source));
    }
    std::vector<CompiledKernel> compiled(kernels.size());
    if (kernels.empty()) return compiled;
    KILN_ASSIGN_OR_RETURN(const LibraryInfo nvrtc, nvrtc_info());
    const std::optional<CacheFolder> cache = open_cache();
    std::vector<Hash128> keys;
    std::vector<size_t> missing;
    for (size_t i = 0; i < sources.size(); ++i) {
      keys.push_back(key_of(sources[i], sm, nvrtc.version));
      compiled[i].entry = sources[i].entry;
      KILN_RETURN_IF_ERROR(dump(sources[i], keys[i]));
      if (cache) {
        if (const auto found = cache->get(keys[i], kKind); found.ok()) {
          compiled[i].image = found->bytes;
          continue;
        }
      }
      missing.push_back(i);
    }
    std::vector<Status> failures(missing.size());
    parallel_for(static_cast<int64_t>(missing.size()), 1, [&](int64_t begin, int64_t end) {
      for (int64_t m = begin; m < end; ++m) {
        const size_t i = missing[static_cast<size_t>(m)];
        Result<std::string> image = nvrtc_compile(sources[i].text, sources[i].entry, sm);
        if (image.ok()) {
          compiled[i].image = std::move(image).value();
        } else {
          failures[static_cast<size_t>(m)] = image.status();
        }
      }
    });
    for (Status& failure : failures) {
      if (!failure.ok()) return std::move(failure);
    }
    for (size_t i : missing) {
      if (!cache) break;
      const Status stored = cache->put(keys[i], kKind, compiled[i].image);
      if (stored.ok()) continue;
      KILN_LOG(kBuilder, kWarning) << "kernels are not cached: " << stored.to_string();
      break;
    }
    return compiled;
  }

 private:
  // The debug switch dump_kernels.
  static Status dump(const KernelSource& source, const Hash128& key) {
    const std::string& folder = debug_options().dump_kernels;
    if (folder.empty()) return {};
    std::error_code ignored;  // write_file says what is wrong
    std::filesystem::create_directories(folder, ignored);
    return write_file(folder + "/" + source.entry + "-" + key.hex().substr(0, 8) + ".cu",
                      source.text);
  }
};

[[maybe_unused]] const bool registered = [] {
  set_kernel_compiler(&nvrtc_kernel_compiler());
  return true;
}();

}  // namespace

KernelCompiler& nvrtc_kernel_compiler() {
  static auto* compiler = new NvrtcKernelCompiler;  // as long as the process
  return *compiler;
}

std::vector<KernelDesc> native_kernels(const EnginePlan& plan, int sm) {
  std::vector<KernelDesc> kernels = plan.kernels;
  const auto add = [&](KernelDesc kernel) {
    const Hash128 hash = hash_of(kernel);
    const bool there = std::any_of(kernels.begin(), kernels.end(), [&](const KernelDesc& other) {
      return hash_of(other) == hash;
    });
    if (!there) kernels.push_back(std::move(kernel));
  };
  for (KernelDesc& copy : copy_kernels(plan)) add(std::move(copy));
  for (int other = sm; other / 10 == sm / 10; ++other) {
    const Result<DeviceSpec> device = DeviceSpec::gpu(other);
    if (!device.ok()) continue;  // no such GPU
    for (const KernelDesc& kernel : plan.kernels) {
      if (auto fitted = fitted_kernel(kernel, device->shared_bytes_per_block)) add(*fitted);
    }
  }
  return kernels;
}

Result<NativeCode> compile_native(const EnginePlan& plan, int sm) {
  const std::vector<KernelDesc> kernels = native_kernels(plan, sm);
  NativeCode code;
  code.isa = "sm_" + std::to_string(sm);
  code.convention = kernel_convention();
  KILN_ASSIGN_OR_RETURN(std::vector<CompiledKernel> compiled,
                        nvrtc_kernel_compiler().compile(kernels, sm));
  KILN_ASSIGN_OR_RETURN(const LibraryInfo nvrtc, nvrtc_info());
  code.compiler = "NVRTC " + nvrtc.version;
  for (size_t i = 0; i < kernels.size(); ++i) {
    const auto image = std::make_shared<const std::string>(std::move(compiled[i].image));
    code.kernels.push_back({hash_of(kernels[i]), kernels[i].family, compiled[i].entry,
                            hash128(*image), *image, image});
  }
  return code;
}

}  // namespace kiln::cuda

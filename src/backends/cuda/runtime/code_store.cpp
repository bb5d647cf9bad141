// Loading kernels' code.
#include <algorithm>
#include <cstdlib>
#include <deque>
#include <optional>
#include <string>

#include "backends/cuda/runtime/cuda_device.h"
#include "backends/cuda/runtime/fitted_kernel.h"
#include "backends/cuda/runtime/kernel_compiler.h"
#include "base/log.h"
#include "base/status.h"

namespace kiln::cuda {
namespace {

constexpr unsigned kSharedWithoutOptIn = 48 << 10;
constexpr size_t kWordsPerPage = 1024;

Hash128 key_of(const NativeKernel& kernel) {
  return Hasher128().add_hash(kernel.code).add_text(kernel.entry).finish();
}

}  // namespace

struct CodeStore::Module {
  const Driver& driver;
  CUcontext context = nullptr;
  CUmodule module = nullptr;
  KernelCode::Kernel kernel;

  explicit Module(const Driver& table) : driver(table) {}
  ~Module() {
    if (module == nullptr) return;
    // Whoever drops the last program may be on any thread; errors have nowhere to go.
    CUcontext before = nullptr;
    driver.CtxGetCurrent(&before);
    if (before != context) driver.CtxSetCurrent(context);
    driver.ModuleUnload(module);
    if (before != context) driver.CtxSetCurrent(before);
  }
};

// Words of memory that host and device both see; one for each program.
class CodeStore::FaultWords {
 public:
  explicit FaultWords(const Driver& driver) : driver_(driver) {}

  struct Word {
    volatile unsigned* host = nullptr;
    unsigned* device = nullptr;
  };
  Result<Word> take() {
    std::lock_guard lock(mutex_);
    if (free_.empty()) {
      void* host = nullptr;
      CUdeviceptr device = 0;
      KILN_CUDA_RETURN_IF_ERROR(driver_, MemHostAlloc, &host, kWordsPerPage * sizeof(unsigned),
                                kHostAllocPortable | kHostAllocMapped);
      KILN_CUDA_RETURN_IF_ERROR(driver_, MemHostGetDevicePointer, &device, host, 0);
      for (size_t i = 0; i < kWordsPerPage; ++i) {
        auto* on_device = reinterpret_cast<unsigned*>(static_cast<uintptr_t>(device));
        free_.push_back({static_cast<unsigned*>(host) + i, on_device + i});
      }
    }
    const Word word = free_.front();
    free_.pop_front();
    *word.host = 0;
    return word;
  }
  void give_back(const Word& word) {
    std::lock_guard lock(mutex_);
    free_.push_back(word);
  }

 private:
  const Driver& driver_;
  std::mutex mutex_;
  // The pages stay for the life of the process. First in, first out: kernels of the program that
  // had a word may still be running when it is given back.
  std::deque<Word> free_;
};

Result<std::shared_ptr<CodeStore::Module>> CodeStore::load_image(const void* image,
                                                                 const std::string& entry) {
  auto loaded = std::make_shared<Module>(driver_);
  KILN_CUDA_RETURN_IF_ERROR(driver_, CtxGetCurrent, &loaded->context);
  KILN_CUDA_RETURN_IF_ERROR(driver_, ModuleLoadData, &loaded->module, image);
  KernelCode::Kernel& kernel = loaded->kernel;
  kernel.name = entry;
  KILN_CUDA_RETURN_IF_ERROR(driver_, ModuleGetFunction, &kernel.function, loaded->module,
                            entry.c_str());
  int threads = 0, fixed_shared = 0;
  KILN_CUDA_RETURN_IF_ERROR(driver_, FuncGetAttribute, &threads, kFunctionMaxThreads,
                            kernel.function);
  KILN_CUDA_RETURN_IF_ERROR(driver_, FuncGetAttribute, &fixed_shared, kFunctionStaticShared,
                            kernel.function);
  kernel.max_threads = static_cast<unsigned>(std::max(threads, 0));
  const auto fixed = static_cast<unsigned>(std::max(fixed_shared, 0));
  kernel.max_shared = max_shared_ > fixed ? max_shared_ - fixed : 0;
  if (kernel.max_shared > kSharedWithoutOptIn) {
    KILN_CUDA_RETURN_IF_ERROR(driver_, FuncSetAttribute, kernel.function, kFunctionMaxDynamic,
                              static_cast<int>(kernel.max_shared));
  }
  return loaded;
}

Status CodeStore::give_fault_word(KernelCode& code) {
  if (fault_words_ == nullptr) fault_words_ = std::make_shared<FaultWords>(driver_);
  KILN_ASSIGN_OR_RETURN(const FaultWords::Word word, fault_words_->take());
  code.fault = word.device;
  code.fault_on_host = word.host;
  return {};
}

std::string CodeStore::misfit(const NativeCode& native) const {
  if (native.convention != kernel_convention()) return "was compiled by another version of Kiln";
  constexpr std::string_view kPrefix = "sm_";
  int sm = 0;
  if (native.isa.starts_with(kPrefix)) sm = std::atoi(native.isa.c_str() + kPrefix.size());
  // Machine code runs on later devices of the same major number too.
  if (sm / 10 == sm_ / 10 && sm <= sm_) return "";
  return "is for " + native.isa;
}

Result<std::vector<CompiledKernel>> CodeStore::compile(const std::vector<KernelDesc>& kernels,
                                                       const std::string& misfit) {
  KernelCompiler* compiler = kernel_compiler();
  if (compiler == nullptr) {
    const std::string why =
        misfit.empty() ? "program has no code for this GPU" : "code in the file " + misfit;
    return Status::error("K5309",
                         why + ", and nothing here compiles it: kernel of family '" +
                             kernels[0].family + "' for sm_" + std::to_string(sm_),
                         "load libkiln too, or save the program with native=True for such a GPU");
  }
  if (!misfit.empty()) {
    KILN_LOG(kRuntime, kWarning) << "kernels are compiled again: code in the file " << misfit;
  }
  KILN_ASSIGN_OR_RETURN(std::vector<CompiledKernel> compiled, compiler->compile(kernels, sm_));
  if (compiled.size() != kernels.size()) {
    return Status::error("K5309", "compiler gave code for another number of kernels");
  }
  return compiled;
}

Result<std::shared_ptr<KernelCode>> CodeStore::load(const std::vector<KernelDesc>& kernels,
                                                    const NativeCode* native) {
  std::map<int64_t, KernelDesc> fitted;
  for (size_t i = 0; i < kernels.size(); ++i) {
    std::optional<KernelDesc> other = fitted_kernel(kernels[i], max_shared_);
    if (!other) continue;
    KILN_LOG(kRuntime, kInfo) << "kernel " << i << " of family '" << other->family
                              << "' is made smaller for a GPU with " << max_shared_
                              << " bytes of shared memory";
    fitted.emplace(static_cast<int64_t>(i), std::move(*other));
  }
  const auto kernel = [&](size_t i) -> const KernelDesc& {
    const auto found = fitted.find(static_cast<int64_t>(i));
    return found != fitted.end() ? found->second : kernels[i];
  };
  const std::string misfit =
      native == nullptr || native->kernels.empty() ? "" : this->misfit(*native);
  std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<Module>> loaded(kernels.size());
  std::vector<Hash128> keys;
  std::vector<KernelDesc> wanted;
  std::vector<size_t> positions;
  for (size_t i = 0; i < kernels.size(); ++i) {
    const NativeKernel* given =
        native != nullptr && misfit.empty() ? native->find(kernel(i)) : nullptr;
    keys.push_back(given != nullptr ? key_of(*given) : hash_of(kernel(i)));
    if (const auto found = modules_.find(keys[i]); found != modules_.end()) {
      loaded[i] = found->second.lock();
    }
    if (loaded[i] != nullptr) continue;
    if (given == nullptr) {
      wanted.push_back(kernel(i));
      positions.push_back(i);
      continue;
    }
    auto module = load_image(given->image.data(), given->entry);
    if (!module.ok()) {
      return std::move(module).status().at("code of kernel '" + given->entry + "' in the file");
    }
    loaded[i] = std::move(module).value();
  }
  if (!wanted.empty()) {
    KILN_ASSIGN_OR_RETURN(const std::vector<CompiledKernel> compiled, compile(wanted, misfit));
    for (size_t k = 0; k < compiled.size(); ++k) {
      KILN_ASSIGN_OR_RETURN(loaded[positions[k]],
                            load_image(compiled[k].image.data(), compiled[k].entry));
    }
  }
  std::erase_if(modules_, [](const auto& entry) { return entry.second.expired(); });
  auto code = std::make_shared<KernelCode>();
  code->driver = &driver_;
  code->overlap = sm_ >= 90;
  code->fitted = std::move(fitted);
  for (size_t i = 0; i < kernels.size(); ++i) {
    modules_[keys[i]] = loaded[i];
    code->kernels.push_back(loaded[i]->kernel);
  }
  KILN_RETURN_IF_ERROR(give_fault_word(*code));
  struct Owner {
    std::vector<std::shared_ptr<Module>> modules;
    std::shared_ptr<FaultWords> words;
    FaultWords::Word word;
    ~Owner() { words->give_back(word); }
  };
  code->owner = std::make_shared<Owner>(std::move(loaded), fault_words_,
                                        FaultWords::Word{code->fault_on_host, code->fault});
  return code;
}

}  // namespace kiln::cuda

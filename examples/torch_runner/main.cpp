// Runs a `.pt2` file with a Kiln program in C++, without Python: by torch's own runner, which finds
// Kiln's operator once libkiln_torch is loaded. Nothing of Kiln is included or linked.
//
//   torch_runner LIBKILN_TORCH MODEL.pt2 INPUTS.pt OUTPUTS.pt [REPEATS]
//   torch_runner LIBKILN_TORCH MODEL.aoti.pt2 INPUTS.pt OUTPUTS.pt [REPEATS]
//
// INPUTS.pt and OUTPUTS.pt are lists of tensors as torch.save writes and torch.load reads them. A
// file that torch._inductor.aoti_compile_and_package made runs by AOTInductor's loader.
#include <dlfcn.h>

#include <chrono>
#include <cstdio>
#include <exception>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>
#include <torch/csrc/jit/serialization/pickle.h>
#include <torch/nativert/ModelRunnerHandle.h>

namespace {

std::vector<at::Tensor> read_tensors(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  TORCH_CHECK(file, "cannot open: ", path);
  const std::vector<char> bytes(std::istreambuf_iterator<char>(file), {});
  const c10::IValue value = torch::jit::pickle_load(bytes);
  std::vector<at::Tensor> tensors;
  for (const c10::IValue& item : value.toListRef()) tensors.push_back(item.toTensor());
  return tensors;
}

void write_tensors(const std::string& path, const std::vector<at::Tensor>& tensors) {
  const std::vector<char> bytes = torch::jit::pickle_save(c10::IValue(tensors));
  std::ofstream file(path, std::ios::binary);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  TORCH_CHECK(file.good(), "cannot write: ", path);
}

// One runner for both kinds of file.
class Runner {
 public:
  explicit Runner(const std::string& path) {
    if (path.ends_with(".aoti.pt2")) {
      compiled_ = std::make_unique<torch::inductor::AOTIModelPackageLoader>(path);
    } else {
      exported_ = std::make_unique<torch::nativert::ModelRunnerHandle>(path, "model");
    }
  }

  std::vector<at::Tensor> run(const std::vector<at::Tensor>& inputs) {
    if (compiled_ != nullptr) return compiled_->run(inputs);
    std::vector<c10::IValue> values(inputs.begin(), inputs.end());
    std::vector<at::Tensor> results;
    for (c10::IValue& value : exported_->runWithFlatInputsAndOutputs(std::move(values))) {
      results.push_back(value.toTensor());
    }
    return results;
  }

 private:
  std::unique_ptr<torch::inductor::AOTIModelPackageLoader> compiled_;
  std::unique_ptr<torch::nativert::ModelRunnerHandle> exported_;
};

int run(int argc, char** argv) {
  if (argc < 5) {
    std::fprintf(stderr, "torch_runner LIBKILN_TORCH MODEL.pt2 INPUTS.pt OUTPUTS.pt [REPEATS]\n");
    return 2;
  }
  // Registers kiln::run and kiln.Program; a second load of the same file does nothing.
  TORCH_CHECK(dlopen(argv[1], RTLD_NOW | RTLD_GLOBAL) != nullptr, dlerror());
  const at::NoGradGuard no_grad;
  const std::vector<at::Tensor> inputs = read_tensors(argv[3]);
  Runner runner(argv[2]);
  std::vector<at::Tensor> outputs = runner.run(inputs);
  write_tensors(argv[4], outputs);
  const int repeats = argc > 5 ? std::stoi(argv[5]) : 0;
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < repeats; ++i) outputs = runner.run(inputs);
  if (repeats > 0) {
    const std::chrono::duration<double, std::micro> time = std::chrono::steady_clock::now() - start;
    std::printf("%.2f us a call\n", time.count() / repeats);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}

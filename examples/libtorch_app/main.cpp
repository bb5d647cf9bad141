// A libtorch program that runs programs of Kiln as TorchScript modules: a `.ts` file by plain
// torch::jit::load, and a `.kiln` file, whose operators without a kernel run in ATen.
//
//   libtorch_app MODEL.ts|MODEL.kiln INPUTS.pt OUTPUTS.pt [REPEATS]
//
// INPUTS.pt is a list of tensors as torch.save writes it: the arguments by position. OUTPUTS.pt
// gets the tensors of the results in order, however they are nested.
#include <chrono>
#include <cstdio>
#include <exception>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include <torch/csrc/jit/serialization/pickle.h>
#include <torch/script.h>

#include <kiln/torch.h>

namespace {

std::vector<c10::IValue> read_arguments(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  TORCH_CHECK(file, "cannot open: ", path);
  const std::vector<char> bytes(std::istreambuf_iterator<char>(file), {});
  return torch::jit::pickle_load(bytes).toListRef().vec();
}

void write_tensors(const std::string& path, const std::vector<at::Tensor>& tensors) {
  const std::vector<char> bytes = torch::jit::pickle_save(c10::IValue(tensors));
  std::ofstream file(path, std::ios::binary);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  TORCH_CHECK(file.good(), "cannot write: ", path);
}

torch::jit::Module load(const std::string& path) {
  // libkiln_torch is linked, so torch knows kiln::run and the class of the program.
  if (!path.ends_with(".kiln")) return torch::jit::load(path);
  kiln::Result<torch::jit::Module> module = kiln::load_script_module(path);
  TORCH_CHECK(module.ok(), module.status().to_string());
  return std::move(module).value();
}

void collect(const c10::IValue& value, std::vector<at::Tensor>& tensors) {
  if (value.isTensor()) {
    tensors.push_back(value.toTensor());
  } else if (value.isTuple()) {
    for (const c10::IValue& item : value.toTupleRef().elements()) collect(item, tensors);
  } else if (value.isList()) {
    for (const c10::IValue& item : value.toListRef()) collect(item, tensors);
  } else if (value.isGenericDict()) {
    for (const auto& entry : value.toGenericDict()) collect(entry.value(), tensors);
  } else if (value.isInt()) {
    tensors.push_back(at::scalar_tensor(value.toInt(), at::kLong));
  } else if (value.isDouble()) {
    tensors.push_back(at::scalar_tensor(value.toDouble(), at::kDouble));
  }
}

int run(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "libtorch_app MODEL.ts|MODEL.kiln INPUTS.pt OUTPUTS.pt [REPEATS]\n");
    return 2;
  }
  const c10::InferenceMode inference;
  torch::jit::Module module = load(argv[1]);
  const std::vector<c10::IValue> arguments = read_arguments(argv[2]);
  std::vector<at::Tensor> outputs;
  collect(module.forward(arguments), outputs);
  write_tensors(argv[3], outputs);
  const int repeats = argc > 4 ? std::stoi(argv[4]) : 0;
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < repeats; ++i) module.forward(arguments);
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

// Runs a compiled program from C++: no Python, no torch.
//
//   cpp_runner MODEL.kiln INPUT.npy... [--out PREFIX] [--threads N]
//
// Inputs are given in the order of `kiln inspect MODEL.kiln`. Output i is written to PREFIXi.npy.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>

#include <kiln/program.h>

#include "npy.h"

namespace {

int fail(const kiln::Status& status) {
  std::fprintf(stderr, "cpp_runner: %s\n", status.to_string().c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  std::string model, prefix;
  std::vector<std::string> files;
  kiln::LoadOptions options;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--out") == 0 && i + 1 < argc) {
      prefix = argv[++i];
    } else if (std::strcmp(argv[i], "--threads") == 0 && i + 1 < argc) {
      options.threads = std::atoi(argv[++i]);
    } else if (model.empty()) {
      model = argv[i];
    } else {
      files.emplace_back(argv[i]);
    }
  }
  if (model.empty()) {
    std::fputs("usage: cpp_runner MODEL.kiln INPUT.npy... [--out PREFIX] [--threads N]\n", stderr);
    return 2;
  }
  auto program = kiln::Program::load(model, options);
  if (!program.ok()) return fail(program.status());

  std::vector<NpyArray> inputs;
  std::vector<kiln::TensorView> views;
  for (const std::string& file : files) {
    auto array = read_npy(file);
    if (!array.ok()) return fail(array.status());
    inputs.push_back(std::move(*array));
  }
  for (NpyArray& input : inputs) views.push_back(input.view());

  // The context asks for memory when the shapes of the outputs are known.
  std::map<int, NpyArray> outputs;
  auto allocate = [&](int output, const kiln::TensorSpec& spec, size_t bytes) -> void* {
    NpyArray& array = outputs[output];
    array.dtype = spec.dtype;
    array.shape = spec.shape;
    array.data.resize(bytes + 64);
    const auto address = reinterpret_cast<uintptr_t>(array.data.data());
    return array.data.data() + (64 - address % 64) % 64;
  };
  auto context = (*program)->create_context();
  auto results = context->run(views, allocate);
  if (!results.ok()) return fail(results.status());

  for (size_t i = 0; i < results->size(); ++i) {
    const NpyArray array = dense_copy((*results)[i]);
    int64_t count = 1;
    for (int64_t extent : array.shape) count *= extent;
    std::printf("output %zu: %lld elements\n", i, static_cast<long long>(count));
    if (prefix.empty()) continue;
    const kiln::Status written = write_npy(prefix + std::to_string(i) + ".npy", array);
    if (!written.ok()) return fail(written);
  }
  return 0;
}

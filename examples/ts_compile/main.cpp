// Compiles a scripted or traced module under Torch-TensorRT's C++ names, without Python.
//
//   ts_compile MODEL.ts COMPILED.ts ENGINE.kiln SIZES...
//
// SIZES are those of the tensor arguments: 3x8, or 1x8:3x8:16x8 for the smallest, usual and largest
// one. COMPILED.ts is what torch::jit::load runs in a process with libkiln_torch, ENGINE.kiln is
// for kiln.load, the `kiln` tool and libkiln_runtime. Says which operators have no rule.
#include <cstdio>
#include <exception>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include <torch/script.h>
#include <torch_tensorrt/torch_tensorrt.h>

namespace {

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::stringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  return parts;
}

std::vector<int64_t> sizes(const std::string& text) {
  std::vector<int64_t> result;
  for (const std::string& part : split(text, 'x')) result.push_back(std::stoll(part));
  return result;
}

torch_tensorrt::Input input(const std::string& text) {
  const std::vector<std::string> shapes = split(text, ':');
  if (shapes.size() == 3) return {sizes(shapes[0]), sizes(shapes[1]), sizes(shapes[2])};
  return {sizes(text)};
}

int run(int argc, char** argv) {
  if (argc < 5) {
    std::fprintf(stderr, "ts_compile MODEL.ts COMPILED.ts ENGINE.kiln SIZES...\n");
    return 2;
  }
  torch::jit::Module module = torch::jit::load(argv[1]);
  module.eval();
  std::vector<torch_tensorrt::Input> inputs;
  for (int i = 4; i < argc; ++i) inputs.push_back(input(argv[i]));
  torch_tensorrt::ts::CompileSpec spec(inputs);
  spec.min_block_size = 1;
  const bool supported = torch_tensorrt::ts::check_method_operator_support(module, "forward");
  torch_tensorrt::ts::compile(module, spec).save(argv[2]);
  const std::string engine =
      torch_tensorrt::ts::convert_method_to_trt_engine(module, "forward", spec);
  std::ofstream(argv[3], std::ios::binary) << engine;
  torch_tensorrt::ts::embed_engine_in_new_module(engine, torch_tensorrt::Device());
  std::printf("%s: %s\n", torch_tensorrt::get_build_info().c_str(),
              supported ? "every operator has a rule" : "some operators stay in PyTorch");
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

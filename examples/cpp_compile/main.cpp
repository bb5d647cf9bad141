// Compiles what torch.export.save wrote and runs it, in C++: no Python, no torch.
//
//   cpp_compile MODEL.pt2 MODEL.kiln [INPUT.bin ...] [--out PREFIX]
//
// Writes MODEL.kiln; given a file for each input, also runs the program. INPUT.bin holds the
// elements of an input in row-major order and nothing else; one size of it may be dynamic, which
// then follows from the length of the file. Output i is written to PREFIXi.bin.
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <optional>

#include <kiln/builder.h>
#include <kiln/pt2.h>

namespace {

struct Input {
  std::vector<int64_t> shape;
  std::vector<char> data;
};

size_t element_bytes(kiln::DType dtype) {
  switch (dtype) {
    case kiln::DType::kF64:
    case kiln::DType::kI64: return 8;
    case kiln::DType::kF32:
    case kiln::DType::kI32: return 4;
    case kiln::DType::kF16:
    case kiln::DType::kBF16:
    case kiln::DType::kI16: return 2;
    case kiln::DType::kI8:
    case kiln::DType::kU8:
    case kiln::DType::kBool: return 1;
  }
  return 1;
}

kiln::Result<Input> read_input(const std::string& path, const kiln::TensorInfo& info) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return kiln::Status::error("K3001", "cannot open: " + path);
  Input input;
  input.data.assign(std::istreambuf_iterator<char>(file), {});
  size_t known = element_bytes(info.dtype);
  int dynamic = -1;
  for (const kiln::DimInfo& dim : info.dims) {
    if (dim.min == dim.max) {
      known *= static_cast<size_t>(dim.max);
    } else if (dynamic < 0) {
      dynamic = static_cast<int>(input.shape.size());
    } else {
      return kiln::Status::error("K4105", "more than one dynamic size of input: " + info.name);
    }
    input.shape.push_back(dim.max);
  }
  if (dynamic >= 0 && known != 0) {
    input.shape[static_cast<size_t>(dynamic)] = static_cast<int64_t>(input.data.size() / known);
    known *= input.data.size() / known;
  }
  if (known != input.data.size()) {
    return kiln::Status::error("K4105", "not as many bytes as the input has: " + path);
  }
  return input;
}

// Writes output i, contiguous, to PREFIXi.bin.
kiln::Status run(kiln::Program& program, const std::vector<std::string>& files,
                 const std::string& prefix) {
  if (files.size() != program.inputs().size()) {
    return kiln::Status::error(
        "K4101", "the program has " + std::to_string(program.inputs().size()) + " inputs");
  }
  std::vector<Input> inputs;
  for (size_t i = 0; i < files.size(); ++i) {
    auto input = read_input(files[i], program.inputs()[i]);
    if (!input.ok()) return input.status();
    inputs.push_back(std::move(*input));
  }
  std::vector<kiln::TensorView> views;
  for (size_t i = 0; i < inputs.size(); ++i) {
    kiln::TensorView view;
    view.data = inputs[i].data.data();
    view.dtype = program.inputs()[i].dtype;
    view.rank = static_cast<int>(inputs[i].shape.size());
    view.shape = inputs[i].shape.data();
    views.push_back(view);
  }

  // The shapes of the outputs follow from those of the inputs; then the memory is ours.
  const auto context = program.create_context();
  const auto specs = context->infer_shapes(views);
  if (!specs.ok()) return specs.status();
  std::vector<std::optional<std::vector<char>>> memory(specs->size());
  std::vector<kiln::TensorView> outputs;
  for (size_t i = 0; i < specs->size(); ++i) {
    const kiln::TensorSpec& spec = (*specs)[i];
    size_t bytes = element_bytes(spec.dtype);
    for (int64_t extent : spec.shape) bytes *= static_cast<size_t>(extent);
    kiln::TensorView view;
    // What the program writes in place (an input, or its own state) needs no memory of ours.
    if (program.outputs()[i].role != kiln::TensorInfo::Role::kWritesInput) {
      view.data = memory[i].emplace(bytes, 0).data();
    }
    view.dtype = spec.dtype;
    view.rank = static_cast<int>(spec.shape.size());
    view.shape = spec.shape.data();
    outputs.push_back(view);
  }
  kiln::Status status = context->run(views, outputs);
  if (!status.ok()) return status;

  for (size_t i = 0; i < memory.size(); ++i) {
    if (!memory[i]) continue;
    std::printf("output %zu: %s, %zu bytes\n", i, program.outputs()[i].name.c_str(),
                memory[i]->size());
    if (prefix.empty()) continue;
    const std::string path = prefix + std::to_string(i) + ".bin";
    std::ofstream file(path, std::ios::binary);
    file.write(memory[i]->data(), static_cast<std::streamsize>(memory[i]->size()));
    file.flush();
    if (!file) return kiln::Status::error("K3003", "cannot write: " + path);
  }
  return {};
}

kiln::Status compile_and_run(const std::string& model, const std::string& saved,
                             const std::vector<std::string>& files, const std::string& prefix) {
  kiln::CaptureBuilder capture;
  const auto read = kiln::read_pt2(model, capture);
  if (!read.ok()) return read.status();
  kiln::BuildOptions options;
  options.metadata = read->metadata;  // how Python calls the program
  const auto compiled = kiln::compile(capture, options);
  if (!compiled.ok()) return compiled.status();
  kiln::Status status = (*compiled)->save(saved);
  if (!status.ok()) return status;
  std::printf("%s -> %s for %s\n", model.c_str(), saved.c_str(), (*compiled)->target().c_str());
  if (files.empty()) return {};
  const auto program = (*compiled)->instantiate({});
  if (!program.ok()) return program.status();
  return run(**program, files, prefix);
}

}  // namespace

int main(int argc, char** argv) {
  std::string prefix;
  std::vector<std::string> files;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--out") == 0 && i + 1 < argc) {
      prefix = argv[++i];
    } else {
      files.emplace_back(argv[i]);
    }
  }
  if (files.size() < 2) {
    std::fputs("usage: cpp_compile MODEL.pt2 MODEL.kiln [INPUT.bin ...] [--out PREFIX]\n", stderr);
    return 2;
  }
  const kiln::Status status =
      compile_and_run(files[0], files[1], {files.begin() + 2, files.end()}, prefix);
  if (status.ok()) return 0;
  std::fprintf(stderr, "cpp_compile: %s\n", status.to_string().c_str());
  return 1;
}

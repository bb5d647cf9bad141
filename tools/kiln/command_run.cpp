// kiln run: one run of a program on .npy files or random data.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <optional>

#include <kiln/program.h>

#include "core/dtype.h"
#include "examples/cpp_runner/npy.h"
#include "runtime/engine.h"
#include "tools/kiln/command.h"
#include "tools/kiln/output.h"
#include "tools/kiln/tensors.h"

namespace kiln::tool {
namespace {

constexpr const char* kHelp =
    "  --input FILE.npy       an input, in the order of `kiln inspect`; repeat for each.\n"
    "                         NAME=FILE.npy gives the input of that name\n"
    "  --random               random data for the inputs that are not given (the same each time)\n"
    "  --shape NAME=1x3x8x8   shape of a random input, or SYMBOL=4 for a size\n"
    "  --out PREFIX           writes output i to PREFIXi.npy\n"
    "  --threads N            0 (default): OMP_NUM_THREADS, else all cores\n"
    "  --json                 one JSON document on standard output\n";

double element(const NpyArray& array, size_t i) {
  const auto load = [&](auto example) {
    std::memcpy(&example, array.data.data() + i * sizeof(example), sizeof(example));
    return example;
  };
  switch (array.dtype) {
    case DType::kF32: return static_cast<double>(load(float()));
    case DType::kF64: return load(double());
    case DType::kF16: return static_cast<double>(f16_to_f32(load(uint16_t())));
    case DType::kBF16: return static_cast<double>(bf16_to_f32(load(uint16_t())));
    case DType::kI8: return load(int8_t());
    case DType::kU8:
    case DType::kBool: return load(uint8_t());
    case DType::kI16: return load(int16_t());
    case DType::kI32: return load(int32_t());
    case DType::kI64: return static_cast<double>(load(int64_t()));
  }
  return 0;
}

struct Summary {
  double min = std::numeric_limits<double>::infinity();
  double max = -std::numeric_limits<double>::infinity();
  double sum = 0;
  int64_t elements = 0;
  int64_t not_finite = 0;
};

Summary summarize(const NpyArray& array) {
  Summary summary;
  summary.elements = 1;
  for (int64_t extent : array.shape) summary.elements *= extent;
  for (int64_t i = 0; i < summary.elements; ++i) {
    const double value = element(array, static_cast<size_t>(i));
    if (!std::isfinite(value)) {
      ++summary.not_finite;
      continue;
    }
    summary.min = std::min(summary.min, value);
    summary.max = std::max(summary.max, value);
    summary.sum += value;
  }
  return summary;
}

// Files for the inputs by position: "FILE" takes the next free one, "NAME=FILE" the named one.
Result<std::vector<std::string>> assign_files(const std::vector<std::string>& given,
                                              const std::vector<TensorInfo>& inputs) {
  std::vector<std::string> files(inputs.size());
  size_t next = 0;
  for (const std::string& text : given) {
    const size_t equals = text.find('=');
    const auto named = std::find_if(inputs.begin(), inputs.end(), [&](const TensorInfo& input) {
      return equals != std::string::npos && input.name == text.substr(0, equals);
    });
    if (named != inputs.end()) {
      files[static_cast<size_t>(named - inputs.begin())] = text.substr(equals + 1);
      continue;
    }
    while (next < files.size() && !files[next].empty()) ++next;
    if (next == files.size()) {
      return Status::error("K4101", "more inputs given than the program has: " +
                                        std::to_string(inputs.size()));
    }
    files[next] = text;
  }
  return files;
}

// K1002 for a shape that is given for what a file gives.
Status check_shapes(const Arguments& arguments, const std::vector<TensorInfo>& inputs,
                    const std::vector<std::string>& files) {
  for (const std::string& shape : arguments.all("shape")) {
    if (!arguments.has("random")) {
      return Status::error("K1002", "option --shape is for random inputs: '" + shape + "'",
                           "give --random, or leave --shape out: files have shapes of their own");
    }
    const std::string name = shape.substr(0, shape.find('='));
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (inputs[i].name != name || files[i].empty()) continue;
      return Status::error("K1002",
                           "options --shape and --input are both given for input '" + name + "'",
                           "leave --shape out: the file has a shape of its own");
    }
  }
  return {};
}

Result<int> run(const Arguments& arguments) {
  if (arguments.words.size() != 1) {
    return Status::error("K1008", "kiln run takes one file", "kiln help run");
  }
  KILN_ASSIGN_OR_RETURN(const int threads, arguments.integer("threads", 0, 0, 4096));
  LoadOptions options;
  options.threads = threads;
  KILN_ASSIGN_OR_RETURN(auto program, Program::load(arguments.words[0], options));
  const EnginePlan& plan = program->engine()->plan();
  KILN_ASSIGN_OR_RETURN(const auto files, assign_files(arguments.all("input"), program->inputs()));
  KILN_RETURN_IF_ERROR(check_shapes(arguments, program->inputs(), files));

  // Given inputs fix the sizes of the random ones.
  std::vector<std::optional<NpyArray>> arrays(files.size());
  std::vector<std::string> shapes = arguments.all("shape");
  for (size_t i = 0; i < files.size(); ++i) {
    if (files[i].empty()) {
      if (arguments.has("random")) continue;
      return Status::error("K4101", "input is missing: '" + program->inputs()[i].name + "'",
                           "give --input FILE.npy for each input, or --random");
    }
    KILN_ASSIGN_OR_RETURN(arrays[i], read_npy(files[i]));
    shapes.insert(shapes.begin(), program->inputs()[i].name + "=" + show_shape(arrays[i]->shape));
  }
  std::vector<Tensor> random;
  if (arguments.has("random")) {
    KILN_ASSIGN_OR_RETURN(const ChosenShapes chosen, choose_shapes(plan, shapes));
    KILN_ASSIGN_OR_RETURN(random, random_inputs(plan, chosen, program->metadata()));
  }
  std::vector<TensorView> views;
  for (size_t i = 0; i < files.size(); ++i) {
    views.push_back(arrays[i] ? arrays[i]->view() : random[i].view());
  }

  std::vector<Tensor> memory;
  const auto allocate = [&](int, const TensorSpec& spec, size_t) -> void* {
    auto tensor = make_tensor(spec);
    if (!tensor.ok()) return nullptr;
    memory.push_back(std::move(*tensor));
    return memory.back().memory.get();
  };
  auto context = program->create_context();
  const auto begin = std::chrono::steady_clock::now();
  KILN_ASSIGN_OR_RETURN(const std::vector<TensorView> results, context->run(views, allocate));
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();

  Json document = Json::object();
  document.set("seconds", seconds);
  Json::Array outputs;
  Table table({"output", "type", ">min", ">max", ">mean", ">not finite"});
  const auto number = [](double value) {
    char text[32];
    std::snprintf(text, sizeof(text), "%.6g", value);
    return std::string(text);
  };
  for (size_t i = 0; i < results.size(); ++i) {
    const NpyArray array = dense_copy(results[i]);
    const Summary summary = summarize(array);
    const TensorInfo& info = program->outputs()[i];
    const std::string dtype(dtype_name(array.dtype));
    const int64_t finite = summary.elements - summary.not_finite;
    const double mean = finite == 0 ? 0 : summary.sum / static_cast<double>(finite);
    Json row = Json::object();
    row.set("name", info.name);
    row.set("dtype", dtype);
    row.set("shape", Json(array.shape));
    row.set("not_finite", static_cast<long>(summary.not_finite));
    if (finite > 0) {
      row.set("min", summary.min);
      row.set("max", summary.max);
      row.set("mean", mean);
    }
    if (arguments.has("out")) {
      const std::string file = arguments.get("out") + std::to_string(i) + ".npy";
      KILN_RETURN_IF_ERROR(write_npy(file, array));
      row.set("file", file);
    }
    outputs.push_back(std::move(row));
    table.add({info.name, dtype + "[" + show_shape(array.shape) + "]",
               finite > 0 ? number(summary.min) : "-", finite > 0 ? number(summary.max) : "-",
               finite > 0 ? number(mean) : "-", std::to_string(summary.not_finite)});
  }
  document.set("outputs", Json(std::move(outputs)));
  if (arguments.has("json")) {
    print_json(document);
  } else {
    std::fputs(table.text().c_str(), stdout);
    std::printf("first run, with its set-up: %s\n", show_seconds(seconds).c_str());
  }
  return 0;
}

}  // namespace

Command run_command() {
  return {"run",
          "MODEL.kiln [--input FILE.npy ...] [--random] [--shape NAME=DIMS ...] [--out PREFIX]\n"
          "         [--threads N] [--json]",
          "runs a program once on .npy files or random data",
          kHelp,
          {"random", "json"},
          {"input", "shape", "out", "threads"},
          run};
}

}  // namespace kiln::tool

#include <kiln/program.h>

#include <cstring>

#include "base/file.h"
#include "runtime/archive.h"
#include "runtime/border.h"
#include "runtime/engine.h"
#include "runtime/engine_reader.h"
#include "runtime/execution.h"
#include "runtime/memory.h"

namespace kiln {

struct Program::Info {
  std::vector<TensorInfo> inputs, outputs;
  std::vector<WeightInfo> weights;
  std::string metadata, report;
};

namespace {

TensorInfo describe(const TensorSignature& signature, const SymbolRanges& ranges) {
  TensorInfo info;
  info.name = signature.name;
  info.dtype = signature.dtype;
  info.order = signature.order;
  for (const DimExpr& dim : signature.dims) {
    const DimRange range = dim.range(ranges);
    info.dims.push_back({dim.to_string(), range.min, range.max});
  }
  return info;
}

Result<std::shared_ptr<Program>> load_bytes(std::string_view bytes,
                                            std::shared_ptr<const void> owner,
                                            const LoadOptions& options) {
  KILN_ASSIGN_OR_RETURN(EngineContents contents, read_engine_file(bytes, std::move(owner)));
  KILN_RETURN_IF_ERROR(check_host_calls(contents.plan, options));
  KILN_RETURN_IF_ERROR(complete_weights(contents, options.weights));
  EngineOptions engine_options;
  engine_options.threads = options.threads;
  engine_options.host = options.host;
  KILN_ASSIGN_OR_RETURN(auto engine, Engine::create(std::move(contents.plan),
                                                    std::move(contents.weights), engine_options));
  return Program::from_engine(std::move(engine), std::move(contents.metadata),
                              std::move(contents.report));
}

}  // namespace

Program::Program(std::shared_ptr<Engine> engine)
    : engine_(std::move(engine)), info_(std::make_unique<Info>()) {}
Program::~Program() = default;

std::shared_ptr<Program> Program::from_engine(std::shared_ptr<Engine> engine, std::string metadata,
                                              std::string report) {
  std::shared_ptr<Program> program(new Program(std::move(engine)));
  const EnginePlan& plan = program->engine_->plan();
  for (const TensorSignature& input : plan.inputs) {
    program->info_->inputs.push_back(describe(input, plan.symbols));
  }
  for (const PlanOutput& output : plan.outputs) {
    program->info_->outputs.push_back(describe(output.signature, plan.symbols));
  }
  for (const WeightSignature& weight : plan.weights) {
    program->info_->weights.push_back({weight.name, weight.dtype, weight.dims});
  }
  program->info_->metadata = std::move(metadata);
  program->info_->report = std::move(report);
  return program;
}

Result<std::shared_ptr<Program>> Program::load(const std::string& path, LoadOptions options) {
  return guarded([&]() -> Result<std::shared_ptr<Program>> {
    KILN_ASSIGN_OR_RETURN(MappedFile file, MappedFile::open(path));
    auto mapped = std::make_shared<MappedFile>(std::move(file));
    const std::string_view bytes = mapped->text();
    auto program = load_bytes(bytes, std::move(mapped), options);
    if (!program.ok()) return std::move(program).status().at(path);
    return program;
  });
}

Result<std::shared_ptr<Program>> Program::load(const void* bytes, size_t size,
                                               std::shared_ptr<const void> owner,
                                               LoadOptions options) {
  return guarded([&]() -> Result<std::shared_ptr<Program>> {
    const auto* data = static_cast<const char*>(bytes);
    if (size != 0 && reinterpret_cast<uintptr_t>(data) % kArchiveAlignment != 0) {
      // Weights are used where they lie, and kernels want them aligned.
      const std::shared_ptr<void> copy = allocate_block(size);
      if (copy == nullptr) return Status::error("K4501", "out of memory for a copy of the file");
      std::memcpy(copy.get(), data, size);
      data = static_cast<const char*>(copy.get());
      owner = copy;
    }
    return load_bytes({data, size}, std::move(owner), options);
  });
}

const std::vector<TensorInfo>& Program::inputs() const { return info_->inputs; }
const std::vector<TensorInfo>& Program::outputs() const { return info_->outputs; }
const std::vector<WeightInfo>& Program::weights() const { return info_->weights; }
Status Program::update_weights(const std::vector<WeightView>& weights) {
  return guarded([&] { return engine_->update_weights(weights); });
}
const std::string& Program::metadata() const { return info_->metadata; }
const std::string& Program::report_json() const { return info_->report; }

std::unique_ptr<ExecutionContext> Program::create_context() {
  return std::make_unique<ExecutionContext>(std::make_unique<ExecutionContext::Impl>(engine_));
}

}  // namespace kiln

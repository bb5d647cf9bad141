#include <kiln/program.h>

#include <cstring>

#include "base/border.h"
#include "base/file.h"
#include "runtime/archive.h"
#include "runtime/engine.h"
#include "runtime/engine_reader.h"
#include "runtime/execution.h"
#include "runtime/memory.h"
#include "runtime/program_info.h"
#include "runtime/state.h"

namespace kiln {

struct Program::Info : ProgramInfo {
  std::string metadata, report;
};

namespace {

Result<std::shared_ptr<Program>> load_bytes(std::string_view bytes,
                                            std::shared_ptr<const void> owner,
                                            const LoadOptions& options) {
  KILN_ASSIGN_OR_RETURN(EngineContents contents,
                        read_engine_file(bytes, std::move(owner), options.device_index));
  KILN_RETURN_IF_ERROR(check_host_calls(contents.plan, options));
  KILN_RETURN_IF_ERROR(complete_weights(contents, options.weights));
  EngineOptions engine_options;
  engine_options.threads = options.threads;
  engine_options.host = options.host;
  engine_options.device_index = options.device_index;
  engine_options.replay = options.cuda_graphs;
  const bool has_code = !contents.code.kernels.empty();
  auto engine =
      Engine::create(std::move(contents.plan), std::move(contents.weights), engine_options,
                     options.trust && has_code ? &contents.code : nullptr);
  if (!engine.ok() && engine.status().code() == "K5309" && has_code && !options.trust) {
    return Status::error("K3303",
                         "file brings machine code, which is used only with trust, and nothing "
                         "here compiles its kernels",
                         "load with trust=True if you trust it, or load libkiln too");
  }
  if (!engine.ok()) return std::move(engine).status();
  return Program::from_engine(std::move(engine).value(), std::move(contents.metadata),
                              std::move(contents.report));
}

}  // namespace

ProgramInfo describe(const EnginePlan& plan) {
  ProgramInfo result;
  for (const TensorSignature& input : plan.inputs) {
    auto& list = input.is_state ? result.state : result.inputs;
    list.push_back(describe(input, plan.symbols));
  }
  for (const PlanOutput& output : plan.outputs) {
    TensorInfo info = describe(output.signature, plan.symbols);
    switch (output.kind) {
      case PlanOutput::Kind::kResult: break;
      case PlanOutput::Kind::kWriteInput: info.role = TensorInfo::Role::kWritesInput; break;
      case PlanOutput::Kind::kViewOfInput: info.role = TensorInfo::Role::kViewOfInput; break;
      case PlanOutput::Kind::kViewOfOutput: info.role = TensorInfo::Role::kViewOfOutput; break;
    }
    if (info.role != TensorInfo::Role::kResult) info.target = output.target;
    result.outputs.push_back(std::move(info));
  }
  for (const WeightSignature& weight : plan.weights) {
    result.weights.push_back({weight.name, weight.dtype, weight.dims});
  }
  return result;
}

Program::Program(std::shared_ptr<Engine> engine)
    : engine_(std::move(engine)), info_(std::make_unique<Info>()) {}
Program::~Program() = default;

std::shared_ptr<Program> Program::from_engine(std::shared_ptr<Engine> engine, std::string metadata,
                                              std::string report) {
  std::shared_ptr<Program> program(new Program(std::move(engine)));
  static_cast<ProgramInfo&>(*program->info_) = describe(program->engine_->plan());
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
const std::vector<TensorInfo>& Program::state_infos() const { return info_->state; }
Device Program::device() const { return engine_->device().device(); }
const std::string& Program::metadata() const { return info_->metadata; }
const std::string& Program::report_json() const { return info_->report; }

std::unique_ptr<ExecutionContext> Program::create_context() { return create_context(nullptr); }

std::unique_ptr<ExecutionContext> Program::create_context(std::shared_ptr<State> state) {
  return std::make_unique<ExecutionContext>(
      std::make_unique<ExecutionContext::Impl>(engine_, std::move(state)));
}

Result<std::shared_ptr<State>> Program::create_state() {
  return guarded([&] { return State::Impl::create(engine_); });
}

}  // namespace kiln

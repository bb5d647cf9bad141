#include <chrono>

#include <kiln/builder.h>

#include "backends/backend.h"
#include "base/border.h"
#include "builder/backends.h"
#include "builder/engine_writer.h"
#include "builder/phases.h"
#include "builder/program_cache.h"
#include "runtime/engine.h"
#include "runtime/given_weights.h"
#include "tuning/kernel_provider.h"

namespace kiln {

class CompiledProgram::Impl {
 public:
  // What a file of the program holds; points into the parts.
  Result<EngineFile> file(const SaveOptions& save_options) const;
  std::vector<WeightBytes> weights() const;

  BuildOptions options;
  ProgramParts parts;
};

CompiledProgram::CompiledProgram(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
CompiledProgram::~CompiledProgram() = default;

const std::string& CompiledProgram::report_json() const { return impl_->parts.report; }

const std::string& CompiledProgram::ir(std::string_view stage) const {
  return stage == "lowered" ? impl_->parts.lowered_ir : impl_->parts.simplified_ir;
}

const std::string& CompiledProgram::target() const { return impl_->parts.plan.target; }

const EnginePlan& CompiledProgram::plan() const { return impl_->parts.plan; }

std::vector<std::string> CompiledProgram::weight_names() const {
  std::vector<std::string> names;
  for (const Weight& weight : impl_->parts.weights) names.push_back(weight.name);
  return names;
}

Status CompiledProgram::update_weights(const std::vector<WeightView>& weights) {
  return guarded([&]() -> Status {
    std::vector<WeightBytes> placed = impl_->weights();
    KILN_RETURN_IF_ERROR(place_given_weights(impl_->parts.plan, weights, placed));
    std::vector<Weight>& own = impl_->parts.weights;
    for (size_t i = 0; i < own.size(); ++i) {
      KILN_ASSIGN_OR_RETURN(const WeightBytes value, weight_on_host(placed[i]));
      own[i].data = {value.data, value.bytes, value.owner};
    }
    return {};
  });
}

Result<std::shared_ptr<Program>> CompiledProgram::instantiate(const LoadOptions& options) {
  return guarded([&]() -> Result<std::shared_ptr<Program>> {
    ProgramParts& parts = impl_->parts;
    std::vector<WeightBytes> weights = impl_->weights();
    KILN_RETURN_IF_ERROR(place_given_weights(parts.plan, options.weights, weights));
    EngineOptions engine_options;
    engine_options.threads = options.threads > 0 ? options.threads : impl_->options.threads;
    engine_options.host = options.host;
    engine_options.device_index = options.device_index;
    engine_options.replay = options.cuda_graphs;
    KILN_ASSIGN_OR_RETURN(auto engine,
                          Engine::create(parts.plan, std::move(weights), engine_options));
    return Program::from_engine(std::move(engine), impl_->options.metadata, parts.report);
  });
}

std::vector<WeightBytes> CompiledProgram::Impl::weights() const {
  std::vector<WeightBytes> weights;
  for (const Weight& weight : parts.weights) {
    weights.push_back({weight.data.data, weight.data.bytes, weight.data.owner});
  }
  return weights;
}

Result<EngineFile> CompiledProgram::Impl::file(const SaveOptions& save_options) const {
  EngineFile file;
  file.metadata = options.metadata;
  file.report = parts.report;
  file.graph = parts.simplified_ir;
  file.plans = {&parts.plan};
  for (const Weight& weight : parts.weights) file.weights.push_back(&weight);
  file.weight_policy = save_options.weights;
  if (save_options.native) {
    KILN_ASSIGN_OR_RETURN(NativeCode code, compile_kernels(parts.plan));
    file.code.push_back(std::move(code));
  }
  return file;
}

Status CompiledProgram::save(const std::string& path, const SaveOptions& options) {
  return guarded([&]() -> Status {
    KILN_ASSIGN_OR_RETURN(const EngineFile file, impl_->file(options));
    return write_engine_file(path, file);
  });
}

Result<std::string> CompiledProgram::serialize(const SaveOptions& options) {
  return guarded([&]() -> Result<std::string> {
    KILN_ASSIGN_OR_RETURN(const EngineFile file, impl_->file(options));
    return serialize_engine_file(file);
  });
}

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// The phases with the bytes of the weights out of their reach, so that no plan can depend on them.
Status run_without_bytes(Build& build, bool coverage_only) {
  struct Bytes {
    const void* data;
    std::shared_ptr<const void> owner;
  };
  for (Weight& weight : build.module->weights) {
    auto bytes = std::make_shared<const Bytes>(Bytes{weight.data.data, weight.data.owner});
    weight.data.data = nullptr;
    weight.data.owner = std::move(bytes);
  }
  const Status status = run_phases(build, coverage_only);
  for (Weight& weight : build.module->weights) {
    const Bytes bytes = *static_cast<const Bytes*>(weight.data.owner.get());
    weight.data.data = bytes.data;
    weight.data.owner = bytes.owner;
  }
  return status;
}

Result<std::unique_ptr<CompiledProgram>> build_program(CaptureBuilder& capture,
                                                       const BuildOptions& options) {
  const auto begin = Clock::now();
  auto impl = std::make_unique<CompiledProgram::Impl>();
  impl->options = options;
  Build build;
  build.options = options;
  KILN_ASSIGN_OR_RETURN(build.backend, make_backend(options));
  ProgramCache cache = ProgramCache::open(capture, options, *build.backend);
  KILN_ASSIGN_OR_RETURN(build.module, capture.finish());
  if (auto found = cache.find(*build.module)) {
    impl->parts = std::move(*found);
    KILN_ASSIGN_OR_RETURN(Json report, parse_json(impl->parts.report));
    Json seconds = Json::object();
    seconds.set("cache", seconds_since(begin));
    report.set("build_seconds", std::move(seconds));
    report.set("cache", cache.report());
    impl->parts.report = report.dump();
    return std::make_unique<CompiledProgram>(std::move(impl));
  }
  double cache_seconds = seconds_since(begin);
  build.records = capture.records();
  KILN_RETURN_IF_ERROR(verify(*build.module));
  KILN_RETURN_IF_ERROR(run_without_bytes(build, false));
  ProgramParts& parts = impl->parts;
  Json report = make_report(build);
  parts.plan = std::move(build.plan);
  parts.weights = std::move(build.module->weights);
  parts.simplified_ir = std::move(build.simplified_ir);
  parts.lowered_ir = std::move(build.lowered_ir);
  parts.report = report.dump();
  const auto stored = Clock::now();
  cache.store(parts);
  cache_seconds += seconds_since(stored);
  report.set("cache", cache.report());
  if (cache.usable()) {
    Json seconds = *report.find("build_seconds");
    seconds.set("cache", cache_seconds);
    report.set("build_seconds", std::move(seconds));
  }
  parts.report = report.dump();
  return std::make_unique<CompiledProgram>(std::move(impl));
}

Result<std::string> build_report(CaptureBuilder& capture, const BuildOptions& options) {
  Build build;
  build.options = options;
  KILN_ASSIGN_OR_RETURN(build.backend, make_backend(options));
  KILN_ASSIGN_OR_RETURN(build.module, capture.finish());
  build.records = capture.records();
  KILN_RETURN_IF_ERROR(verify(*build.module));
  KILN_RETURN_IF_ERROR(run_without_bytes(build, true));
  return make_report(build).dump();
}

}  // namespace

Result<std::unique_ptr<CompiledProgram>> compile(CaptureBuilder& capture,
                                                 const BuildOptions& options) {
  return guarded([&] { return build_program(capture, options); });
}

Result<std::string> explain(CaptureBuilder& capture, const BuildOptions& options) {
  return guarded([&] { return build_report(capture, options); });
}

}  // namespace kiln

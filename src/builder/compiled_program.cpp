#include <algorithm>

#include <kiln/builder.h>

#include "backends/backend.h"
#include "builder/engine_writer.h"
#include "builder/phases.h"
#include "runtime/border.h"
#include "runtime/engine.h"
#include "runtime/given_weights.h"
#include "tuning/kernel_provider.h"

namespace kiln {

class CompiledProgram::Impl {
 public:
  // What a file of the program holds; points into the build.
  EngineFile file(const SaveOptions& options) const;

  Build build;
  std::string report;
};

CompiledProgram::CompiledProgram(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
CompiledProgram::~CompiledProgram() = default;

const std::string& CompiledProgram::report_json() const { return impl_->report; }

const std::string& CompiledProgram::ir(std::string_view stage) const {
  return stage == "lowered" ? impl_->build.lowered_ir : impl_->build.simplified_ir;
}

std::vector<std::string> CompiledProgram::weight_names() const {
  std::vector<std::string> names;
  for (const Weight& weight : impl_->build.module->weights) names.push_back(weight.name);
  return names;
}

Result<std::shared_ptr<Program>> CompiledProgram::instantiate(const LoadOptions& options) {
  std::vector<WeightBytes> weights;
  for (const Weight& weight : impl_->build.module->weights) {
    weights.push_back({weight.data.data, weight.data.bytes, weight.data.owner});
  }
  KILN_RETURN_IF_ERROR(place_given_weights(impl_->build.plan, options.weights, weights));
  EngineOptions engine_options;
  engine_options.threads = options.threads > 0 ? options.threads : impl_->build.options.threads;
  engine_options.host = options.host;
  KILN_ASSIGN_OR_RETURN(auto engine,
                        Engine::create(impl_->build.plan, std::move(weights), engine_options));
  return Program::from_engine(std::move(engine), impl_->build.options.metadata, impl_->report);
}

EngineFile CompiledProgram::Impl::file(const SaveOptions& options) const {
  EngineFile file;
  file.metadata = build.options.metadata;
  file.report = report;
  file.graph = build.simplified_ir;
  file.plans = {&build.plan};
  for (const Weight& weight : build.module->weights) file.weights.push_back(&weight);
  file.weight_policy = options.weights;
  return file;
}

Status CompiledProgram::save(const std::string& path, const SaveOptions& options) {
  return guarded([&] { return write_engine_file(path, impl_->file(options)); });
}

Result<std::string> CompiledProgram::serialize(const SaveOptions& options) {
  return guarded([&] { return serialize_engine_file(impl_->file(options)); });
}

namespace {

Result<std::unique_ptr<CompiledProgram::Impl>> run(CaptureBuilder& capture,
                                                   const BuildOptions& options,
                                                   bool coverage_only) {
  auto impl = std::make_unique<CompiledProgram::Impl>();
  impl->build.options = options;
  KILN_ASSIGN_OR_RETURN(impl->build.module, capture.finish());
  impl->build.records = capture.records();
  KILN_RETURN_IF_ERROR(verify(*impl->build.module));
  KILN_RETURN_IF_ERROR(run_phases(impl->build, coverage_only));
  impl->report = make_report(impl->build).dump();
  return impl;
}

}  // namespace

Result<std::unique_ptr<CompiledProgram>> compile(CaptureBuilder& capture,
                                                 const BuildOptions& options) {
  KILN_ASSIGN_OR_RETURN(auto impl, run(capture, options, false));
  // Nodes are gone from here on: what runs is the plan.
  impl->build.tactics.clear();
  return std::make_unique<CompiledProgram>(std::move(impl));
}

Result<std::string> explain(CaptureBuilder& capture, const BuildOptions& options) {
  KILN_ASSIGN_OR_RETURN(auto impl, run(capture, options, true));
  return impl->report;
}

}  // namespace kiln

#include "torch/torchscript/compile_method.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>

#include "base/border.h"
#include "base/json.h"
#include "torch/program_object.h"
#include "torch/script_module.h"
#include "torch/torch_host.h"

namespace kiln::torchscript {
namespace {

// Adds what update_weights() needs: each name of the module's state to the weight that it is.
Result<std::string> with_state_names(const std::string& metadata, const torch::jit::Module& module,
                                     const ImportedProgram& imported) {
  KILN_ASSIGN_OR_RETURN(Json description, parse_json(metadata));
  std::map<const void*, std::string> by_memory;
  Json names = Json::object();
  for (const auto& [name, tensor] : imported.weights) {
    names.set(name, name);
    if (tensor.numel() > 0) by_memory[tensor.const_data_ptr()] = name;
  }
  const auto add = [&](const std::string& name, const at::Tensor& tensor) {
    if (!tensor.defined() || names.find(name) != nullptr) return;
    const auto found = by_memory.find(tensor.const_data_ptr());
    const bool known = tensor.numel() > 0 && found != by_memory.end();
    names.set(name, known ? Json(found->second) : Json());
  };
  for (const auto& parameter : module.named_parameters()) add(parameter.name, parameter.value);
  for (const auto& buffer : module.named_buffers()) add(buffer.name, buffer.value);
  description.set("state_names", std::move(names));
  return description.dump();
}

}  // namespace

Result<Callee> callee_of(const torch::jit::Module& module, const std::string& method) {
  const auto found = module.find_method(method);
  if (!found) return Status::error("K1101", "the module has no such method: " + method);
  Callee callee;
  callee.function = &found->function();
  callee.self = module;
  return callee;
}

Result<CompiledMethod> compile_method(const torch::jit::Module& module, const std::string& method,
                                      const Arguments& arguments,
                                      const ScriptCompileOptions& options, ImportFailure* failure) {
  return guarded([&]() -> Result<CompiledMethod> {
    KILN_ASSIGN_OR_RETURN(Callee callee, callee_of(module, method));
    callee.hooks = options.hooks && method == "forward";
    ImportOptions place;
    const bool on_gpu =
        options.build.target.starts_with("cuda") || options.build.target.starts_with("sm_");
    place.device = on_gpu ? DeviceKind::kCuda : DeviceKind::kCpu;
    place.home = home_of(module);
    CaptureBuilder capture;
    capture.keep_in_torch(options.torch_executed_ops, options.torch_executed_modules);
    KILN_ASSIGN_OR_RETURN(ImportedProgram imported,
                          import_callee(callee, arguments, place, capture, failure));
    BuildOptions build = options.build;
    KILN_ASSIGN_OR_RETURN(build.metadata, with_state_names(imported.metadata, module, imported));
    build.name = module.type()->name()->name();
    CompiledMethod result;
    KILN_ASSIGN_OR_RETURN(result.program, compile(capture, build));
    result.weights = std::move(imported.weights);
    result.notes = std::move(imported.notes);
    return result;
  });
}

Result<Json> report_of(const CompiledMethod& compiled) {
  KILN_ASSIGN_OR_RETURN(Json report, parse_json(compiled.program->report_json()));
  Json notes = Json::array();
  if (const Json* known = report.find("notes"); known != nullptr) notes = *known;
  for (const std::string& note : compiled.notes) notes.push_back(note);
  report.set("notes", std::move(notes));
  return report;
}

Result<torch::jit::Module> module_of(const CompiledMethod& compiled,
                                     const ScriptCompileOptions& compile_options) {
  return guarded([&]() -> Result<torch::jit::Module> {
    LoadOptions options;
    options.host = torch_host();
    options.threads = compile_options.build.threads;
    options.device_index = compile_options.build.device_index;
    KILN_ASSIGN_OR_RETURN(const std::shared_ptr<Program> program,
                          compiled.program->instantiate(options));
    KILN_ASSIGN_OR_RETURN(const std::string bytes,
                          compiled.program->serialize({.weights = WeightPolicy::kExternal}));
    ProgramState state;
    state.program = at::empty({static_cast<int64_t>(bytes.size())}, at::kByte);
    std::copy(bytes.begin(), bytes.end(), static_cast<char*>(state.program.mutable_data_ptr()));
    const std::map<std::string, at::Tensor> weights(compiled.weights.begin(),
                                                    compiled.weights.end());
    for (const WeightInfo& info : program->weights()) {
      state.names.push_back(info.name);
      state.weights.push_back(weights.at(info.name).detach().cpu().contiguous());
    }
    return make_script_module(
        ProgramObject::wrap(std::make_shared<ProgramRunner>(program), std::move(state)));
  });
}

}  // namespace kiln::torchscript

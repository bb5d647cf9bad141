#include "torch/torchscript/compile_method.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>

#include "base/border.h"
#include "base/json.h"
#include "torch/program_object.h"
#include "torch/script_module.h"
#include "torch/torch_host.h"
#include "torch/torchscript/import.h"

namespace kiln::torchscript {
namespace {

Status wrong_input(size_t index, const std::string& what) {
  return Status::error("K1101", "input " + std::to_string(index) + ": " + what);
}

Status check_input(const ScriptInput& input, size_t index) {
  if (input.min.size() != input.opt.size() || input.max.size() != input.opt.size()) {
    return wrong_input(index, "its minimum, optimum and maximum differ in rank");
  }
  for (size_t d = 0; d < input.opt.size(); ++d) {
    if (input.min[d] < 0 || input.min[d] > input.opt[d] || input.opt[d] > input.max[d]) {
      return wrong_input(
          index, "dim " + std::to_string(d) + " has no range: " + std::to_string(input.min[d]) +
                     " <= " + std::to_string(input.opt[d]) + " <= " + std::to_string(input.max[d]));
    }
  }
  return {};
}

// An example for each input, and the symbols of sizes with ranges.
Result<Arguments> arguments_of(const std::vector<ScriptInput>& inputs,
                               const c10::FunctionSchema& schema, c10::Device device) {
  Arguments arguments;
  std::map<std::string, std::string> symbols;  // position and range -> symbol
  for (size_t i = 0; i < inputs.size(); ++i) {
    const ScriptInput& input = inputs[i];
    KILN_RETURN_IF_ERROR(check_input(input, i));
    const auto options = at::TensorOptions().dtype(input.dtype).device(device);
    at::Tensor tensor;
    try {
      tensor = at::empty(input.opt, options).contiguous(input.format);
    } catch (const std::exception&) {
      return wrong_input(i, "its memory format does not fit its rank");
    }
    if (input.min != input.max) {
      std::vector<CaptureDim> dims;
      for (size_t d = 0; d < input.opt.size(); ++d) {
        if (input.min[d] == input.max[d]) {
          dims.emplace_back(std::to_string(input.opt[d]));
          continue;
        }
        const std::string key = std::to_string(d) + " " + std::to_string(input.min[d]) + " " +
                                std::to_string(input.max[d]);
        const std::string symbol =
            symbols.try_emplace(key, "s" + std::to_string(symbols.size())).first->second;
        arguments.symbols[symbol] = {input.min[d], input.max[d]};
        dims.emplace_back(symbol);
      }
      arguments.dims.emplace_back(tensor, std::move(dims));
    }
    arguments.values.emplace_back(std::move(tensor));
  }
  arguments.positional = inputs.size();
  const std::vector<c10::Argument>& wanted = schema.arguments();  // self is the first
  if (inputs.size() + 1 > wanted.size()) {
    return Status::error(
        "K1101", "more inputs than the method has arguments: " + std::to_string(inputs.size()));
  }
  for (size_t i = inputs.size() + 1; i < wanted.size(); ++i) {
    if (!wanted[i].default_value()) {
      return Status::error("K1101", "no input is given for argument " + wanted[i].name());
    }
    arguments.values.push_back(*wanted[i].default_value());
  }
  return arguments;
}

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

Result<CompiledMethod> compile_method(const torch::jit::Module& module, const std::string& method,
                                      const std::vector<ScriptInput>& inputs,
                                      const ScriptCompileOptions& options) {
  return guarded([&]() -> Result<CompiledMethod> {
    Callee callee;
    const auto found = module.find_method(method);
    if (!found) return Status::error("K1101", "the module has no such method: " + method);
    callee.function = &found->function();
    callee.self = module;
    ImportOptions place;
    const bool on_gpu =
        options.build.target.starts_with("cuda") || options.build.target.starts_with("sm_");
    place.device = on_gpu ? DeviceKind::kCuda : DeviceKind::kCpu;
    for (const at::Tensor& parameter : module.parameters()) place.home = parameter.device();
    KILN_ASSIGN_OR_RETURN(const Arguments arguments,
                          arguments_of(inputs, callee.function->getSchema(), place.home));
    CaptureBuilder capture;
    capture.keep_in_torch(options.torch_executed_ops, options.torch_executed_modules);
    KILN_ASSIGN_OR_RETURN(ImportedProgram imported,
                          import_callee(callee, arguments, place, capture));
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

Result<torch::jit::Module> module_of(CompiledMethod compiled, int threads) {
  return guarded([&]() -> Result<torch::jit::Module> {
    LoadOptions options;
    options.host = torch_host();
    options.threads = threads;
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

#include "torch/torchscript/compile_file.h"

#include <dlfcn.h>
#include <torch/csrc/jit/serialization/import.h>
#include <torch_tensorrt/torch_tensorrt.h>

#include <cstring>
#include <string>

#include <kiln/torch.h>

#include "base/border.h"
#include "base/json.h"
#include "core/dtype.h"
#include "torch/dtype_conversion.h"
#include "torch/script_module.h"
#include "torch/torchscript/compile_method.h"

namespace kiln::torchscript {
namespace {

Result<ScriptInput> input_from(const Json& json) {
  ScriptInput input;
  KILN_ASSIGN_OR_RETURN(input.min, json.ints_at("min"));
  KILN_ASSIGN_OR_RETURN(input.opt, json.ints_at("opt"));
  KILN_ASSIGN_OR_RETURN(input.max, json.ints_at("max"));
  KILN_ASSIGN_OR_RETURN(const std::string name, json.string_at("dtype"));
  const auto dtype = dtype_from_name(name);
  if (!dtype) return Status::error("K1101", "unknown dtype of an input: " + name);
  input.dtype = to_scalar_type(*dtype);
  KILN_ASSIGN_OR_RETURN(const bool channels_last, json.bool_at("channels_last"));
  if (channels_last) input.format = c10::MemoryFormat::ChannelsLast;
  return input;
}

Result<ScriptCompileOptions> options_from(const Json& json) {
  ScriptCompileOptions options;
  KILN_ASSIGN_OR_RETURN(const int64_t threads, json.int_at("threads", 0, 4096));
  KILN_ASSIGN_OR_RETURN(options.build.strict, json.bool_at("strict"));
  KILN_ASSIGN_OR_RETURN(const int64_t block, json.int_at("min_block_size", 1, 1 << 20));
  KILN_ASSIGN_OR_RETURN(options.build.target, json.string_at("target"));
  KILN_ASSIGN_OR_RETURN(const auto precisions, json.strings_at("precisions"));
  KILN_ASSIGN_OR_RETURN(options.torch_executed_ops, json.strings_at("torch_executed_ops"));
  KILN_ASSIGN_OR_RETURN(options.torch_executed_modules, json.strings_at("torch_executed_modules"));
  options.build.threads = static_cast<int>(threads);
  options.build.min_block_size = static_cast<int>(block);
  for (const std::string& name : precisions) {
    if (const auto dtype = dtype_from_name(name)) options.build.precisions.push_back(*dtype);
  }
  return options;
}

Result<torch::jit::Module> read_module(const Json& json, const std::string& path) {
  KILN_ASSIGN_OR_RETURN(const auto libraries, json.strings_at("custom_ops"));
  for (const std::string& library : libraries) {
    if (dlopen(library.c_str(), RTLD_NOW | RTLD_GLOBAL) == nullptr) {
      return Status::error("K3001", std::string("cannot open: ") + dlerror());
    }
  }
  try {
    torch::jit::Module module = torch::jit::load(path, c10::Device(c10::kCPU));
    module.eval();
    return module;
  } catch (const c10::Error& error) {
    return Status::error("K3122", "torch cannot read the TorchScript module: " + path + ": " +
                                      std::string(error.what_without_backtrace()).substr(0, 300));
  }
}

Result<Json> answer(const Json& json) {
  KILN_ASSIGN_OR_RETURN(const std::string path, json.string_at("model"));
  KILN_ASSIGN_OR_RETURN(const std::string output, json.string_at("output"));
  KILN_ASSIGN_OR_RETURN(const std::string method, json.string_at("method"));
  KILN_ASSIGN_OR_RETURN(const std::string form, json.string_at("form"));
  KILN_ASSIGN_OR_RETURN(const bool embed, json.bool_at("embed"));
  Json result = Json::object();
  if (embed) {
    KILN_ASSIGN_OR_RETURN(const torch::jit::Module embedded, load_script_module(path));
    const auto program = find_script_program(embedded);
    KILN_RETURN_IF_ERROR(program.status());
    KILN_ASSIGN_OR_RETURN(Json report,
                          parse_json(program.value().program->runner().program().report_json()));
    embedded.save(output);
    result.set("report", std::move(report));
    return result;
  }
  KILN_ASSIGN_OR_RETURN(const torch::jit::Module module, read_module(json, path));
  if (output.empty()) {
    if (!module.find_method(method)) {
      return Status::error("K1101", "the module has no such method: " + method);
    }
    result.set("supported", torch_tensorrt::ts::check_method_operator_support(module, method));
    return result;
  }
  std::vector<ScriptInput> inputs;
  KILN_ASSIGN_OR_RETURN(const Json::Array* given, json.array_at("inputs"));
  for (const Json& item : *given) {
    KILN_ASSIGN_OR_RETURN(ScriptInput input, input_from(item));
    inputs.push_back(std::move(input));
  }
  KILN_ASSIGN_OR_RETURN(const ScriptCompileOptions options, options_from(json));
  KILN_ASSIGN_OR_RETURN(CompiledMethod compiled, compile_method(module, method, inputs, options));
  KILN_ASSIGN_OR_RETURN(Json report, parse_json(compiled.program->report_json()));
  if (form == "ts") {
    KILN_ASSIGN_OR_RETURN(const torch::jit::Module saved,
                          module_of(std::move(compiled), options.build.threads));
    saved.save(output);
  } else {
    KILN_RETURN_IF_ERROR(compiled.program->save(output));
  }
  result.set("report", std::move(report));
  return result;
}

}  // namespace
}  // namespace kiln::torchscript

extern "C" char* kiln_compile_torchscript(const char* request) {
  const auto body = [&]() -> kiln::Result<kiln::Json> {
    KILN_ASSIGN_OR_RETURN(const kiln::Json json, kiln::parse_json(request));
    return kiln::torchscript::answer(json);
  };
  kiln::Json reply = kiln::Json::object();
  kiln::Status status;
  try {
    kiln::Result<kiln::Json> result = kiln::guarded(body);
    if (result.ok()) reply = std::move(result).value();
    status = result.status();
  } catch (const std::exception& error) {
    status = kiln::Status::error("K9002", error.what());
  }
  if (!status.ok()) {
    kiln::Json error = kiln::Json::object();
    error.set("code", status.code());
    error.set("message", status.message());
    error.set("hint", status.hint());
    reply = kiln::Json::object();
    reply.set("error", std::move(error));
  }
  return strdup(reply.dump().c_str());
}

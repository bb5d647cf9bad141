#include "torch/torchscript/compile_file.h"

#include <ATen/ATen.h>
#include <dlfcn.h>
#include <torch/csrc/jit/serialization/export.h>
#include <torch/csrc/jit/serialization/import.h>

#include <cstdio>
#include <cstring>
#include <sstream>
#include <string>

#include <kiln/torch.h>

#include "base/border.h"
#include "base/file.h"
#include "base/json.h"
#include "core/dtype.h"
#include "torch/dtype_conversion.h"
#include "torch/exception_text.h"
#include "torch/script_module.h"
#include "torch/torchscript/compile_module.h"
#include "torch/torchscript/operator_support.h"
#include "torch/torchscript/values.h"

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
  KILN_ASSIGN_OR_RETURN(const int64_t device, json.int_at("device_index", 0, 1 << 10));
  KILN_ASSIGN_OR_RETURN(options.build.allow_tf32, json.bool_at("allow_tf32"));
  KILN_ASSIGN_OR_RETURN(const auto precisions, json.strings_at("precisions"));
  KILN_ASSIGN_OR_RETURN(options.torch_executed_ops, json.strings_at("torch_executed_ops"));
  KILN_ASSIGN_OR_RETURN(options.torch_executed_modules, json.strings_at("torch_executed_modules"));
  options.build.threads = static_cast<int>(threads);
  options.build.min_block_size = static_cast<int>(block);
  options.build.device_index = static_cast<int>(device);
  for (const std::string& name : precisions) {
    if (const auto dtype = dtype_from_name(name)) options.build.precisions.push_back(*dtype);
  }
  return options;
}

// Gives the process torch's symbols, as in a program that is linked to torch: a library of
// operators may not name the libraries that it takes them from, and the tool opened torch for
// itself alone.
void share_torch() {
  for (const char* name :
       {"libc10.so", "libtorch_cpu.so", "libtorch.so", "libc10_cuda.so", "libtorch_cuda.so"}) {
    dlopen(name, RTLD_NOW | RTLD_NOLOAD | RTLD_GLOBAL);  // those that are there
  }
}

Result<torch::jit::Module> read_module(const Json& json, const std::string& path) {
  KILN_ASSIGN_OR_RETURN(const auto libraries, json.strings_at("custom_ops"));
  if (!libraries.empty()) share_torch();
  for (const std::string& library : libraries) {
    if (dlopen(library.c_str(), RTLD_NOW | RTLD_GLOBAL) == nullptr) {
      return Status::error("K3001", std::string("cannot open: ") + dlerror());
    }
  }
  try {
    torch::jit::Module module = torch::jit::load(path, c10::Device(c10::kCPU));
    module.eval();
    return module;
  } catch (const std::exception& error) {  // c10::Error, and ErrorReport of TorchScript's parser
    return Status::error("K3122", "torch cannot read the TorchScript module: " + path + ": " +
                                      text_of(error).substr(0, 300));
  }
}

void collect_tensors(const c10::IValue& value, std::vector<at::Tensor>& tensors) {
  for_each_tensor(value, [&](const at::Tensor& tensor) { tensors.push_back(tensor); });
}

// Runs the module and what was made of it on the same arguments, where there is a tolerance. K1042
// where a tensor of the results differs by more than atol + rtol * |the module's|.
Status compare(const torch::jit::Module& original, const std::string& method,
               const torch::jit::Module& made, const Arguments& arguments, const Json& tolerance) {
  if (tolerance.is_null()) return {};
  KILN_ASSIGN_OR_RETURN(const double atol, tolerance.double_at("atol"));
  KILN_ASSIGN_OR_RETURN(const double rtol, tolerance.double_at("rtol"));
  std::vector<at::Tensor> wanted, got;
  try {
    const at::NoGradGuard no_grad;
    // A run may write buffers, and constants of the code, which a copy would share.
    std::stringstream bytes;
    original.save(bytes);
    torch::jit::Module reference = torch::jit::load(bytes), program = made.deepcopy();
    const auto copies = [&] {
      std::vector<c10::IValue> values;
      for (const c10::IValue& value : arguments.values) values.push_back(value.deepcopy());
      return values;
    };
    const bool forward = method == "forward";  // with the module's hooks
    collect_tensors(forward ? reference(copies()) : reference.get_method(method)(copies()), wanted);
    collect_tensors(program(copies()), got);
  } catch (const std::exception& error) {
    return Status::error("K1042", "the results cannot be compared: " + text_of(error),
                         "leave --atol and --rtol out");
  }
  for (size_t i = 0; i < wanted.size(); ++i) {
    const at::Tensor &a = got.at(i), &b = wanted[i];
    if (a.sizes() == b.sizes() && a.scalar_type() == b.scalar_type() &&
        at::allclose(a, b, rtol, atol, /*equal_nan=*/true)) {
      continue;
    }
    std::string what = "output " + std::to_string(i) + " is not that of the module";
    if (a.sizes() == b.sizes() && a.numel() > 0 && !a.is_complex() && !b.is_complex()) {
      const at::Tensor difference = (a.to(at::kDouble) - b.to(at::kDouble)).abs().max();
      char text[32];
      std::snprintf(text, sizeof(text), "%.3g", difference.item<double>());
      what += std::string(": the largest difference is ") + text;
    }
    return Status::error("K1042", what, "--atol and --rtol say what may differ");
  }
  return {};
}

// Writes the module; a file that was there stays until the new one is whole. K3003, K3004.
Status save_module(const torch::jit::Module& module, const std::string& path) {
  KILN_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::create(path));
  Status written;
  // torch's writer ends the process when a write fails while it is destroyed, so it never hears of
  // it.
  const auto write = [&](const void* data, size_t size) {
    if (written.ok()) written = file.write(data, size);
    return size;
  };
  torch::jit::ExportModule(module, write);
  KILN_RETURN_IF_ERROR(std::move(written));
  return file.commit();
}

// The `.kiln` file as a module.
Result<Json> embed(const Json& json, const std::string& path, const std::string& output) {
  LoadOptions load;
  KILN_ASSIGN_OR_RETURN(const int64_t device, json.int_at("device_index", 0, 1 << 10));
  load.device_index = static_cast<int>(device);
  KILN_ASSIGN_OR_RETURN(const torch::jit::Module embedded, load_script_module(path, load));
  const auto program = find_script_program(embedded);
  KILN_RETURN_IF_ERROR(program.status());
  KILN_RETURN_IF_ERROR(save_module(embedded, output));
  return parse_json(program.value().program->runner().program().report_json());
}

// Compiles the method and writes it; its report.
Result<Json> compile_to_file(const Json& json, const torch::jit::Module& module,
                             const std::string& method, const std::string& output) {
  KILN_ASSIGN_OR_RETURN(const std::string form, json.string_at("form"));
  KILN_ASSIGN_OR_RETURN(const ScriptCompileOptions options, options_from(json));
  KILN_ASSIGN_OR_RETURN(const Json* tolerance, json.member("tolerance"));
  KILN_ASSIGN_OR_RETURN(const Json::Array* given, json.array_at("inputs"));
  KILN_ASSIGN_OR_RETURN(const Callee callee, callee_of(module, method));
  ArgumentBuilder builder(home_of(module));
  std::vector<c10::IValue> values;
  for (const Json& item : *given) {
    KILN_ASSIGN_OR_RETURN(const ScriptInput input, input_from(item));
    KILN_ASSIGN_OR_RETURN(at::Tensor example,
                          builder.example(input, std::to_string(values.size())));
    values.emplace_back(std::move(example));
  }
  KILN_ASSIGN_OR_RETURN(const Arguments arguments,
                        builder.finish(values, callee.function->getSchema()));
  if (form == "ts" && method == "forward") {
    KILN_ASSIGN_OR_RETURN(const CompiledModule compiled,
                          compile_module(module, arguments, options));
    KILN_RETURN_IF_ERROR(compare(module, method, compiled.module, arguments, *tolerance));
    KILN_RETURN_IF_ERROR(save_module(compiled.module, output));
    return compiled.report;
  }
  KILN_ASSIGN_OR_RETURN(const CompiledMethod compiled,
                        compile_method(module, method, arguments, options));
  if (form == "ts" || !tolerance->is_null()) {
    KILN_ASSIGN_OR_RETURN(const torch::jit::Module made, module_of(compiled, options));
    KILN_RETURN_IF_ERROR(compare(module, method, made, arguments, *tolerance));
    if (form == "ts") KILN_RETURN_IF_ERROR(save_module(made, output));
  }
  if (form != "ts") KILN_RETURN_IF_ERROR(compiled.program->save(output));
  return report_of(compiled);
}

Result<Json> answer(const Json& json) {
  KILN_ASSIGN_OR_RETURN(const std::string path, json.string_at("model"));
  KILN_ASSIGN_OR_RETURN(const std::string output, json.string_at("output"));
  KILN_ASSIGN_OR_RETURN(const std::string method, json.string_at("method"));
  KILN_ASSIGN_OR_RETURN(const bool embeds, json.bool_at("embed"));
  Json result = Json::object();
  if (embeds) {
    KILN_ASSIGN_OR_RETURN(Json report, embed(json, path, output));
    result.set("report", std::move(report));
    return result;
  }
  KILN_ASSIGN_OR_RETURN(const torch::jit::Module module, read_module(json, path));
  if (output.empty()) {
    KILN_ASSIGN_OR_RETURN(const auto missing, operators_without_rule(module, method));
    result.set("missing", Json(missing));
  } else {
    KILN_ASSIGN_OR_RETURN(Json report, compile_to_file(json, module, method, output));
    result.set("report", std::move(report));
  }
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
    status = kiln::Status::error("K9002", kiln::text_of(error));
  }
  if (!status.ok()) {
    kiln::Json error = kiln::Json::object();
    error.set("code", status.code());
    error.set("message", status.message());
    error.set("hint", status.hint());
    error.set("origin", kiln::Json(status.origin()));
    reply = kiln::Json::object();
    reply.set("error", std::move(error));
  }
  return strdup(reply.dump().c_str());
}

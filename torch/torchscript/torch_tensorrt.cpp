// The names of include/torch_tensorrt/torch_tensorrt.h.
#include <torch_tensorrt/torch_tensorrt.h>

#include <ATen/ATen.h>
#include <torch/csrc/jit/passes/inliner.h>

#include <algorithm>
#include <cstdio>
#include <set>

#include <kiln/capture.h>
#include <kiln/torch.h>
#include <kiln/version.h>

#include "torch/torchscript/compile_method.h"

namespace torch_tensorrt {
namespace {

[[noreturn]] void refuse(const char* name, const std::string& value, const char* hint) {
  const kiln::Status status = kiln::Status::error(
      "K1041",
      std::string("kiln cannot do what is asked of torch_tensorrt::") + name + ": " + value, hint);
  TORCH_CHECK(false, status.to_string());
}

template <typename T>
T taken(kiln::Result<T> result) {
  TORCH_CHECK(result.ok(), result.status().to_string());
  return std::move(result).value();
}

kiln::torchscript::ScriptInput script_input(const Input& input) {
  kiln::torchscript::ScriptInput result;
  result.min = input.min_shape;
  result.opt = input.opt_shape;
  result.max = input.max_shape;
  result.dtype = input.dtype.scalar_type();
  result.format = input.format == TensorFormat::kChannelsLast ? c10::MemoryFormat::ChannelsLast
                                                              : c10::MemoryFormat::Contiguous;
  return result;
}

std::string target_of(const std::optional<Device>& device, const torch::jit::Module& module,
                      int& index) {
  if (!device) {
    for (const at::Tensor& parameter : module.parameters()) {
      if (parameter.is_cuda()) {
        index = parameter.device().index();
        return "cuda";
      }
    }
    return "cpu";
  }
  if (device->device_type == Device::DeviceType::kDLA) {
    refuse("Device", "kDLA", "there is no DLA here; use kGPU or kCPU");
  }
  index = static_cast<int>(device->gpu_id);
  return device->device_type == Device::DeviceType::kGPU ? "cuda" : "cpu";
}

kiln::torchscript::CompiledMethod compiled(const torch::jit::Module& module,
                                           const std::string& method,
                                           const torchscript::CompileSpec& spec) {
  if (spec.capability != EngineCapability::kSTANDARD) {
    refuse("CompileSpec::capability", "not kSTANDARD", "leave it out");
  }
  kiln::torchscript::ScriptCompileOptions options;
  options.build.strict = spec.require_full_compilation;
  options.build.min_block_size = static_cast<int>(spec.min_block_size);
  options.build.allow_tf32 = !spec.disable_tf32;
  options.build.target = target_of(spec.device, module, options.build.device_index);
  for (const DataType type : spec.enabled_precisions) {
    if (type == DataType::kHalf) options.build.precisions.push_back(kiln::DType::kF16);
    if (type == DataType::kBFloat16) options.build.precisions.push_back(kiln::DType::kBF16);
    if (type == DataType::kChar) {
      refuse("CompileSpec::enabled_precisions", "kChar", "kiln lowers float32 to kHalf");
    }
  }
  options.torch_executed_ops = spec.torch_executed_ops;
  options.torch_executed_modules = spec.torch_executed_modules;
  std::vector<kiln::torchscript::ScriptInput> inputs;
  for (const Input& input : spec.graph_inputs.inputs) inputs.push_back(script_input(input));
  return taken(kiln::torchscript::compile_method(module, method, inputs, options));
}

bool holds_tensors(at::ArrayRef<torch::jit::Value*> values) {
  return std::any_of(values.begin(), values.end(), [](const torch::jit::Value* value) {
    return value->type()->str().find("Tensor") != std::string::npos;
  });
}

// Numbers and decisions that need the elements of a tensor.
bool reads_elements(torch::jit::Node* node) {
  static const std::set<std::string> kReads = {
      "aten::item",        "aten::Int",           "aten::Float",          "aten::Bool",
      "aten::IntImplicit", "aten::FloatImplicit", "aten::ScalarImplicit", "aten::is_nonzero",
      "aten::tolist",      "prim::tolist",        "aten::equal",          "aten::allclose"};
  return kReads.contains(node->kind().toQualString()) && holds_tensors(node->inputs());
}

void collect_missing(torch::jit::Block* block, const std::set<std::string>& known,
                     std::set<std::string>& missing) {
  for (torch::jit::Node* node : block->nodes()) {
    for (torch::jit::Block* inner : node->blocks()) collect_missing(inner, known, missing);
    const std::string kind = node->kind().toQualString();
    if (reads_elements(node)) missing.insert(kind);
    if (kind.starts_with("prim::") || !holds_tensors(node->outputs())) continue;
    const std::string functional = kind.ends_with("_") ? kind.substr(0, kind.size() - 1) : kind;
    if (!known.contains(kind) && !known.contains(functional)) missing.insert(kind);
  }
}

}  // namespace

DataType::DataType(c10::ScalarType type) {
  switch (type) {
    case c10::ScalarType::Long: value_ = kLong; break;
    case c10::ScalarType::Double: value_ = kDouble; break;
    case c10::ScalarType::Float: value_ = kFloat; break;
    case c10::ScalarType::Half: value_ = kHalf; break;
    case c10::ScalarType::BFloat16: value_ = kBFloat16; break;
    case c10::ScalarType::Char: value_ = kChar; break;
    case c10::ScalarType::Int: value_ = kInt; break;
    case c10::ScalarType::Bool: value_ = kBool; break;
    default: value_ = kUnknown;
  }
}

c10::ScalarType DataType::scalar_type() const {
  switch (value_) {
    case kLong: return c10::ScalarType::Long;
    case kDouble: return c10::ScalarType::Double;
    case kFloat: return c10::ScalarType::Float;
    case kHalf: return c10::ScalarType::Half;
    case kBFloat16: return c10::ScalarType::BFloat16;
    case kChar: return c10::ScalarType::Char;
    case kInt: return c10::ScalarType::Int;
    case kBool: return c10::ScalarType::Bool;
    case kUnknown: break;
  }
  refuse("DataType", "kUnknown", "give the input a dtype");
}

TensorFormat::TensorFormat(c10::MemoryFormat format)
    : value_(format == c10::MemoryFormat::Contiguous     ? kContiguous
             : format == c10::MemoryFormat::ChannelsLast ? kChannelsLast
                                                         : kUnknown) {}

Input::Input(const at::Tensor& example)
    : Input(example.sizes().vec(), DataType(example.scalar_type()),
            TensorFormat(example.suggest_memory_format())) {}

namespace torchscript {

bool check_method_operator_support(const torch::jit::Module& module, std::string method_name) {
  const auto graph = module.get_method(method_name).graph()->copy();
  torch::jit::Inline(*graph);
  std::set<std::string> known, missing;
  for (const std::string& schema : kiln::import_rule_schemas()) {
    known.insert(schema.substr(0, schema.find_first_of(".(")));
  }
  collect_missing(graph->block(), known, missing);
  if (!missing.empty()) std::puts("These operators stay in PyTorch:");
  for (const std::string& name : missing) std::printf("  %s\n", name.c_str());
  return missing.empty();
}

torch::jit::Module compile(const torch::jit::Module& module, CompileSpec info) {
  return taken(kiln::torchscript::module_of(compiled(module, "forward", info), 0));
}

std::string convert_method_to_trt_engine(const torch::jit::Module& module, std::string method_name,
                                         CompileSpec info) {
  return taken(compiled(module, method_name, info).program->serialize());
}

torch::jit::Module embed_engine_in_new_module(
    const std::string& engine, Device device, const std::vector<std::string>& input_binding_names,
    const std::vector<std::string>& output_binding_names) {
  if (!input_binding_names.empty() || !output_binding_names.empty()) {
    refuse("embed_engine_in_new_module", "names of bindings",
           "a .kiln file knows the names and the order of its arguments and results");
  }
  kiln::LoadOptions options;
  options.device_index = static_cast<int>(device.gpu_id);
  return taken(kiln::script_module_from_bytes(engine, options));
}

}  // namespace torchscript

std::string get_build_info() { return std::string("Kiln ") + KILN_VERSION; }
void dump_build_info() { std::puts(get_build_info().c_str()); }

}  // namespace torch_tensorrt

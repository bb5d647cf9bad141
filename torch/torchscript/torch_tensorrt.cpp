// The names of include/torch_tensorrt/torch_tensorrt.h.
#include <torch_tensorrt/torch_tensorrt.h>

#include <ATen/ATen.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/version.h>

#include <algorithm>
#include <cstdio>

#include <kiln/torch.h>
#include <kiln/version.h>
#include <torch_tensorrt/logging.h>

#include "torch/torchscript/compile_module.h"
#include "torch/torchscript/operator_support.h"

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

namespace kts = kiln::torchscript;

// Makes IValues of Inputs possible.
const auto kInputClass = torch::class_<Input>("torch_tensorrt", "Input");

kts::ScriptInput script_input(const Input& input) {
  kts::ScriptInput result;
  result.min = input.min_shape;
  result.opt = input.opt_shape;
  result.max = input.max_shape;
  result.dtype = input.dtype.scalar_type();
  if (input.format == TensorFormat::kUnknown) {
    refuse("Input::format", "kUnknown", "kContiguous or kChannelsLast");
  }
  if (input.format == TensorFormat::kChannelsLast) result.format = c10::MemoryFormat::ChannelsLast;
  if (input.tensor_domain.size() != 2) {
    refuse("Input::tensor_domain", std::to_string(input.tensor_domain.size()) + " numbers",
           "two: the lower bound and the upper one");
  }
  result.domain = {input.tensor_domain[0], input.tensor_domain[1]};
  return result;
}

// `value` with a tensor in place of each Input.
c10::IValue with_examples(const c10::IValue& value, const std::string& name,
                          kts::ArgumentBuilder& builder) {
  if (value.isCustomClass()) {
    return taken(builder.example(script_input(*value.toCustomClass<Input>()), name));
  }
  const auto inner = [&](const c10::IValue& item, size_t index) {
    return with_examples(item, name + "." + std::to_string(index), builder);
  };
  if (value.isTuple()) {
    std::vector<c10::IValue> items;
    for (const c10::IValue& item : value.toTupleRef().elements()) {
      items.push_back(inner(item, items.size()));
    }
    return c10::ivalue::Tuple::create(std::move(items));
  }
  if (value.isList()) {
    c10::impl::GenericList items(c10::AnyType::get());
    for (const c10::IValue& item : value.toListRef()) items.push_back(inner(item, items.size()));
    return items;
  }
  if (value.isGenericDict()) {
    const auto given = value.toGenericDict();
    c10::impl::GenericDict items(given.keyType(), c10::AnyType::get());
    for (const auto& entry : given) items.insert(entry.key(), inner(entry.value(), items.size()));
    return items;
  }
  return value;
}

// The arguments of a call by position.
std::vector<c10::IValue> values_of(const GraphInputs& inputs, kts::ArgumentBuilder& builder) {
  std::vector<c10::IValue> values;
  if (!inputs.inputs.empty()) {
    for (const Input& input : inputs.inputs) {
      values.emplace_back(
          taken(builder.example(script_input(input), std::to_string(values.size()))));
    }
    return values;
  }
  const c10::IValue& signature = inputs.input_signature;
  if (signature.isNone()) return values;
  if (!signature.isTuple() && !signature.isList()) return {with_examples(signature, "0", builder)};
  const std::vector<c10::IValue> given =
      signature.isTuple() ? signature.toTupleRef().elements().vec() : signature.toListRef().vec();
  for (const c10::IValue& item : given) {
    values.push_back(with_examples(item, std::to_string(values.size()), builder));
  }
  return values;
}

std::string target_of(const Device& device, const torch::jit::Module& module, int& index) {
  using DeviceType = Device::DeviceType;
  index = static_cast<int>(std::max<int64_t>(device.gpu_id, 0));
  switch (device.device_type) {
    case DeviceType::kGPU: return "cuda";
    case DeviceType::kCPU: return "cpu";
    case DeviceType::kDLA: refuse("Device", "kDLA", "there is no DLA here; use kGPU or kCPU");
    case DeviceType::kModule: break;
  }
  if (device.gpu_id >= 0) return "cuda";
  const c10::Device home = kts::home_of(module);
  if (!home.is_cuda()) return "cpu";
  index = home.index();
  return "cuda";
}

kts::ScriptCompileOptions options_of(const torch::jit::Module& module,
                                     const torchscript::CompileSpec& spec) {
  if (spec.capability != EngineCapability::kSTANDARD) {
    refuse("CompileSpec::capability", "not kSTANDARD", "leave it out");
  }
  kts::ScriptCompileOptions options;
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
  return options;
}

kts::Arguments arguments_of(const torch::jit::Module& module, const std::string& method,
                            const torchscript::CompileSpec& spec) {
  const kts::Callee callee = taken(kts::callee_of(module, method));
  kts::ArgumentBuilder builder(kts::home_of(module));
  const std::vector<c10::IValue> values = values_of(spec.graph_inputs, builder);
  return taken(builder.finish(values, callee.function->getSchema()));
}

void log_compiled(const kts::CompiledModule& compiled) {
  const auto number = [&](const char* name) {
    return std::to_string(taken(compiled.report.int_at(name)));
  };
  for (const auto& [path, why] : compiled.kept) {
    logging::log(logging::kWARNING,
                 "stays in TorchScript: " + (path.empty() ? "(root)" : path) + ": " + why);
  }
  logging::log(logging::kINFO, "compiled: " + number("ops_native") + " of " + number("ops_total") +
                                   " operators in Kiln, the others in PyTorch");
  for (const std::string& ir : compiled.irs) logging::log(logging::kGRAPH, ir);
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

Device::DeviceType::DeviceType(c10::DeviceType type) : value_(type == c10::kCPU ? kCPU : kGPU) {
  if (type != c10::kCPU && type != c10::kCUDA) {
    refuse("Device::DeviceType", c10::DeviceTypeName(type), "c10::kCUDA or c10::kCPU");
  }
}

Input::Input(Sizes smallest, Sizes usual, Sizes largest, DataType type, Domain domain,
             TensorFormat layout)
    : min_shape(std::move(smallest)),
      opt_shape(std::move(usual)),
      max_shape(std::move(largest)),
      dtype(type),
      format(layout),
      tensor_domain(std::move(domain)) {
  // Sizes out of order, and ranks that differ, are an error when the Input is used.
  for (size_t d = 0; d < opt_shape.size(); ++d) {
    const bool fixed = d < min_shape.size() && d < max_shape.size() && min_shape[d] == max_shape[d];
    shape.push_back(fixed ? opt_shape[d] : -1);
  }
}

Input::Input(const at::Tensor& example)
    : Input(example.sizes().vec(), DataType(example.scalar_type()),
            TensorFormat(example.suggest_memory_format())) {}

namespace torchscript {

bool check_method_operator_support(const torch::jit::Module& module, std::string method_name) {
  const auto missing = taken(kts::operators_without_rule(module, method_name));
  if (!missing.empty()) std::puts("These operators stay in PyTorch:");
  for (const std::string& name : missing) std::printf("  %s\n", name.c_str());
  return missing.empty();
}

torch::jit::Module compile(const torch::jit::Module& module, CompileSpec info) {
  const kts::ScriptCompileOptions options = options_of(module, info);
  const kts::Arguments arguments = arguments_of(module, "forward", info);
  const kts::CompiledModule compiled = taken(kts::compile_module(module, arguments, options));
  log_compiled(compiled);
  return compiled.module;
}

std::string convert_method_to_trt_engine(const torch::jit::Module& module, std::string method_name,
                                         CompileSpec info) {
  const kts::ScriptCompileOptions options = options_of(module, info);
  const kts::Arguments arguments = arguments_of(module, method_name, info);
  return taken(
      taken(kts::compile_method(module, method_name, arguments, options)).program->serialize());
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

std::string get_build_info() {
  return std::string("Kiln ") + KILN_VERSION + "\nPyTorch " + TORCH_VERSION;
}
void dump_build_info() { std::puts(get_build_info().c_str()); }

void set_device(int gpu_id) {
  const bool there = c10::impl::hasDeviceGuardImpl(c10::kCUDA) && gpu_id >= 0 &&
                     gpu_id < c10::impl::getDeviceGuardImpl(c10::kCUDA)->deviceCount();
  if (!there) refuse("set_device", std::to_string(gpu_id), "PyTorch sees no GPU of this number");
  c10::impl::getDeviceGuardImpl(c10::kCUDA)
      ->setDevice({c10::kCUDA, static_cast<c10::DeviceIndex>(gpu_id)});
}

}  // namespace torch_tensorrt

// Torch-TensorRT's C++ interface to TorchScript, over Kiln. Links libkiln_torch_compile.
//
// The names and defaults are Torch-TensorRT's, so that a program only has to be built and linked
// again. What cannot be had throws a c10::Error whose text begins with Kiln's code and says what to
// use instead; docs/coming_from_torch_tensorrt.md speaks of each setting.
#pragma once

#include <c10/util/ArrayRef.h>
#include <torch/csrc/jit/api/module.h>

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace torch_tensorrt {

class DataType {
 public:
  enum Value : int8_t { kLong, kDouble, kFloat, kHalf, kBFloat16, kChar, kInt, kBool, kUnknown };
  DataType() = default;
  constexpr DataType(Value value) : value_(value) {}   // NOLINT(google-explicit-constructor)
  DataType(c10::ScalarType type);                      // NOLINT(google-explicit-constructor)
  constexpr operator Value() const { return value_; }  // NOLINT(google-explicit-constructor)
  explicit operator bool() = delete;
  bool operator<(const DataType& other) const { return value_ < other.value_; }
  // K1041 for kUnknown.
  c10::ScalarType scalar_type() const;

 private:
  Value value_ = kUnknown;
};

class TensorFormat {
 public:
  enum Value : int8_t { kContiguous, kChannelsLast, kUnknown };
  TensorFormat() = default;
  constexpr TensorFormat(Value value) : value_(value) {}  // NOLINT(google-explicit-constructor)
  TensorFormat(c10::MemoryFormat format);                 // NOLINT(google-explicit-constructor)
  constexpr operator Value() const { return value_; }     // NOLINT(google-explicit-constructor)
  explicit operator bool() = delete;

 private:
  Value value_ = kContiguous;
};

enum class EngineCapability : int8_t { kSTANDARD, kSAFETY, kDLA_STANDALONE };

struct Device {
  // kCPU is Kiln's own: Torch-TensorRT has no name for it.
  enum class DeviceType : int8_t { kGPU, kDLA, kCPU };
  DeviceType device_type = DeviceType::kGPU;
  int64_t gpu_id = 0;
  int64_t dla_core = 0;
  bool allow_gpu_fallback = false;

  Device() = default;
  explicit Device(DeviceType type) : device_type(type) {}
  Device(DeviceType type, int64_t id) : device_type(type), gpu_id(id) {}
};

// A tensor argument: a shape, or the smallest, usual and largest one. Without a dtype: float32.
// Memory formats are PyTorch's.
struct Input {
  std::vector<int64_t> min_shape, opt_shape, max_shape;
  std::vector<int64_t> shape;  // of a fixed one
  DataType dtype = DataType::kFloat;
  TensorFormat format = TensorFormat::kContiguous;
  bool input_is_dynamic = false;

  Input() = default;
  Input(std::vector<int64_t> fixed,  // NOLINT(google-explicit-constructor)
        DataType type = DataType::kFloat, TensorFormat layout = TensorFormat::kContiguous)
      : min_shape(fixed),
        opt_shape(fixed),
        max_shape(fixed),
        shape(std::move(fixed)),
        dtype(type),
        format(layout) {}
  // A template, so that Input({1, 3, 8, 8}) has one meaning.
  template <typename Sizes, typename = std::enable_if_t<std::is_same_v<Sizes, c10::IntArrayRef>>>
  Input(Sizes fixed,  // NOLINT(google-explicit-constructor)
        DataType type = DataType::kFloat, TensorFormat layout = TensorFormat::kContiguous)
      : Input(fixed.vec(), type, layout) {}
  Input(std::vector<int64_t> smallest, std::vector<int64_t> usual, std::vector<int64_t> largest,
        DataType type = DataType::kFloat, TensorFormat layout = TensorFormat::kContiguous)
      : min_shape(std::move(smallest)),
        opt_shape(std::move(usual)),
        max_shape(std::move(largest)),
        dtype(type),
        format(layout),
        input_is_dynamic(true) {}
  // Shape, dtype and memory format of a tensor.
  Input(const at::Tensor& example);  // NOLINT(google-explicit-constructor)
};

struct GraphInputs {
  std::vector<Input> inputs;
};

namespace torchscript {

struct CompileSpec {
  explicit CompileSpec(std::vector<Input> inputs) { graph_inputs.inputs = std::move(inputs); }
  explicit CompileSpec(const std::vector<std::vector<int64_t>>& shapes) {
    for (const auto& shape : shapes) graph_inputs.inputs.emplace_back(shape);
  }

  GraphInputs graph_inputs;
  // A permission, as in TensorRT: float32 is lowered to a 16-bit dtype of the set.
  std::set<DataType> enabled_precisions = {DataType::kFloat};
  // Not given: where the parameters of the module are.
  std::optional<Device> device;
  bool require_full_compilation = false;
  uint64_t min_block_size = 3;
  std::vector<std::string> torch_executed_ops;
  std::vector<std::string> torch_executed_modules;            // paths
  EngineCapability capability = EngineCapability::kSTANDARD;  // the others throw K1041
  bool disable_tf32 = false;
  // The following change nothing that the caller could see.
  bool sparse_weights = false;
  bool refit = false;
  bool debug = false;
  bool truncate_long_and_double = false;
  bool allow_shape_tensors = false;
  uint64_t num_avg_timing_iters = 1;
  uint64_t workspace_size = 0;
  uint64_t dla_sram_size = 1048576;
  uint64_t dla_local_dram_size = 1073741824;
  uint64_t dla_global_dram_size = 536870912;
};

// Whether Kiln has a rule for every operator on tensors of the method; prints the others.
bool check_method_operator_support(const torch::jit::Module& module, std::string method_name);
// `forward` compiled: a module with the same arguments and results, which torch::jit::Module::save
// writes and torch::jit::load runs in a process with libkiln_torch. K1041, K1145 and the
// compiler's.
torch::jit::Module compile(const torch::jit::Module& module, CompileSpec info);
// The bytes of a `.kiln` file. As compile().
std::string convert_method_to_trt_engine(const torch::jit::Module& module, std::string method_name,
                                         CompileSpec info);
// Such bytes as a module. A file knows the names and order of its arguments and results: names
// throw K1041.
torch::jit::Module embed_engine_in_new_module(
    const std::string& engine, Device device,
    const std::vector<std::string>& input_binding_names = {},
    const std::vector<std::string>& output_binding_names = {});

}  // namespace torchscript
namespace ts = torchscript;

// Kiln's version.
std::string get_build_info();
void dump_build_info();

}  // namespace torch_tensorrt

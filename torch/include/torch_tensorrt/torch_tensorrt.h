// Torch-TensorRT's C++ interface to TorchScript, over Kiln. Links libkiln_torch_compile.
//
// The names and defaults are Torch-TensorRT's, so that a program only has to be built and linked
// again. What cannot be had throws a c10::Error whose text begins with Kiln's code and says what to
// use instead; docs/coming_from_torch_tensorrt.md speaks of each setting.
#pragma once

#include <c10/util/ArrayRef.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/custom_class.h>

#include <cstdint>
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

template <typename T>
using IfSizes = std::enable_if_t<std::is_same_v<T, c10::IntArrayRef>>;

struct Device {
  class DeviceType {
   public:
    // Kiln's own beside Torch-TensorRT's: kCPU, and kModule, the device of the module's parameters.
    enum Value : int8_t { kGPU, kDLA, kCPU, kModule };
    DeviceType() = default;
    constexpr DeviceType(Value value) : value_(value) {}  // NOLINT(google-explicit-constructor)
    // K1041 for what is neither c10::kCUDA nor c10::kCPU.
    DeviceType(c10::DeviceType type);                    // NOLINT(google-explicit-constructor)
    constexpr operator Value() const { return value_; }  // NOLINT(google-explicit-constructor)
    explicit operator bool() = delete;

   private:
    Value value_ = kGPU;
  };

  DeviceType device_type = DeviceType::kGPU;
  int64_t gpu_id = 0;
  int64_t dla_core = 0;
  bool allow_gpu_fallback = false;  // it only speaks to a DLA, which throws

  Device() = default;
  explicit Device(DeviceType type, int64_t id = 0) : device_type(type), gpu_id(id) {}
};

// A tensor argument: a shape, or the smallest, usual and largest one. Without a dtype: float32.
// Memory formats are PyTorch's. `tensor_domain` bounds the values [low, high) of examples, on which
// a module runs that can only be compiled in parts.
struct Input : torch::CustomClassHolder {
  using Sizes = std::vector<int64_t>;
  using Domain = std::vector<double>;

  Sizes min_shape, opt_shape, max_shape;
  Sizes shape;  // of a fixed one; else -1 for each size with a range
  DataType dtype = DataType::kFloat;
  TensorFormat format = TensorFormat::kContiguous;
  Domain tensor_domain = {0, 2};

  Input() = default;
  Input(Sizes fixed,  // NOLINT(google-explicit-constructor)
        TensorFormat layout = TensorFormat::kContiguous)
      : Input(std::move(fixed), DataType::kFloat, {0, 2}, layout) {}
  Input(Sizes fixed, Domain domain, TensorFormat layout = TensorFormat::kContiguous)
      : Input(std::move(fixed), DataType::kFloat, std::move(domain), layout) {}
  Input(Sizes fixed, DataType type, TensorFormat layout = TensorFormat::kContiguous)
      : Input(std::move(fixed), type, {0, 2}, layout) {}
  Input(Sizes fixed, DataType type, Domain domain, TensorFormat layout = TensorFormat::kContiguous)
      : min_shape(fixed),
        opt_shape(fixed),
        max_shape(fixed),
        shape(std::move(fixed)),
        dtype(type),
        format(layout),
        tensor_domain(std::move(domain)) {}
  Input(Sizes smallest, Sizes usual, Sizes largest, TensorFormat layout = TensorFormat::kContiguous)
      : Input(std::move(smallest), std::move(usual), std::move(largest), DataType::kFloat, {0, 2},
              layout) {}
  Input(Sizes smallest, Sizes usual, Sizes largest, Domain domain,
        TensorFormat layout = TensorFormat::kContiguous)
      : Input(std::move(smallest), std::move(usual), std::move(largest), DataType::kFloat,
              std::move(domain), layout) {}
  Input(Sizes smallest, Sizes usual, Sizes largest, DataType type,
        TensorFormat layout = TensorFormat::kContiguous)
      : Input(std::move(smallest), std::move(usual), std::move(largest), type, {0, 2}, layout) {}
  Input(Sizes smallest, Sizes usual, Sizes largest, DataType type, Domain domain,
        TensorFormat layout = TensorFormat::kContiguous);
  // The same of what tensor.sizes() gives. Templates, so that Input({1, 3, 8, 8}) has one meaning.
  template <typename Ref, typename... Rest, typename = IfSizes<Ref>>
  Input(Ref fixed, Rest... rest)  // NOLINT(google-explicit-constructor)
      : Input(fixed.vec(), rest...) {}
  template <typename Ref, typename... Rest, typename = IfSizes<Ref>>
  Input(Ref smallest, Ref usual, Ref largest, Rest... rest)
      : Input(smallest.vec(), usual.vec(), largest.vec(), rest...) {}
  // Shape, dtype and memory format of a tensor.
  Input(const at::Tensor& example);  // NOLINT(google-explicit-constructor)
};

// All arguments by position: flat, or nested as the method takes them. The signature is a tuple or
// list of arguments, or one argument; its leaves are Inputs (c10::make_intrusive<Input>), tensors,
// which stand for what they are like, and plain values, which are fixed. It counts where `inputs`
// is empty.
struct GraphInputs {
  torch::jit::IValue input_signature;
  std::vector<Input> inputs;
};

namespace torchscript {

struct CompileSpec {
  CompileSpec(std::vector<Input> inputs) {  // NOLINT(google-explicit-constructor)
    graph_inputs.inputs = std::move(inputs);
  }
  CompileSpec(const std::vector<std::vector<int64_t>>& shapes) {  // NOLINT
    for (const auto& shape : shapes) graph_inputs.inputs.emplace_back(shape);
  }
  CompileSpec(const std::vector<c10::ArrayRef<int64_t>>& shapes) {  // NOLINT
    for (const auto& shape : shapes) graph_inputs.inputs.emplace_back(shape);
  }
  // The signature. A template, so that nothing else becomes an IValue on the way here.
  template <typename T, typename = std::enable_if_t<std::is_same_v<T, torch::jit::IValue>>>
  CompileSpec(T input_signature) {  // NOLINT(google-explicit-constructor)
    graph_inputs.input_signature = std::move(input_signature);
  }

  GraphInputs graph_inputs;
  // A permission, as in TensorRT: float32 is lowered to a 16-bit dtype of the set.
  std::set<DataType> enabled_precisions = {DataType::kFloat};
  // Torch-TensorRT's default is GPU 0. A gpu_id alone means that GPU.
  Device device{Device::DeviceType::kModule, -1};
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
// writes and torch::jit::load runs in a process with libkiln_torch. Where something in it cannot be
// compiled, its method stays in TorchScript and the submodules that it calls are compiled, unless
// require_full_compilation is set; a line of the log at kWARNING says which stays and why.
// K1041, K1101 for inputs that do not fit, K1145, K1146 and the compiler's.
torch::jit::Module compile(const torch::jit::Module& module, CompileSpec info);
// The bytes of a `.kiln` file that does what the method does, all of it (K1145). As compile().
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

// Lines "NAME VERSION": Kiln, PyTorch.
std::string get_build_info();
void dump_build_info();  // on standard output

// Makes a GPU the current one of the calling thread, as cudaSetDevice does. K1041 where PyTorch has
// no such GPU.
void set_device(int gpu_id);

}  // namespace torch_tensorrt

namespace torchtrt = torch_tensorrt;  // NOLINT(misc-unused-alias-decls)

// One op's sample as a program on any backend and device, for tests.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "base/check.h"
#include "builder/phases.h"
#include "ops/sample_data.h"
#include "runtime/device_runtime.h"
#include "runtime/engine.h"
#include "runtime/execution.h"

namespace kiln {

// How the inputs lie in memory.
enum class InputForm : uint8_t {
  kContiguous,
  kReversed,  // dims stored in reverse order: the program is captured so, nothing is copied
  kGaps,      // every other element along the last dim of a larger tensor
  kWeights    // all but the first operand are weights, where their shapes are concrete
};

// A tensor in memory of its own, dense in any order of dims; on `device`, or the host's when null.
class PlacedTensor {
 public:
  PlacedTensor(const HostTensor& tensor, const std::vector<int>& order,
               DeviceRuntime* device = nullptr)
      : shape_(tensor.shape()), strides_(tensor.shape().size()), dtype_(tensor.dtype()) {
    const size_t rank = shape_.size();
    int64_t stride = 1;
    for (size_t i = rank; i-- > 0;) {
      const size_t dim = order.empty() ? i : static_cast<size_t>(order[i]);
      strides_[dim] = stride;
      stride *= shape_[dim];
    }
    const size_t size = dtype_bytes(dtype_);
    bytes_.resize(std::max<size_t>(1, tensor.num_bytes()));
    for (int64_t flat = 0; flat < tensor.num_elements(); ++flat) {
      std::memcpy(bytes_.data() + place(flat) * size,
                  tensor.bytes() + static_cast<size_t>(flat) * size, size);
    }
    if (device == nullptr) return;
    device_ = device->device();
    memory_ = device->allocate(kDeviceOffset + bytes_.size(), nullptr);
    KILN_CHECK(memory_ != nullptr);
    const Status copied = device->copy(data(), bytes_.data(), bytes_.size(), nullptr);
    KILN_CHECK_MSG(copied.ok(), copied.to_string());
  }

  TensorView view() {
    TensorView view;
    view.data = data();
    view.dtype = dtype_;
    view.device = device_;
    view.rank = static_cast<int>(shape_.size());
    view.shape = shape_.data();
    view.strides = strides_.data();
    return view;
  }
  // The bytes as they are on the device now.
  Status fetch(DeviceRuntime& device, std::byte* to, size_t bytes) {
    return device.copy(to, data(), bytes, nullptr);
  }

 private:
  // No more aligned than callers' tensors need to be.
  static constexpr size_t kDeviceOffset = 16;

  void* data() {
    return memory_ == nullptr ? bytes_.data()
                              : static_cast<std::byte*>(memory_.get()) + kDeviceOffset;
  }
  size_t place(int64_t flat) const {
    int64_t at = 0;
    for (size_t d = shape_.size(); d-- > 0;) {
      at += flat % shape_[d] * strides_[d];
      flat /= shape_[d];
    }
    return static_cast<size_t>(at);
  }

  std::vector<int64_t> shape_, strides_;
  DType dtype_;
  Device device_;
  std::vector<std::byte> bytes_;
  std::shared_ptr<void> memory_;
};

// A tensor whose elements 1, 3, 5, ... along the last dim are `tensor`, with junk between them.
inline HostTensor with_gaps(const HostTensor& tensor) {
  std::vector<int64_t> shape = tensor.shape();
  const int64_t inner = shape.back();
  shape.back() = 2 * inner + 1;
  HostTensor wide(tensor.dtype(), shape);
  // Any byte that is a valid bool and no valid index.
  if (wide.num_bytes() != 0) std::memset(wide.bytes(), 1, wide.num_bytes());
  const size_t size = dtype_bytes(tensor.dtype());
  for (int64_t flat = 0; flat < tensor.num_elements(); ++flat) {
    const int64_t to = flat / inner * (2 * inner + 1) + flat % inner * 2 + 1;
    std::memcpy(wide.bytes() + static_cast<size_t>(to) * size,
                tensor.bytes() + static_cast<size_t>(flat) * size, size);
  }
  return wide;
}

class SampleProgram {
 public:
  // Compiles one node of `op`. `weights` has the values for kWeights. Every symbol gets an input of
  // its own, so that symbols of attributes have a value too.
  static Result<std::unique_ptr<SampleProgram>> make(const OpDef& op, const OpSample& sample,
                                                     InputForm form, int threads,
                                                     std::unique_ptr<Backend> backend,
                                                     const SampleData* weights = nullptr) {
    KILN_ASSIGN_OR_RETURN(std::unique_ptr<SampleProgram> program,
                          lower(op, sample, form, std::move(backend), weights));
    KILN_RETURN_IF_ERROR(program->load(threads));
    return program;
  }
  // The two halves of it: to a plan, and to an engine on the plan's device.
  static Result<std::unique_ptr<SampleProgram>> lower(const OpDef& op, const OpSample& sample,
                                                      InputForm form,
                                                      std::unique_ptr<Backend> backend,
                                                      const SampleData* weights = nullptr) {
    std::unique_ptr<SampleProgram> program(new SampleProgram(form));
    program->build_.backend = std::move(backend);
    program->build_.module = std::make_unique<Module>();
    KILN_RETURN_IF_ERROR(program->add_node(op, sample));
    for (size_t i : program->weight_operands_) {
      program->weights_.push_back(*weights->operands[i]);
    }
    KILN_RETURN_IF_ERROR(kiln::verify(*program->build_.module));
    KILN_RETURN_IF_ERROR(run_lowering_phases(program->build_));
    return program;
  }
  // A program of any module, whose inputs are the operands of what it runs on.
  static Result<std::unique_ptr<SampleProgram>> lower(std::unique_ptr<Module> module,
                                                      std::vector<HostTensor> weights,
                                                      std::unique_ptr<Backend> backend) {
    std::unique_ptr<SampleProgram> program(new SampleProgram(InputForm::kContiguous));
    program->build_.backend = std::move(backend);
    program->build_.module = std::move(module);
    program->weights_ = std::move(weights);
    KILN_RETURN_IF_ERROR(kiln::verify(*program->build_.module));
    KILN_RETURN_IF_ERROR(run_lowering_phases(program->build_));
    return program;
  }
  Status load(int threads) {
    std::vector<WeightBytes> bytes;
    for (const HostTensor& weight : weights_) {
      bytes.push_back({weight.bytes(), weight.num_bytes(), nullptr});
    }
    EngineOptions options;
    options.threads = threads;
    KILN_ASSIGN_OR_RETURN(engine_, Engine::create(build_.plan, std::move(bytes), options));
    context_ = std::make_unique<ExecutionContext::Impl>(engine_);
    return {};
  }
  const EnginePlan& plan() const { return build_.plan; }
  // Another plan for the same inputs and outputs, for the next load().
  void set_plan(EnginePlan plan) { build_.plan = std::move(plan); }

  Result<std::vector<HostTensor>> run(const SampleData& data) {
    DeviceRuntime& device = engine_->device();
    DeviceRuntime* elsewhere = device.device().kind == DeviceKind::kCpu ? nullptr : &device;
    std::vector<PlacedTensor> placed;
    for (size_t i = 0; i < data.operands.size(); ++i) {
      if (!data.operands[i] || weight_operands_.contains(i)) continue;
      const HostTensor& tensor = *data.operands[i];
      if (form_ == InputForm::kGaps && tensor.rank() > 0) {
        placed.emplace_back(with_gaps(tensor), std::vector<int>(), elsewhere);
      } else {
        placed.emplace_back(tensor, build_.module->inputs[placed.size()].order, elsewhere);
      }
    }
    for (const std::string& symbol : symbol_inputs_) {
      placed.emplace_back(HostTensor(DType::kBool, {data.symbols.at(symbol)}), std::vector<int>(),
                          elsewhere);
    }
    std::vector<TensorView> inputs, views;
    for (PlacedTensor& tensor : placed) inputs.push_back(tensor.view());
    KILN_RETURN_IF_ERROR(context_->prepare(inputs));
    std::vector<HostTensor> outputs;
    for (const TensorSpec& spec : context_->output_specs()) {
      outputs.emplace_back(spec.dtype, spec.shape);
      // What a kernel leaves out must not look right by chance.
      if (outputs.back().num_bytes() == 0) continue;
      std::memset(outputs.back().bytes(), 0x5b, outputs.back().num_bytes());
      for (size_t k = 0; spec.dtype == DType::kBool && k < outputs.back().num_bytes(); ++k) {
        outputs.back().bytes()[k] = static_cast<std::byte>(k * 2654435761u >> 16 & 1);
      }
    }
    std::vector<PlacedTensor> results;
    for (const HostTensor& tensor : outputs) {
      results.emplace_back(tensor, std::vector<int>(), elsewhere);
    }
    for (PlacedTensor& tensor : results) views.push_back(tensor.view());
    KILN_RETURN_IF_ERROR(context_->run(inputs, views));
    KILN_RETURN_IF_ERROR(device.synchronize(nullptr));
    for (size_t i = 0; i < outputs.size(); ++i) {
      if (outputs[i].num_bytes() == 0) continue;
      KILN_RETURN_IF_ERROR(results[i].fetch(device, outputs[i].bytes(), outputs[i].num_bytes()));
    }
    return outputs;
  }

  // "gemm", "tile", ...: the steps of the main plan, in order.
  std::string steps() const {
    std::string text;
    for (const StepDesc& step : build_.plan.main.steps) {
      text += (text.empty() ? "" : " ") + step.kind;
    }
    return text;
  }
  bool has_weights() const { return !weight_operands_.empty(); }

 private:
  explicit SampleProgram(InputForm form) : form_(form) {}

  Status add_node(const OpDef& op, const OpSample& sample) {
    Module& module = *build_.module;
    std::set<std::string> symbols;
    std::vector<Value*> operands;
    for (size_t i = 0; i < sample.operands.size(); ++i) {
      if (!sample.operands[i]) {
        operands.push_back(nullptr);
        continue;
      }
      TensorType type = sample.operands[i]->tensor();
      for (const DimExpr& dim : type.shape) dim.collect_symbols(symbols);
      const int rank = type.rank();
      if (form_ == InputForm::kWeights && i > 0 && is_concrete(type.shape)) {
        Weight weight;
        weight.name = "w" + std::to_string(i);
        weight.type = type;
        operands.push_back(module.constant_for(module.add_weight(std::move(weight))));
        weight_operands_.insert(i);
        continue;
      }
      InputSpec spec;
      spec.name = "x" + std::to_string(i);
      Value* operand = nullptr;
      if (form_ == InputForm::kGaps && rank > 0) {
        const DimExpr size = type.shape.back();
        type.shape.back() = size * 2 + 1;
        Value* wide = module.main.add_input(type, spec.name);
        // Written so that the size is `size` again, not an expression that equals it.
        KILN_ASSIGN_OR_RETURN(
            Node * slice, module.main.create(OpRegistry::global().get("slice"), {wide},
                                             {{"axis", int64_t{rank - 1}},
                                              {"start", DimExpr(size.is_value(0) ? 0 : 1)},
                                              {"end", size * 2},
                                              {"step", DimExpr(2)}}));
        operand = slice->result();
      } else {
        operand = module.main.add_input(type, spec.name);
        if (form_ == InputForm::kReversed) {
          for (int d = rank; d-- > 0;) spec.order.push_back(d);
        }
      }
      operands.push_back(operand);
      module.inputs.push_back(std::move(spec));
    }
    KILN_ASSIGN_OR_RETURN(Node * node, module.main.create(op, std::move(operands), sample.attrs));
    for (int i = 0; i < node->num_results(); ++i) {
      module.main.add_output(node->result(i));
      module.outputs.emplace_back();
      module.outputs.back().name = "y" + std::to_string(i);
    }
    for (const auto& [field, attr] : sample.attrs) {
      if (const auto* dim = std::get_if<DimExpr>(&attr)) dim->collect_symbols(symbols);
      if (const auto* dims = std::get_if<std::vector<DimExpr>>(&attr)) {
        for (const DimExpr& dim : *dims) dim.collect_symbols(symbols);
      }
    }
    for (const std::string& symbol : symbols) {
      module.symbols[symbol] = DimRange{};
      module.main.add_input(Type(DType::kBool, {DimExpr::symbol(symbol)}), symbol);
      module.inputs.emplace_back();
      module.inputs.back().name = symbol;
      symbol_inputs_.push_back(symbol);
    }
    return {};
  }

  static bool is_concrete(const Shape& shape) {
    return std::all_of(shape.begin(), shape.end(),
                       [](const DimExpr& dim) { return dim.is_constant(); });
  }

  InputForm form_;
  Build build_;
  std::set<size_t> weight_operands_;
  std::vector<HostTensor> weights_;
  std::vector<std::string> symbol_inputs_;
  std::shared_ptr<Engine> engine_;
  std::unique_ptr<ExecutionContext::Impl> context_;
};

}  // namespace kiln

// "host.call": a call that the host (PyTorch) executes.
//
// params: call (text of core/call_arg.h; operands refer to the step's inputs).
#include <algorithm>

#include "runtime/device_runtime.h"
#include "runtime/host.h"
#include "runtime/step.h"

namespace kiln {
namespace {

// Symbolic integers of a call in order of appearance.
void collect_dims(const CallArg& arg, std::vector<DimExpr>& out) {
  if (const auto* expr = arg.get<DimExpr>(); expr != nullptr && !expr->is_constant()) {
    out.push_back(*expr);
  } else if (const auto* list = arg.get<CallArg::List>()) {
    for (const CallArg& item : *list) collect_dims(item, out);
  }
}

bool operands_in_range(const CallArg& arg, int count) {
  if (const auto* operand = arg.get<CallArg::Operand>()) {
    return operand->index >= 0 && operand->index < count;
  }
  if (const auto* list = arg.get<CallArg::List>()) {
    return std::all_of(list->begin(), list->end(),
                       [count](const CallArg& item) { return operands_in_range(item, count); });
  }
  return true;
}

class BoundHostCall : public BoundStep {
 public:
  BoundHostCall(HostCall* call, std::string name, const BindContext& context,
                std::vector<int64_t> dims, Device device)
      : call_(call),
        name_(std::move(name)),
        inputs_(context.inputs),
        dims_(std::move(dims)),
        device_(device) {
    for (const ConcreteView& view : context.outputs) {
      HostExpected expected;
      expected.is_object = view.kind == SlotKind::kObject;
      expected.spec = {view.dtype, view.dims, view.strides};
      expected_.push_back(std::move(expected));
    }
  }

  Status run(const RunArgs& args) override {
    std::vector<HostOperand> operands(inputs_.size());
    for (size_t i = 0; i < inputs_.size(); ++i) {
      HostObject* object = args.input_objects[i]->get();
      if (inputs_[i].kind == SlotKind::kObject) {
        if (object == nullptr) return Status::error("K4303", "host object is missing: " + name_);
        operands[i].object = object;
        continue;
      }
      operands[i].view = {args.inputs[i],    inputs_[i].dtype,       device_,
                          inputs_[i].rank(), inputs_[i].dims.data(), inputs_[i].strides.data()};
    }
    std::vector<std::shared_ptr<HostObject>> results;
    Status status = call_->run(operands, dims_, expected_, args.stream, results);
    if (!status.ok()) return std::move(status).at(name_);
    // The steps that follow rely on it, so hosts are not taken at their word.
    if (results.size() != expected_.size()) {
      return Status::error("K4302", "host gave another number of results: " + name_);
    }
    for (size_t i = 0; i < results.size(); ++i) {
      if (results[i] == nullptr ||
          !(expected_[i].is_object ||
            (fits(results[i]->view, expected_[i].spec) && results[i]->view.device == device_))) {
        return Status::error(
            "K4302", "host gave a result of another dtype, shape, strides or device: " + name_ +
                         " result " + std::to_string(i));
      }
    }
    for (size_t i = 0; i < results.size(); ++i) *args.output_objects[i] = std::move(results[i]);
    return {};
  }
  std::string implementation() const override { return "host:" + name_; }

 private:
  static bool fits(const TensorView& view, const TensorSpec& spec) {
    if (view.dtype != spec.dtype || view.rank != static_cast<int>(spec.shape.size())) return false;
    if (!std::equal(spec.shape.begin(), spec.shape.end(), view.shape)) return false;
    if (std::find(spec.shape.begin(), spec.shape.end(), 0) != spec.shape.end()) return true;
    int64_t contiguous = 1;
    for (size_t i = spec.shape.size(); i-- > 0;) {
      const int64_t stride = view.strides != nullptr ? view.strides[i] : contiguous;
      if (spec.shape[i] != 1 && stride != spec.strides[i]) return false;
      contiguous *= spec.shape[i];
    }
    return view.data != nullptr;
  }

  HostCall* call_;
  std::string name_;
  std::vector<ConcreteView> inputs_;
  std::vector<int64_t> dims_;
  Device device_;
  std::vector<HostExpected> expected_;
};

class HostStep : public Step {
 public:
  HostStep(std::unique_ptr<HostCall> call, std::string name, std::vector<DimExpr> dims,
           Device device)
      : call_(std::move(call)), name_(std::move(name)), dims_(std::move(dims)), device_(device) {}

  Result<std::unique_ptr<BoundStep>> bind(const BindContext& context) const override {
    KILN_ASSIGN_OR_RETURN(std::vector<int64_t> dims, evaluate(dims_, *context.symbols));
    return std::unique_ptr<BoundStep>(
        new BoundHostCall(call_.get(), name_, context, std::move(dims), device_));
  }

 private:
  std::unique_ptr<HostCall> call_;
  std::string name_;
  std::vector<DimExpr> dims_;
  Device device_;
};

Result<std::unique_ptr<Step>> make_host_step(const StepDesc& desc, const StepEnvironment& env) {
  KILN_ASSIGN_OR_RETURN(const std::string text, desc.params.string_at("call"));
  KILN_ASSIGN_OR_RETURN(Call call, Call::parse(text));
  std::vector<DimExpr> dims;
  for (const CallArg& arg : call.args) {
    collect_dims(arg, dims);
    if (!operands_in_range(arg, static_cast<int>(desc.inputs.size()))) {
      return Status::error("K3202", "call names an operand that does not exist: " + text);
    }
  }
  if (env.host == nullptr) {
    return Status::error("K3302",
                         "program calls an operator that only pytorch has: " + call.full_name(),
                         "load it from python or from a libtorch program with libkiln_torch");
  }
  const Device device = env.device != nullptr ? env.device->device() : Device();
  KILN_ASSIGN_OR_RETURN(auto prepared,
                        env.host->prepare(call, static_cast<int>(desc.outputs.size()), device));
  return std::unique_ptr<Step>(
      new HostStep(std::move(prepared), call.full_name(), std::move(dims), device));
}

KILN_STEP(host_call, "host.call", make_host_step);

}  // namespace
}  // namespace kiln

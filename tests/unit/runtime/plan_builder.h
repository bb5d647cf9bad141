// Small engine plans by hand: inputs, weights, elementwise tile steps and copies.
#pragma once

#include <string>
#include <vector>

#include "runtime/engine.h"
#include "runtime/plan.h"
#include "runtime/tile_params.h"

namespace kiln::test {

inline std::vector<DimExpr> dense(const Shape& dims) {
  std::vector<DimExpr> strides(dims.size());
  DimExpr stride = 1;
  for (size_t i = dims.size(); i-- > 0;) {
    strides[i] = stride;
    stride *= dims[i];
  }
  return strides;
}

class PlanBuilder {
 public:
  EnginePlan plan;

  PlanBuilder() { plan.target = "cpu:sse4"; }

  PlanView input(const std::string& name, const Shape& dims, DType dtype = DType::kF32) {
    plan.inputs.push_back({name, dtype, dims, {}, false});
    return view(slot({SlotKind::kInput, dtype, num_elements(dims),
                      static_cast<int>(plan.inputs.size()) - 1}),
                dims);
  }

  // A weight that is used as it is.
  PlanView weight(const std::string& name, const std::vector<int64_t>& dims,
                  DType dtype = DType::kF32) {
    const Shape shape(dims.begin(), dims.end());
    const int init_slot = init_input(name, dims, dtype);
    plan.constants.push_back(init_slot);
    return view(slot({SlotKind::kConstant, dtype, num_elements(shape),
                      static_cast<int>(plan.constants.size()) - 1}),
                shape);
  }

  // A constant that the init plan computes: op(weight).
  PlanView computed(const std::string& name, const std::vector<int64_t>& dims,
                    const std::string& op) {
    const Shape shape(dims.begin(), dims.end());
    const int source = init_input(name, dims, DType::kF32);
    plan.init.slots.push_back({SlotKind::kOutput, DType::kF32, num_elements(shape)});
    const int result = static_cast<int>(plan.init.slots.size()) - 1;
    plan.init.steps.push_back(tile_step(op, {view(source, shape)}, view(result, shape)));
    plan.constants.push_back(result);
    return view(slot({SlotKind::kConstant, DType::kF32, num_elements(shape),
                      static_cast<int>(plan.constants.size()) - 1}),
                shape);
  }

  PlanView temp(const Shape& dims, DType dtype = DType::kF32) {
    return view(slot({SlotKind::kTemp, dtype, num_elements(dims)}), dims);
  }

  PlanView output(const std::string& name, const Shape& dims, DType dtype = DType::kF32) {
    PlanOutput output;
    output.signature = {name, dtype, dims, {}, false};
    plan.outputs.push_back(output);
    return view(slot({SlotKind::kOutput, dtype, num_elements(dims),
                      static_cast<int>(plan.outputs.size()) - 1}),
                dims);
  }

  // The caller's input `target` receives what the plan leaves in it.
  void write_back(const std::string& name, int target) {
    PlanOutput output;
    output.signature = plan.inputs[static_cast<size_t>(target)];
    output.signature.name = name;
    output.kind = PlanOutput::Kind::kWriteInput;
    output.target = target;
    plan.outputs.push_back(output);
  }

  void copy(const PlanView& from, const PlanView& to) {
    plan.main.steps.push_back({"copy", {from}, {to}, Json::object(), "", "copy"});
  }

  // out = op(a[, b]), elementwise, f32; operands of lower rank or size 1 broadcast.
  void tile(const std::string& op, const std::vector<PlanView>& operands, const PlanView& out) {
    plan.main.steps.push_back(tile_step(op, operands, out));
  }

  static PlanView view(int slot, const Shape& dims) { return {slot, dims, dense(dims), 0}; }

  static StepDesc tile_step(const std::string& op, const std::vector<PlanView>& operands,
                            const PlanView& out) {
    TileParams params;
    std::string code = "tile rank=" + std::to_string(out.dims.size()) + " row=0\nin";
    for (size_t i = 0; i < operands.size(); ++i) code += " f32";
    code += "\nout f32\n";
    std::string arguments;
    for (size_t i = 0; i < operands.size(); ++i) {
      code += "%" + std::to_string(i) + " = load.f32 in" + std::to_string(i) + "\n";
      arguments += " %" + std::to_string(i);
      TileParams::Access access;
      access.strides.assign(out.dims.size(), DimExpr(0));
      const size_t added = out.dims.size() - operands[i].dims.size();
      for (size_t d = 0; d < operands[i].dims.size(); ++d) {
        if (operands[i].dims[d] == out.dims[added + d]) {
          access.strides[added + d] = operands[i].strides[d];
        }
      }
      params.accesses.push_back(std::move(access));
    }
    const std::string result = "%" + std::to_string(operands.size());
    code += result + " = " + op + ".f32" + arguments + "\nstore.f32 out0 " + result + "\n";
    params.accesses.push_back({0, out.strides, {}});
    params.extents = out.dims;
    params.code = parse_tile_code(code).value();
    return {"tile", operands, {out}, params.to_json(), "", op};
  }

  int slot(Slot s) {
    plan.main.slots.push_back(std::move(s));
    return static_cast<int>(plan.main.slots.size()) - 1;
  }

 private:
  int init_input(const std::string& name, const std::vector<int64_t>& dims, DType dtype) {
    plan.weights.push_back({name, dtype, dims});
    const Shape shape(dims.begin(), dims.end());
    plan.init.slots.push_back(
        {SlotKind::kInput, dtype, num_elements(shape), static_cast<int>(plan.weights.size()) - 1});
    return static_cast<int>(plan.init.slots.size()) - 1;
  }
};

// A tensor of floats in memory of its own.
struct Tensor {
  std::vector<float> data;
  std::vector<int64_t> shape, strides;
  int64_t offset = 0;

  Tensor() = default;
  Tensor(std::vector<int64_t> dims, std::vector<float> values)
      : data(std::move(values)), shape(std::move(dims)) {}
  // Contiguous; 0, 1, 2, ... plus `start`.
  static Tensor iota(std::vector<int64_t> dims, float start = 0) {
    int64_t total = 1;
    for (int64_t d : dims) total *= d;
    std::vector<float> values(static_cast<size_t>(total));
    for (size_t i = 0; i < values.size(); ++i) values[i] = start + static_cast<float>(i);
    return {std::move(dims), std::move(values)};
  }
  static Tensor filled(std::vector<int64_t> dims, float value) {
    Tensor t = iota(std::move(dims));
    std::fill(t.data.begin(), t.data.end(), value);
    return t;
  }

  TensorView view() {
    return {
        data.data() + offset,           DType::kF32,  Device(),
        static_cast<int>(shape.size()), shape.data(), strides.empty() ? nullptr : strides.data()};
  }
};

inline WeightBytes weight_bytes(const std::vector<float>& values) {
  auto owner = std::make_shared<std::vector<float>>(values);
  const void* data = owner->data();
  return {data, values.size() * sizeof(float), std::shared_ptr<const void>(owner, data)};
}

inline std::unique_ptr<ExecutionContext> context_of(const std::shared_ptr<Engine>& engine) {
  return Program::from_engine(engine, "{}", "{}")->create_context();
}

}  // namespace kiln::test

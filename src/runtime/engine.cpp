#include "runtime/engine.h"

#include <algorithm>

#include "base/check.h"
#include "base/parallel_for.h"
#include "runtime/given_weights.h"
#include "runtime/input_symbols.h"
#include "runtime/memory.h"
#include "runtime/plan_run.h"

namespace kiln {
namespace {

std::vector<int64_t> dense(const std::vector<int64_t>& dims, const std::vector<int>& order) {
  std::vector<int64_t> strides(dims.size());
  int64_t stride = 1;
  for (size_t i = dims.size(); i-- > 0;) {
    const size_t dim = order.empty() ? i : static_cast<size_t>(order[i]);
    strides[dim] = stride;
    // Only the strides of an empty tensor can overflow, and nobody follows those.
    if (__builtin_mul_overflow(stride, std::max<int64_t>(dims[dim], 1), &stride)) stride = 1;
  }
  return strides;
}

// Sizes that the expressions of a damaged plan give may be anything.
Status check_sizes(const std::vector<int64_t>& dims, const std::string& what) {
  int64_t elements = 1;
  bool overflow = false, empty = false;
  for (int64_t extent : dims) {
    if (extent < 0) return Status::error("K4103", "size of " + what + " is negative");
    empty = empty || extent == 0;
    overflow = overflow || __builtin_mul_overflow(elements, extent, &elements);
  }
  if (empty || (!overflow && elements <= (int64_t{1} << 48))) return {};
  return Status::error("K4103", "size of " + what + " is out of range");
}

}  // namespace

Result<std::shared_ptr<Engine>> Engine::create(EnginePlan plan, std::vector<WeightBytes> weights,
                                               EngineOptions options) {
  KILN_RETURN_IF_ERROR(verify(plan));
  KILN_RETURN_IF_ERROR(check_solvable(plan.inputs, plan.symbols));
  std::shared_ptr<Engine> engine(new Engine());
  engine->plan_ = std::move(plan);
  engine->options_ = options;
  const StepEnvironment environment{options.host};
  for (const StepDesc& desc : engine->plan_.main.steps) {
    KILN_ASSIGN_OR_RETURN(auto step, StepRegistry::global().create(desc, environment));
    engine->steps_.push_back(std::move(step));
  }
  KILN_ASSIGN_OR_RETURN(engine->constants_, engine->run_init(weights));
  engine->weights_ = std::move(weights);
  return engine;
}

std::shared_ptr<const ConstantSet> Engine::constants() const {
  std::lock_guard lock(mutex_);
  return constants_;
}

int64_t Engine::bindings_made() const {
  std::lock_guard lock(mutex_);
  return bindings_made_;
}

Status Engine::update_weights(const std::vector<WeightView>& given) {
  std::lock_guard update(update_mutex_);
  std::vector<WeightBytes> weights = weights_;
  KILN_RETURN_IF_ERROR(place_given_weights(plan_, given, weights));
  return replace_weights(std::move(weights));
}

Status Engine::update_weights(std::vector<WeightBytes> weights) {
  std::lock_guard update(update_mutex_);
  return replace_weights(std::move(weights));
}

// Under update_mutex_.
Status Engine::replace_weights(std::vector<WeightBytes> weights) {
  KILN_ASSIGN_OR_RETURN(auto constants, run_init(weights));
  weights_ = std::move(weights);
  std::lock_guard lock(mutex_);
  constants_ = std::move(constants);
  return {};
}

Result<std::shared_ptr<const ConstantSet>> Engine::run_init(
    const std::vector<WeightBytes>& weights) {
  const Plan& init = plan_.init;
  if (weights.size() != plan_.weights.size()) {
    return Status::error("K3106", "wrong number of weights: " + std::to_string(weights.size()) +
                                      ", expected " + std::to_string(plan_.weights.size()));
  }
  for (size_t i = 0; i < weights.size(); ++i) {
    KILN_ASSIGN_OR_RETURN(const size_t bytes, weight_size(plan_.weights[i]));
    if (bytes != weights[i].bytes) {
      return Status::error("K3106", "weight '" + plan_.weights[i].name + "' has " +
                                        std::to_string(weights[i].bytes) + " bytes, expected " +
                                        std::to_string(bytes));
    }
    if (bytes != 0 && weights[i].data == nullptr) {
      return Status::error("K3106", "weight has no data: " + plan_.weights[i].name);
    }
  }
  std::vector<std::unique_ptr<Step>> steps;
  for (const StepDesc& desc : init.steps) {
    KILN_ASSIGN_OR_RETURN(auto step, StepRegistry::global().create(desc, {options_.host}));
    steps.push_back(std::move(step));
  }
  const int threads = options_.threads > 0 ? options_.threads : num_threads();
  const std::vector<const ConstantData*> none(init.slots.size(), nullptr);
  const std::vector<int> stages = plan_stages(init);
  std::unique_ptr<ShapePlan> shape;
  {
    ScopedNumThreads one(1);
    KILN_ASSIGN_OR_RETURN(shape, ShapePlan::make(init, steps, {}, 1, none, &stages));
  }

  // Every kept result gets memory of its own: plain ones by their size, packed ones by what the
  // packing step says.
  std::vector<ConstantData> kept(init.slots.size());
  auto set = std::make_shared<ConstantSet>();
  std::vector<void*> bases(init.slots.size(), nullptr);
  auto own = [&](size_t slot, size_t bytes) -> Status {
    kept[slot].owner = allocate_block(bytes);
    if (kept[slot].owner == nullptr) {
      return Status::error("K4501",
                           "out of memory for a constant of bytes " + std::to_string(bytes));
    }
    kept[slot].data = kept[slot].owner.get();
    kept[slot].bytes = bytes;
    bases[slot] = kept[slot].data;
    set->owned_bytes += bytes;
    return {};
  };
  for (size_t i = 0; i < init.slots.size(); ++i) {
    const Slot& slot = init.slots[i];
    if (slot.kind == SlotKind::kInput) {
      const WeightBytes& weight = weights[static_cast<size_t>(slot.index)];
      if (static_cast<size_t>(shape->slot_bytes[i]) != weight.bytes) {
        return Status::error("K3106", "weight slot and weight differ in size: " +
                                          plan_.weights[static_cast<size_t>(slot.index)].name);
      }
      bases[i] = const_cast<void*>(weight.data);  // steps never write inputs: checked by verify()
      kept[i] = {bases[i], weight.bytes, {}, std::const_pointer_cast<void>(weight.owner)};
    } else if (slot.kind == SlotKind::kOutput && !slot.packed) {
      KILN_RETURN_IF_ERROR(own(i, static_cast<size_t>(shape->slot_bytes[i])));
    }
  }
  for (const ShapePlan::RunStep& step : shape->steps) {
    for (size_t j = 0; j < step.outputs.size(); ++j) {
      const auto slot = static_cast<size_t>(step.outputs[j].slot);
      if (!init.slots[slot].packed) continue;
      const size_t bytes = step.step->packed_bytes(static_cast<int>(j));
      if (bytes == 0) {
        return Status::error(
            "K3107", "step does not pack: " + init.steps[static_cast<size_t>(step.index)].kind);
      }
      KILN_RETURN_IF_ERROR(own(slot, bytes));
      kept[slot].format = step.step->packed_format(static_cast<int>(j));
    }
  }
  const std::shared_ptr<void> block = allocate_block(staged_block_bytes(*shape, threads));
  if (block == nullptr) return Status::error("K4501", "out of memory for the init plan");
  ScopedNumThreads scope(threads);
  KILN_RETURN_IF_ERROR(run_plan_staged(*shape, init, stages, bases, block.get(), threads));
  for (int slot : plan_.constants) {
    const auto i = static_cast<size_t>(slot);
    if (kept[i].data == nullptr && kept[i].bytes != 0) {
      return Status::error("K3107", "constant is never computed: slot " + std::to_string(slot));
    }
    set->constants.push_back(kept[i]);
  }
  return std::shared_ptr<const ConstantSet>(std::move(set));
}

Status Engine::check_inputs(const std::vector<TensorView>& inputs, SymbolValues& symbols) const {
  if (inputs.size() != plan_.inputs.size()) {
    return Status::error("K4101", "wrong number of inputs: " + std::to_string(inputs.size()) +
                                      ", expected " + std::to_string(plan_.inputs.size()));
  }
  std::vector<std::vector<int64_t>> dims(inputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    const TensorSignature& signature = plan_.inputs[i];
    if (signature.is_object) continue;
    const TensorView& input = inputs[i];
    if (input.dtype != signature.dtype) {
      return Status::error("K4102", "wrong dtype: input '" + signature.name + "' is " +
                                        std::string(dtype_name(input.dtype)) + ", expected " +
                                        std::string(dtype_name(signature.dtype)));
    }
    if (input.device.kind != DeviceKind::kCpu) {
      return Status::error("K4107", "wrong device: input '" + signature.name + "' is on " +
                                        input.device.to_string() + ", expected cpu");
    }
    if (input.rank != static_cast<int>(signature.dims.size())) {
      return Status::error("K4104", "wrong rank: input '" + signature.name + "' has " +
                                        std::to_string(input.rank) + " dims, expected " +
                                        std::to_string(signature.dims.size()));
    }
    dims[i].assign(input.shape, input.shape + input.rank);
  }
  return solve_symbols(plan_.inputs, plan_.symbols, dims, symbols);
}

Result<std::vector<TensorSpec>> Engine::output_specs(const SymbolValues& symbols) const {
  std::vector<TensorSpec> specs;
  for (const PlanOutput& output : plan_.outputs) {
    TensorSpec spec;
    spec.dtype = output.signature.dtype;
    if (!output.signature.is_object) {
      KILN_ASSIGN_OR_RETURN(spec.shape, evaluate(output.signature.dims, symbols));
      KILN_RETURN_IF_ERROR(check_sizes(spec.shape, "output '" + output.signature.name + "'"));
      spec.strides = dense(spec.shape, output.signature.order);
    }
    specs.push_back(std::move(spec));
  }
  return specs;
}

Result<std::vector<TensorSpec>> Engine::infer_shapes(const std::vector<TensorView>& inputs) {
  SymbolValues symbols;
  KILN_RETURN_IF_ERROR(check_inputs(inputs, symbols));
  return output_specs(symbols);
}

Result<std::shared_ptr<const Engine::Binding>> Engine::bind(const std::vector<TensorView>& inputs) {
  const int threads = options_.threads > 0 ? options_.threads : num_threads();
  SymbolValues symbols;
  KILN_RETURN_IF_ERROR(check_inputs(inputs, symbols));
  std::vector<int64_t> key;
  for (const TensorView& input : inputs) {
    key.insert(key.end(), input.shape, input.shape + input.rank);
  }
  std::shared_ptr<const ConstantSet> constants;
  {
    std::lock_guard lock(mutex_);
    for (auto it = bindings_.begin(); it != bindings_.end(); ++it) {
      if ((*it)->threads != threads || (*it)->input_dims != key) continue;
      bindings_.splice(bindings_.begin(), bindings_, it);
      return bindings_.front();
    }
    constants = constants_;
  }
  auto binding = std::make_shared<Binding>();
  binding->input_dims = key;
  binding->threads = threads;
  KILN_ASSIGN_OR_RETURN(binding->outputs, output_specs(symbols));
  for (const TensorSignature& signature : plan_.inputs) {
    TensorSpec spec;
    spec.dtype = signature.dtype;
    KILN_ASSIGN_OR_RETURN(spec.shape, evaluate(signature.dims, symbols));
    spec.strides = dense(spec.shape, signature.order);
    binding->inputs.push_back(std::move(spec));
  }
  for (const TensorSpec& spec : binding->inputs) {
    KILN_RETURN_IF_ERROR(check_sizes(spec.shape, "an input"));
  }
  std::vector<const ConstantData*> packed(plan_.main.slots.size(), nullptr);
  for (size_t i = 0; i < plan_.main.slots.size(); ++i) {
    const Slot& slot = plan_.main.slots[i];
    if (slot.packed) packed[i] = &constants->constants[static_cast<size_t>(slot.index)];
  }
  ScopedNumThreads scope(threads);
  KILN_ASSIGN_OR_RETURN(binding->shape,
                        ShapePlan::make(plan_.main, steps_, std::move(symbols), threads, packed));
  for (size_t i = 0; i < plan_.main.slots.size(); ++i) {
    const Slot& slot = plan_.main.slots[i];
    if (slot.kind != SlotKind::kConstant || slot.packed) continue;
    const ConstantData& constant = constants->constants[static_cast<size_t>(slot.index)];
    if (constant.bytes != static_cast<size_t>(binding->shape->slot_bytes[i])) {
      return Status::error("K3107",
                           "constant has another size than its slot: slot " + std::to_string(i));
    }
  }
  std::lock_guard lock(mutex_);
  // Another thread may have made the same one meanwhile.
  for (const auto& other : bindings_) {
    if (other->threads == threads && other->input_dims == key) return other;
  }
  ++bindings_made_;
  bindings_.push_front(binding);
  if (bindings_.size() > kMaxBindings) bindings_.pop_back();
  return std::shared_ptr<const Binding>(binding);
}

}  // namespace kiln

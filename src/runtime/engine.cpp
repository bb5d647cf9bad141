#include "runtime/engine.h"

#include <algorithm>

#include "base/check.h"
#include "base/parallel_for.h"
#include "runtime/constants.h"
#include "runtime/given_weights.h"
#include "runtime/input_symbols.h"

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

Engine::Engine() = default;
Engine::~Engine() = default;

Result<std::shared_ptr<Engine>> Engine::create(EnginePlan plan, std::vector<WeightBytes> weights,
                                               EngineOptions options, const NativeCode* native) {
  KILN_RETURN_IF_ERROR(verify(plan));
  KILN_RETURN_IF_ERROR(check_solvable(plan.inputs, plan.symbols, plan.conditions));
  std::shared_ptr<Engine> engine(new Engine());
  engine->plan_ = std::move(plan);
  engine->options_ = options;
  KILN_ASSIGN_OR_RETURN(engine->device_,
                        device_runtime_for(engine->plan_.target, options.device_index));
  KILN_ASSIGN_OR_RETURN(engine->code_, engine->device_->load_code(engine->plan_.kernels, native));
  const StepEnvironment environment = engine->environment();
  for (const StepDesc& desc : engine->plan_.main.steps) {
    KILN_ASSIGN_OR_RETURN(auto step, StepRegistry::global().create(desc, environment));
    engine->steps_.push_back(std::move(step));
  }
  KILN_ASSIGN_OR_RETURN(engine->init_,
                        InitPlan::create(engine->plan_, engine->options_, environment));
  ConstantRun run(*engine->init_, weights);
  KILN_RETURN_IF_ERROR(run.start());
  KILN_RETURN_IF_ERROR(run.place());
  engine->constants_ = run.finish();
  engine->weights_ = std::move(weights);
  return engine;
}

StepEnvironment Engine::environment() const {
  return {options_.host, device_, &plan_.kernels, code_};
}

std::shared_ptr<const ConstantSet> Engine::constants() const {
  std::unique_lock lock(mutex_);
  replaced_.wait(lock, [&] { return !replacing_; });
  KILN_CHECK_MSG(constants_ != nullptr, "an update of weights has failed half way");
  return constants_;
}

std::vector<WeightBytes> Engine::weights() const {
  std::lock_guard lock(update_mutex_);
  return weights_;
}

int64_t Engine::bindings_made() const {
  std::lock_guard lock(mutex_);
  return bindings_made_;
}

Status Engine::update_weights(const std::vector<WeightView>& given) {
  std::lock_guard update(update_mutex_);
  std::vector<WeightBytes> weights = weights_;
  std::vector<bool> changed(weights.size(), false);
  KILN_RETURN_IF_ERROR(place_given_weights(plan_, given, weights, &changed));
  return replace_weights(std::move(weights), changed);
}

Status Engine::update_weights(std::vector<WeightBytes> weights) {
  std::lock_guard update(update_mutex_);
  const std::vector<bool> changed(weights.size(), true);
  return replace_weights(std::move(weights), changed);
}

// Under update_mutex_.
Status Engine::replace_weights(std::vector<WeightBytes> weights, const std::vector<bool>& changed) {
  std::shared_ptr<const ConstantSet> old;
  {
    std::lock_guard lock(mutex_);
    old = constants_;
  }
  ConstantRun run(*init_, weights, old.get(), &changed);
  KILN_RETURN_IF_ERROR(run.start());
  old.reset();
  // Somebody who runs now goes on with the old constants, and those who begin meanwhile as well.
  // With nobody there the engine is the only holder, and keeps others from becoming one.
  {
    std::lock_guard lock(mutex_);
    if (constants_.use_count() == 1) old = std::move(constants_);
    replacing_ = old != nullptr;
  }
  struct Replacing {
    Engine& engine;
    std::shared_ptr<const ConstantSet> constants;  // what there is in the end
    ~Replacing() {
      std::lock_guard lock(engine.mutex_);
      if (constants != nullptr) engine.constants_ = std::move(constants);
      engine.replacing_ = false;
      engine.replaced_.notify_all();
    }
  } replacing{*this, {}};
  Status placed = run.place(old == nullptr ? nullptr : &old);
  if (!placed.ok()) {
    replacing.constants = std::move(old);
    return placed;
  }
  replacing.constants = run.finish();
  weights_ = std::move(weights);
  return {};
}

Status Engine::check_inputs(const std::vector<TensorView>& inputs, SymbolValues& symbols) const {
  if (inputs.size() != plan_.inputs.size()) {
    return Status::error("K4101", "wrong number of inputs: " + std::to_string(inputs.size()) +
                                      ", expected " + std::to_string(plan_.inputs.size()));
  }
  std::vector<std::vector<int64_t>> dims(inputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    const TensorSignature& signature = plan_.inputs[i];
    const TensorView& input = inputs[i];
    if (signature.number && input.rank != 1) {
      return Status::error("K4111", "input is no integer: '" + signature.name + "'");
    }
    if (signature.number) dims[i].assign(input.shape, input.shape + 1);
    if (signature.is_object && signature.dims.empty()) continue;
    if (!signature.is_object && input.dtype != signature.dtype) {
      return Status::error("K4102", "wrong dtype: input '" + signature.name + "' is " +
                                        std::string(dtype_name(input.dtype)) + ", expected " +
                                        std::string(dtype_name(signature.dtype)));
    }
    if (!signature.is_object && !(input.device == device_->device())) {
      return Status::error("K4107", "wrong device: input '" + signature.name + "' is on " +
                                        input.device.to_string() + ", expected " +
                                        device_->device().to_string());
    }
    if (input.rank != static_cast<int>(signature.dims.size())) {
      return Status::error("K4104", "wrong rank: input '" + signature.name + "' has " +
                                        std::to_string(input.rank) + " dims, expected " +
                                        std::to_string(signature.dims.size()));
    }
    dims[i].assign(input.shape, input.shape + input.rank);
  }
  KILN_RETURN_IF_ERROR(solve_symbols(plan_.inputs, plan_.symbols, dims, symbols));
  for (const SizeCondition& condition : plan_.conditions) {
    KILN_RETURN_IF_ERROR(condition.check(symbols));
  }
  return {};
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
  {
    std::lock_guard lock(mutex_);
    for (auto it = bindings_.begin(); it != bindings_.end(); ++it) {
      if ((*it)->threads != threads || (*it)->input_dims != key) continue;
      bindings_.splice(bindings_.begin(), bindings_, it);
      return bindings_.front();
    }
  }
  const std::shared_ptr<const ConstantSet> constants = this->constants();
  auto binding = std::make_shared<Binding>();
  binding->input_dims = key;
  binding->threads = threads;
  KILN_ASSIGN_OR_RETURN(binding->outputs, output_specs(symbols));
  for (const PlanOutput& output : plan_.outputs) {
    KILN_ASSIGN_OR_RETURN(auto ops, evaluate(output.view, symbols));
    binding->views.push_back(std::move(ops));
  }
  for (const TensorSignature& signature : plan_.inputs) {
    TensorSpec spec;
    spec.dtype = signature.dtype;
    KILN_ASSIGN_OR_RETURN(spec.shape, evaluate(signature.dims, symbols));
    spec.strides = dense(spec.shape, signature.order);
    binding->inputs.push_back(std::move(spec));
    KILN_ASSIGN_OR_RETURN(auto strides, evaluate(signature.strides, symbols));
    binding->needed_strides.push_back(std::move(strides));
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

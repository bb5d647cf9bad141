// The operators kiln::run, kiln::run_ and kiln::run_ordered and the class kiln::Program, registered
// when this library is loaded: by `import kiln`, torch.ops.load_library or dlopen.
//
// run(inputs, sizes, program) is for programs that write nothing but their results. run_ is for the
// others: `state_and_outs` holds the inputs that the program writes, in their order, then memory
// for each result. (A mutating operator that returns a list does not survive torch's
// run_decompositions.) run_ordered is run_ for TorchScript: `state` holds the inputs that the
// program writes, and the results are returned. TorchScript's alias analysis does not see writes to
// `Tensor(a!)[]` - it drops aten::_foreach_add_ as it would drop run_ - but leaves a call alone
// that was registered as conservative. `sizes` are the program's integer arguments. Results that
// are inputs passed through are not among the results; results that are numbers are tensors of
// rank 0 there.
//
// Tracers ask for the results' types. Where PyTorch alone knows one, C++ answers K4121; Python
// makes it from what the program's metadata say (kiln/operators.py), and asks known_results, which
// computes nothing, for the others.
#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>
#include <torch/library.h>

#include <algorithm>
#include <optional>

#include "torch/dtype_conversion.h"
#include "torch/output_shapes.h"
#include "torch/program_object.h"
#include "torch/torch_host.h"

namespace kiln {
namespace {

using ProgramPtr = c10::intrusive_ptr<ProgramObject>;

void check(const Status& status) { TORCH_CHECK(status.ok(), status.to_string()); }

template <typename T>
T check(Result<T> result) {
  TORCH_CHECK(result.ok(), result.status().to_string());
  return std::move(result).value();
}

void check_entry(int64_t entry) {
  TORCH_CHECK(entry == 0, Status::error("K4120", "program has no such entry: " +
                                                     std::to_string(entry))
                              .to_string());
}

// Which inputs of the plan are written when it runs.
std::vector<bool> written_inputs(const EnginePlan& plan) {
  std::vector<bool> written(plan.inputs.size());
  for (const PlanOutput& output : plan.outputs) {
    if (output.kind == PlanOutput::Kind::kWriteInput) {
      written[static_cast<size_t>(output.target)] = true;
    }
  }
  return written;
}

bool is_result(const PlanOutput& output) { return output.kind == PlanOutput::Kind::kResult; }

// Walks the plan's inputs and says where each comes from: `tensor(i, from_state)`, `number(i)`.
// Returns what is wrong with the numbers of arguments.
template <typename Tensor, typename Number>
void distribute(const EnginePlan& plan, size_t state, size_t inputs, size_t sizes, bool mutating,
                Tensor&& tensor, Number&& number) {
  const std::vector<bool> written = written_inputs(plan);
  size_t next_state = 0, next_input = 0, next_size = 0;
  for (size_t i = 0; i < plan.inputs.size(); ++i) {
    if (plan.inputs[i].number) {
      if (next_size < sizes) number(i, next_size);
      ++next_size;
    } else if (written[i]) {
      if (next_state < state) tensor(i, next_state, true);
      ++next_state;
    } else {
      if (next_input < inputs) tensor(i, next_input, false);
      ++next_input;
    }
  }
  size_t outs = 0;
  if (mutating) outs = static_cast<size_t>(std::count_if(plan.outputs.begin(), plan.outputs.end(),
                                                         is_result));
  if (next_state + outs == state && next_input == inputs && next_size == sizes) return;
  check(Status::error(
      "K4101", "wrong number of inputs: " + std::to_string(state) + " state and outputs, " +
                   std::to_string(inputs) + " inputs, " + std::to_string(sizes) +
                   " sizes, expected " + std::to_string(next_state + outs) + ", " +
                   std::to_string(next_input) + ", " + std::to_string(next_size),
      next_state != state && !mutating ? "programs that write their inputs run by kiln::run_"
                                       : ""));
}

// The arguments as a call of the runner.
ProgramCall call_of(const ProgramRunner& runner, at::TensorList state, at::TensorList inputs,
                    c10::SymIntArrayRef sizes, bool mutating) {
  ProgramCall call;
  const EnginePlan& plan = runner.plan();
  runner.start(call, plan.inputs.size());
  distribute(
      plan, state.size(), inputs.size(), sizes.size(), mutating,
      [&](size_t i, size_t k, bool from_state) {
        const at::Tensor& tensor = from_state ? state[k] : inputs[k];
        check(runner.is_object_input(i) ? runner.set_input_object(call, i, tensor)
                                        : runner.set_input(call, i, tensor));
      },
      [&](size_t i, size_t k) {
        check(runner.set_input_object(call, i, sizes[k].guard_int(__FILE__, __LINE__)));
      });
  return call;
}

// What only torch knows of a result: the tensor, or the number as a tensor of rank 0.
at::Tensor tensor_of(const TensorSignature& signature, const std::shared_ptr<HostObject>& object) {
  const c10::IValue* value = object ? &unwrap_object(*object) : nullptr;
  if (value != nullptr && value->isTensor()) return value->toTensor();
  TORCH_CHECK(value != nullptr && signature.scalar && (value->isScalar() || value->isBool()),
              Status::error("K4122", "result is neither tensor nor number: output '" +
                                         signature.name + "'")
                  .to_string());
  return at::scalar_tensor(value->toScalar(), to_scalar_type(*signature.scalar));
}

std::vector<at::Tensor> run(at::TensorList state, at::TensorList inputs,
                            c10::SymIntArrayRef sizes, const ProgramPtr& program, int64_t entry) {
  check_entry(entry);
  ProgramRunner& runner = program->runner();
  ProgramCall call = call_of(runner, state, inputs, sizes, false);
  check(runner.run(call));
  std::vector<at::Tensor> results;
  results.reserve(call.outputs.size());
  const EnginePlan& plan = runner.plan();
  for (size_t i = 0; i < plan.outputs.size(); ++i) {
    if (!is_result(plan.outputs[i])) continue;
    const TensorSignature& signature = plan.outputs[i].signature;
    results.push_back(signature.is_object ? tensor_of(signature, call.output_objects[i])
                                          : std::move(call.outputs[i]));
  }
  return results;
}

void run_(at::TensorList state_and_outs, at::TensorList inputs, c10::SymIntArrayRef sizes,
          const ProgramPtr& program, int64_t entry) {
  check_entry(entry);
  ProgramRunner& runner = program->runner();
  ProgramCall call = call_of(runner, state_and_outs, inputs, sizes, true);
  const EnginePlan& plan = runner.plan();
  // The results stand at the end.
  size_t next = state_and_outs.size() -
                static_cast<size_t>(
                    std::count_if(plan.outputs.begin(), plan.outputs.end(), is_result));
  std::vector<std::pair<size_t, at::Tensor>> numbers;
  for (size_t i = 0; i < plan.outputs.size(); ++i) {
    if (!is_result(plan.outputs[i])) continue;
    const at::Tensor& out = state_and_outs[next++];
    if (plan.outputs[i].signature.is_object) {
      numbers.emplace_back(i, out);
    } else {
      check(runner.set_output(call, i, out));
    }
  }
  check(runner.run(call));
  for (auto& [i, out] : numbers) {
    out.copy_(tensor_of(plan.outputs[i].signature, call.output_objects[i]));
  }
}

// The numbers of an argument `sizes`. AOTInductor hands an empty list over as None.
std::vector<c10::SymInt> numbers_of(const c10::IValue& value) {
  std::vector<c10::SymInt> numbers;
  if (value.isNone()) return numbers;
  for (const c10::IValue& item : value.toListRef()) numbers.push_back(item.toSymInt());
  return numbers;
}

int64_t entry_of(const c10::IValue& value) { return value.isNone() ? 0 : value.toInt(); }

// The kernels are boxed: so are all their callers (Python, nativert, AOTInductor), and only so can
// they take AOTInductor's way of passing arguments.
void run_boxed(const c10::OperatorHandle&, torch::jit::Stack* stack) {
  constexpr size_t kArguments = 4;
  std::vector<at::Tensor> results =
      run({}, torch::jit::peek(*stack, 0, kArguments).toTensorVector(),
          numbers_of(torch::jit::peek(*stack, 1, kArguments)),
          torch::jit::peek(*stack, 2, kArguments).toCustomClass<ProgramObject>(),
          entry_of(torch::jit::peek(*stack, 3, kArguments)));
  torch::jit::drop(*stack, kArguments);
  stack->emplace_back(std::move(results));
}

void run_boxed_(const c10::OperatorHandle&, torch::jit::Stack* stack) {
  constexpr size_t kArguments = 5;
  run_(torch::jit::peek(*stack, 0, kArguments).toTensorVector(),
       torch::jit::peek(*stack, 1, kArguments).toTensorVector(),
       numbers_of(torch::jit::peek(*stack, 2, kArguments)),
       torch::jit::peek(*stack, 3, kArguments).toCustomClass<ProgramObject>(),
       entry_of(torch::jit::peek(*stack, 4, kArguments)));
  torch::jit::drop(*stack, kArguments);
}

void run_ordered_boxed(const c10::OperatorHandle&, torch::jit::Stack* stack) {
  constexpr size_t kArguments = 5;
  std::vector<at::Tensor> results =
      run(torch::jit::peek(*stack, 0, kArguments).toTensorVector(),
          torch::jit::peek(*stack, 1, kArguments).toTensorVector(),
          numbers_of(torch::jit::peek(*stack, 2, kArguments)),
          torch::jit::peek(*stack, 3, kArguments).toCustomClass<ProgramObject>(),
          entry_of(torch::jit::peek(*stack, 4, kArguments)));
  torch::jit::drop(*stack, kArguments);
  stack->emplace_back(std::move(results));
}

c10::List<std::optional<at::Tensor>> known_results(at::TensorList inputs,
                                                   c10::SymIntArrayRef sizes,
                                                   const ProgramPtr& program, int64_t entry) {
  check_entry(entry);
  const EnginePlan& plan = program->runner().plan();
  MetaInputs given(plan.inputs.size());
  distribute(
      plan, 0, inputs.size(), sizes.size(), false,
      [&](size_t i, size_t k, bool) { given[i].tensor = inputs[k]; },
      [&](size_t i, size_t k) { given[i].number = sizes[k]; });
  c10::List<std::optional<at::Tensor>> results;
  for (at::Tensor& tensor : check(meta_outputs(plan, given))) {
    results.push_back(tensor.defined() ? std::optional(std::move(tensor)) : std::nullopt);
  }
  return results;
}

std::vector<at::Tensor> run_meta(at::TensorList inputs, c10::SymIntArrayRef sizes,
                                 const ProgramPtr& program, int64_t entry) {
  std::vector<at::Tensor> results;
  for (const std::optional<at::Tensor>& known : known_results(inputs, sizes, program, entry)) {
    if (!known) check(Status::error("K4121", "the type of a result is known only after running"));
    results.push_back(*known);
  }
  return results;
}

void run_meta_(at::TensorList state_and_outs, at::TensorList inputs, c10::SymIntArrayRef sizes,
               const ProgramPtr& program, int64_t entry) {
  check_entry(entry);
  const EnginePlan& plan = program->runner().plan();
  MetaInputs given(plan.inputs.size());
  distribute(
      plan, state_and_outs.size(), inputs.size(), sizes.size(), true,
      [&](size_t i, size_t k, bool from_state) {
        given[i].tensor = from_state ? state_and_outs[k] : inputs[k];
      },
      [&](size_t i, size_t k) { given[i].number = sizes[k]; });
  check(meta_outputs(plan, given).status());
}

using State = std::tuple<std::string, at::Tensor, std::vector<at::Tensor>>;

State get_state(const ProgramPtr& program) {
  const ProgramState& state = program->state();
  return {state.describe(), state.program, state.weights};
}

ProgramPtr set_state(State state) {
  return check(ProgramObject::load(std::get<0>(state), std::move(std::get<1>(state)),
                                   std::move(std::get<2>(state))));
}

constexpr const char* kRun =
    "run(Tensor[] inputs, SymInt[] sizes, __torch__.torch.classes.kiln.Program program, "
    "int entry=0) -> Tensor[]";
constexpr const char* kRunMutating =
    "run_(Tensor(a!)[] state_and_outs, Tensor[] inputs, SymInt[] sizes, "
    "__torch__.torch.classes.kiln.Program program, int entry=0) -> ()";
constexpr const char* kKnownResults =
    "known_results(Tensor[] inputs, SymInt[] sizes, __torch__.torch.classes.kiln.Program program, "
    "int entry=0) -> Tensor?[]";
constexpr const char* kRunOrdered =
    "run_ordered(Tensor[] state, Tensor[] inputs, SymInt[] sizes, "
    "__torch__.torch.classes.kiln.Program program, int entry=0) -> Tensor[]";

// A process may come to load this library twice, from two places. torch ends the process when a
// name is registered again, so the second copy registers nothing: the first one serves.
class Registration {
 public:
  Registration() {
    if (c10::Dispatcher::singleton().findSchema({"kiln::run", ""})) return;
    library_.emplace(torch::Library::DEF, "kiln", std::nullopt, __FILE__, __LINE__);
    library_->class_<ProgramObject>("Program")
        .def(torch::init([](std::string description, at::Tensor program,
                            std::vector<at::Tensor> weights) {
          return set_state({std::move(description), std::move(program), std::move(weights)});
        }))
        // The description, see program_object.h.
        .def("description", [](const ProgramPtr& p) { return p->state().describe(); })
        // What a file keeps of the Python side: trees of inputs and outputs, names, sizes.
        .def("metadata", [](const ProgramPtr& p) { return p->runner().program().metadata(); })
        .def("report", [](const ProgramPtr& p) { return p->runner().program().report_json(); })
        // The caches of torch's tracers compare arguments.
        .def("__eq__", [](const ProgramPtr& a, const ProgramPtr& b) { return a == b; })
        // Tracers work with the object itself, and need no Python model of it.
        .def("tracing_mode", [](const ProgramPtr&) { return std::string("real"); })
        .def_pickle([](const ProgramPtr& program) { return get_state(program); },
                    [](State state) { return set_state(std::move(state)); });
    library_->def(kRun);
    library_->def(kRunMutating);
    library_->def(kKnownResults);
    library_->def(torch::schema(kRunOrdered, c10::AliasAnalysisKind::CONSERVATIVE));
    real_.emplace(torch::Library::IMPL, "kiln", c10::DispatchKey::CompositeExplicitAutograd,
                  __FILE__, __LINE__);
    real_->impl("run", torch::CppFunction::makeFromBoxedFunction<&run_boxed>());
    real_->impl("run_", torch::CppFunction::makeFromBoxedFunction<&run_boxed_>());
    real_->impl("run_ordered", torch::CppFunction::makeFromBoxedFunction<&run_ordered_boxed>());
    // torch's own answer where no derivative is known is a result that seems to have one: its
    // backward() warns and leaves the gradients of the arguments empty. Results here never have.
    autograd_.emplace(torch::Library::IMPL, "kiln", c10::DispatchKey::Autograd, __FILE__, __LINE__);
    for (const char* name : {"run", "run_", "run_ordered"}) {
      autograd_->impl(name, torch::CppFunction::makeFallthrough());
    }
    meta_.emplace(torch::Library::IMPL, "kiln", c10::DispatchKey::Meta, __FILE__, __LINE__);
    meta_->impl("run", run_meta);
    meta_->impl("known_results", known_results);
    meta_->impl("run_", run_meta_);
  }

 private:
  std::optional<torch::Library> library_, real_, autograd_, meta_;
};

const Registration registration;

}  // namespace
}  // namespace kiln

// Lowers a module with the CPU backend, runs it on the engine and gives what the tests compare with
// the reference executor.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "backends/cpu/compile/cpu_backend.h"
#include "base/parallel_for.h"
#include "fusion/engine_lowering.h"
#include "interp/interpreter.h"
#include "interp/random_data.h"
#include "ir/module.h"
#include "ir/op_def.h"
#include "passes/pass_manager.h"
#include "runtime/engine.h"
#include "runtime/execution.h"

namespace kiln::cpu_compile_test {

// A program that was lowered, with the text it was made from.
struct Program {
  std::unique_ptr<Module> module;   // as parsed
  std::unique_ptr<Module> lowered;  // after the passes
  std::vector<HostTensor> weights;
  EnginePlan plan;
  std::vector<std::string> tactics;  // names, in the order of the main graph
  std::shared_ptr<Engine> engine;

  int count_steps(const std::string& kind) const {
    int count = 0;
    for (const StepDesc& step : plan.main.steps) count += step.kind == kind;
    return count;
  }
};

// The weights that the plan kept, by name.
inline std::vector<WeightBytes> bytes_of(const Program& program) {
  std::vector<WeightBytes> bytes;
  for (const WeightSignature& wanted : program.plan.weights) {
    for (size_t i = 0; i < program.weights.size(); ++i) {
      if (program.module->weights[i].name != wanted.name) continue;
      bytes.push_back({program.weights[i].bytes(), program.weights[i].num_bytes(), nullptr});
    }
  }
  return bytes;
}

inline Status lower_graph(Graph& graph, Backend& backend, EngineLowering& lowering,
                          std::vector<std::string>* names) {
  for (Node* node : graph.snapshot()) {
    KILN_ASSIGN_OR_RETURN(const bool done, lowering.lower_structural(*node));
    if (done) continue;
    Candidates candidates;
    for (const auto& provider : backend.providers()) {
      provider->candidates(*node, backend.device(), candidates);
      if (!candidates.tactics.empty()) break;
    }
    if (candidates.tactics.empty()) {
      return Status::error("K2510", "no kernel for " + std::string(node->op_name()));
    }
    if (node->bodies.empty() && candidates.tactics[0]->name() == "tile") {
      return Status::error("K2510", "not in a fusion: " + std::string(node->op_name()));
    }
    if (names != nullptr) names->push_back(candidates.tactics[0]->name());
    KILN_RETURN_IF_ERROR(candidates.tactics[0]->lower(*node, lowering));
  }
  return {};
}

// `kind`: how weights are drawn.
inline Program lower(const std::string& text, const std::string& passes,
                     DataKind kind = DataKind::kSmallIntegers,
                     std::unique_ptr<Backend> backend = make_cpu_backend(DeviceSpec::host())) {
  Program program;
  auto parsed = parse_module(text);
  EXPECT_TRUE(parsed.ok()) << parsed.status().to_string();
  if (!parsed.ok()) return program;
  program.module = std::move(parsed).value();
  EXPECT_TRUE(verify(*program.module).ok()) << verify(*program.module).to_string();
  program.lowered = program.module->clone();

  PassContext context;
  FusionAdvisor* advisor = backend.get();
  context.provide(advisor);
  PassManager manager({}, &context);
  const auto ran = manager.run(passes, *program.lowered);
  EXPECT_TRUE(ran.ok()) << ran.status().to_string();
  if (!ran.ok()) return program;

  EngineLowering lowering(*program.lowered, backend->target());
  Status status = lower_graph(program.lowered->main, *backend, lowering, &program.tactics);
  EXPECT_TRUE(status.ok()) << status.to_string();
  if (!status.ok()) return program;
  auto plan = lowering.finish([&](Node& node, EngineLowering& to) -> Status {
    Candidates candidates;
    for (const auto& provider : backend->providers()) {
      provider->candidates(node, backend->device(), candidates);
      if (!candidates.tactics.empty()) return candidates.tactics[0]->lower(node, to);
    }
    return Status::error("K2510", "no kernel for " + std::string(node.op_name()));
  });
  EXPECT_TRUE(plan.ok()) << plan.status().to_string();
  if (!plan.ok()) return program;
  // What a file holds is what runs.
  auto saved = engine_plan_from_json(to_json(*plan));
  EXPECT_TRUE(saved.ok()) << saved.status().to_string();
  if (!saved.ok()) return program;
  program.plan = std::move(saved).value();

  for (const Weight& weight : program.module->weights) {
    std::vector<int64_t> dims;
    for (const DimExpr& dim : weight.type.shape) dims.push_back(dim.value());
    program.weights.push_back(
        random_data(weight.type.dtype, dims, kind, seed_of(weight.name)));
  }
  auto engine = Engine::create(program.plan, bytes_of(program), {});
  EXPECT_TRUE(engine.ok()) << engine.status().to_string();
  if (engine.ok()) program.engine = std::move(engine).value();
  return program;
}

// Runs on inputs of these shapes, stored contiguously.
inline Result<std::vector<HostTensor>> run(const Program& program,
                                           const std::vector<HostTensor>& inputs) {
  std::vector<TensorView> input_views;
  for (const HostTensor& input : inputs) {
    TensorView view;
    view.data = const_cast<std::byte*>(input.bytes());
    view.dtype = input.dtype();
    view.rank = input.rank();
    view.shape = input.shape().data();
    view.device = program.engine->device().device();
    input_views.push_back(view);
  }
  ExecutionContext::Impl context(program.engine);
  KILN_RETURN_IF_ERROR(context.prepare(input_views));
  std::vector<HostTensor> outputs;
  for (const TensorSpec& spec : context.output_specs()) {
    outputs.emplace_back(spec.dtype, spec.shape);
  }
  std::vector<TensorView> output_views;
  for (HostTensor& output : outputs) {
    for (int64_t i = 0; i < output.num_elements(); ++i) output.set_double(i, -77);
    TensorView view;
    view.data = output.bytes();
    view.dtype = output.dtype();
    view.rank = output.rank();
    view.shape = output.shape().data();
    view.device = program.engine->device().device();
    output_views.push_back(view);
  }
  KILN_RETURN_IF_ERROR(context.run(input_views, output_views));
  return outputs;
}

inline std::vector<HostTensor> random_inputs(Program& program, const SymbolValues& symbols,
                                             uint64_t seed = 1,
                                             DataKind kind = DataKind::kSmallIntegers) {
  std::vector<HostTensor> inputs;
  for (Value* input : program.module->main.inputs()) {
    auto dims = evaluate(input->shape(), symbols);
    EXPECT_TRUE(dims.ok());
    inputs.push_back(random_data(input->dtype(), *dims, kind, seed++));
  }
  return inputs;
}

// Engine against reference executor; tolerance 0 is bit for bit, else relative to the rms.
inline void expect_same(Program& program, const SymbolValues& symbols = {}, double tolerance = 0,
                        DataKind kind = DataKind::kSmallIntegers) {
  ASSERT_NE(program.engine, nullptr);
  const std::vector<HostTensor> inputs = random_inputs(program, symbols, 1, kind);
  const auto expected = interpret(*program.module, inputs, program.weights);
  ASSERT_TRUE(expected.ok()) << expected.status().to_string();
  const auto actual = run(program, inputs);
  ASSERT_TRUE(actual.ok()) << actual.status().to_string();
  ASSERT_EQ(actual->size(), expected->size());
  for (size_t i = 0; i < expected->size(); ++i) {
    const HostTensor &a = (*actual)[i], &e = (*expected)[i];
    ASSERT_EQ(a.shape(), e.shape());
    double sum = 0, error = 0;
    std::set<double> values;
    for (int64_t k = 0; k < e.num_elements(); ++k) {
      const double difference = a.get_double(k) - e.get_double(k);
      sum += e.get_double(k) * e.get_double(k);
      error += difference * difference;
      if (values.size() < 4) values.insert(e.get_double(k));
      if (tolerance == 0) {
        ASSERT_EQ(a.get_double(k), e.get_double(k)) << "output " << i << " element " << k;
      }
    }
    // A result that is the same everywhere would prove nothing.
    if (e.num_elements() > 16) {
      EXPECT_GE(values.size(), 3u);
    }
    EXPECT_LE(error, tolerance * tolerance * sum) << "output " << i;
  }
}

}  // namespace kiln::cpu_compile_test

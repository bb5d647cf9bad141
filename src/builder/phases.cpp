// The compiler, as eight calls: whoever reads run_phases() has read it.
#include "builder/phases.h"

#include <chrono>

#include "backends/backend.h"
#include "base/check.h"
#include "builder/backends.h"
#include "fusion/engine_lowering.h"
#include "ir/op_def.h"
#include "passes/storage_rewrite.h"
#include "tuning/kernel_provider.h"

namespace kiln {
namespace {

Status run_pipeline(Build& build, std::string_view name) {
  KILN_ASSIGN_OR_RETURN(PassOptions options, PassOptions::from_debug_options());
  options.label = build.options.name;
  PassManager manager(std::move(options), &build.context);
  KILN_ASSIGN_OR_RETURN(auto items, find_pipeline(name));
  KILN_RETURN_IF_ERROR(manager.run(items, *build.module).status());
  for (const PassTiming& timing : manager.timings()) build.pass_timings.push_back(timing);
  return {};
}

// 1. Canonical form, constants folded into the init graph, batch norms and masks gone.
Status simplify(Build& build) {
  KILN_RETURN_IF_ERROR(run_pipeline(build, "simplify"));
  return {};
}

// 2. The asked precision; without a wish the model's own dtypes stay.
Status apply_precision(Build& build) {
  for (DType dtype : build.options.precisions) {
    if (is_half(dtype)) continue;
    return Status::error("K1002", "precisions of a program are f16 and bf16: " +
                                      std::string(dtype_name(dtype)));
  }
  if (!build.options.precisions.empty()) {
    KILN_RETURN_IF_ERROR(run_pipeline(build, "precision"));
  }
  build.simplified_ir = print(*build.module);
  return {};
}

// 3. What the backend refuses computes in f32, or goes back to aten.call.
Status legalize(Build& build) { return run_pipeline(build, "legalize"); }

// 4. Native nodes in as few runs as the data flow allows.
Status partition(Build& build) {
  KILN_RETURN_IF_ERROR(run_pipeline(build, "partition"));
  if (!build.options.strict) return {};
  std::string names;
  int count = 0;
  for (const auto& record : build.records) {
    if (record.native) continue;
    if (++count <= 5) names += (count > 1 ? ", " : "") + record.op + " (" + record.reason + ")";
  }
  for (const FallbackLog::Entry& fallback : build.fallbacks.entries) {
    if (++count <= 5) names += (count > 1 ? ", " : "") + fallback.op + " (" + fallback.reason + ")";
  }
  if (count == 0) return {};
  return Status::error("K2001", "strict mode and " + std::to_string(count) +
                                    " calls that only pytorch can run: " + names,
                       "leave strict mode to run them in pytorch, between native parts");
}

// 5. Layouts and fusions.
Status fuse(Build& build) {
  KILN_RETURN_IF_ERROR(run_pipeline(build, "fuse"));
  build.lowered_ir = print(*build.module);
  return {};
}

bool is_structural(Node& node) {
  return node.is("aten.call") || node.is("concat") ||
         (node.op->has(kView) && node.num_operands() == 1 &&
          (node.is("reshape") || node.is("permute") || node.is("expand") || node.is("slice")));
}

std::string label_of(Node& node) {
  if (!node.is("fused")) return std::string(node.op_name());
  std::string label;
  for (Node* inner : node.bodies[0]->snapshot()) {
    if (inner->op->has(kSource)) continue;
    label += (label.empty() ? "" : "+") + std::string(inner->op_name());
  }
  return label;
}

// The dtype that a node reads, or makes when it reads nothing.
DType dtype_of(Node& node) {
  for (Value* operand : node.operands()) {
    if (operand != nullptr && operand->type.is_tensor() && is_float(operand->dtype())) {
      return operand->dtype();
    }
  }
  return node.num_results() > 0 && node.result()->type.is_tensor() ? node.result()->dtype()
                                                                   : DType::kF32;
}

// 6. A kernel for every node: the first tactic of the first provider that has one.
Status choose(Build& build) {
  for (Graph* graph : {&build.module->main, &build.module->init}) {
    for (Node* node : graph->snapshot()) {
      if (is_structural(*node)) continue;
      Candidates candidates;
      for (const auto& provider : build.backend->providers()) {
        provider->candidates(*node, build.backend->device(), candidates);
        if (!candidates.tactics.empty()) break;
      }
      Build::KernelChoice choice;
      choice.label = label_of(*node);
      choice.origin = node->origin;
      choice.dtype = dtype_of(*node);
      std::string reasons;
      for (const Refusal& refusal : candidates.refusals) {
        choice.refusals.push_back(refusal.provider + ": " + refusal.reason);
        reasons += (reasons.empty() ? "" : "; ") + choice.refusals.back();
      }
      if (candidates.tactics.empty()) {
        return Status::error("K2510", "no kernel for " + choice.label + ": " +
                                          (reasons.empty() ? "no provider knows it" : reasons))
            .at(node->origin.to_string());
      }
      choice.kernel = candidates.tactics[0]->name();
      if (graph == &build.module->main) build.kernels.push_back(std::move(choice));
      build.tactics[node] = std::move(candidates.tactics[0]);
    }
  }
  return {};
}

// 7. and 8. Steps over slots; then outputs, constants and the init plan.
Status lower_and_plan(Build& build) {
  EngineLowering lowering(*build.module, build.backend->target());
  auto lower_node = [&](Node& node, EngineLowering& to) -> Status {
    Status status = build.tactics.at(&node)->lower(node, to);
    if (status.ok()) return {};
    return std::move(status).at(label_of(node) + " " + node.origin.to_string());
  };
  for (Node* node : build.module->main.snapshot()) {
    KILN_ASSIGN_OR_RETURN(const bool done, lowering.lower_structural(*node));
    if (!done) KILN_RETURN_IF_ERROR(lower_node(*node, lowering));
  }
  KILN_ASSIGN_OR_RETURN(build.plan, lowering.finish(lower_node));
  build.backend->finish(build.plan);
  return verify(build.plan);
}

}  // namespace

int count_segments(Build& build) {
  int segments = 0;
  bool in_segment = false;
  auto count = [&](bool host) {
    if (!host && !in_segment) ++segments;
    in_segment = !host;
  };
  if (!build.plan.main.steps.empty()) {
    for (const StepDesc& step : build.plan.main.steps) count(step.kind == "host.call");
    return segments;
  }
  for (Node* node : build.module->main.snapshot()) {
    // Views and sources compute nothing by themselves.
    if (node->is("aten.call")) count(true);
    else if (!node->op->has(kView) && !node->op->has(kSource)) count(false);
  }
  return segments;
}

namespace {

Status timed(Build& build, const char* name, Status (*phase)(Build&)) {
  using Clock = std::chrono::steady_clock;
  const auto begin = Clock::now();
  Status status = phase(build);
  build.seconds.emplace_back(name, std::chrono::duration<double>(Clock::now() - begin).count());
  return status;
}

}  // namespace

Status run_lowering_phases(Build& build) {
  FusionAdvisor* advisor = build.backend.get();
  build.context.provide(advisor);
  KILN_RETURN_IF_ERROR(timed(build, "fuse", fuse));
  KILN_RETURN_IF_ERROR(timed(build, "choose", choose));
  return timed(build, "lower", lower_and_plan);
}

Status run_phases(Build& build, bool coverage_only) {
  BackendSupport* support = build.backend.get();
  PrecisionWishes precision{build.options.precisions};
  BuildWishes wishes;
  wishes.min_block_size = build.options.min_block_size;
  build.context.provide(support);
  build.context.provide(&build.fallbacks);
  build.context.provide(&wishes);
  build.context.provide(&precision);
  build.context.provide(&build.precision);

  KILN_RETURN_IF_ERROR(timed(build, "simplify", simplify));
  KILN_RETURN_IF_ERROR(timed(build, "precision", apply_precision));
  KILN_RETURN_IF_ERROR(timed(build, "legalize", legalize));
  KILN_RETURN_IF_ERROR(timed(build, "partition", partition));
  if (coverage_only) return {};
  return run_lowering_phases(build);
}

}  // namespace kiln

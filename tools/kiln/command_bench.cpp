// kiln bench: how long a program takes, as a whole and step by step.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>

#include <kiln/program.h>

#include "base/parallel_for.h"
#include "core/cpu_features.h"
#include "runtime/engine.h"
#include "runtime/execution.h"
#include "tools/kiln/command.h"
#include "tools/kiln/output.h"
#include "tools/kiln/tensors.h"

namespace kiln::tool {
namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* kHelp =
    "  --shape NAME=1x3x224x224   shape of an input, or SYMBOL=4 for a size; repeat for each.\n"
    "                             Sizes not given are the lowest that the program takes\n"
    "  --threads N                0 (default): OMP_NUM_THREADS, else all cores\n"
    "  --duration S               measures for S seconds (default 3), at least 10 runs\n"
    "  --iterations N             measures exactly N runs instead\n"
    "  --warmup N                 runs before measuring (default 5)\n"
    "  --profile                  time of each step, with the kernel that does it\n"
    "  --json                     one JSON document on standard output\n"
    "\nInputs are random, outputs preallocated: the times are those of ExecutionContext::run.\n";

double since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// Nearest rank. `sorted` is not empty.
double percentile(const std::vector<double>& sorted, double p) {
  const auto rank = static_cast<size_t>(p * static_cast<double>(sorted.size() - 1) + 0.5);
  return sorted[std::min(rank, sorted.size() - 1)];
}

struct Measurement {
  double load = 0, first = 0;
  std::vector<double> runs;  // sorted
};

// How much is measured.
struct Extent {
  int threads = 0, warmup = 0;
  int iterations = 0;   // 0: as many as fit into `duration`
  double duration = 0;  // seconds
};

struct StepRow {
  const StepDesc* desc = nullptr;
  std::string implementation;
  double seconds = 0;  // median
};

// What is timed: a program with inputs and memory for the outputs.
struct Workload {
  std::shared_ptr<Program> program;
  std::unique_ptr<ExecutionContext> context;
  ChosenShapes shapes;
  std::vector<Tensor> inputs, outputs;
  std::vector<TensorView> input_views, output_views;

  Status run() { return context->run(input_views, output_views); }
};

Status prepare(Workload& work, const Arguments& arguments) {
  const EnginePlan& plan = work.program->engine()->plan();
  KILN_ASSIGN_OR_RETURN(work.shapes, choose_shapes(plan, arguments.all("shape")));
  KILN_ASSIGN_OR_RETURN(work.inputs,
                        random_inputs(plan, work.shapes, work.program->metadata()));
  work.input_views = views_of(work.inputs);
  work.context = work.program->create_context();
  KILN_ASSIGN_OR_RETURN(auto specs, work.context->infer_shapes(work.input_views));
  for (TensorSpec& spec : specs) {
    KILN_ASSIGN_OR_RETURN(Tensor tensor, make_tensor(std::move(spec)));
    work.outputs.push_back(std::move(tensor));
  }
  work.output_views = views_of(work.outputs);
  return {};
}

Result<Extent> read_extent(const Arguments& arguments) {
  Extent extent;
  KILN_ASSIGN_OR_RETURN(extent.threads, arguments.integer("threads", 0, 0, 4096));
  KILN_ASSIGN_OR_RETURN(extent.warmup, arguments.integer("warmup", 5, 0, 1'000'000));
  KILN_ASSIGN_OR_RETURN(extent.iterations, arguments.integer("iterations", 0, 1, 100'000'000));
  KILN_ASSIGN_OR_RETURN(extent.duration, arguments.number("duration", 3, 0.001, 86400));
  return extent;
}

Status measure(Workload& work, const Extent& extent, Measurement& result) {
  auto begin = Clock::now();
  KILN_RETURN_IF_ERROR(work.run());
  result.first = since(begin);
  for (int i = 0; i < extent.warmup; ++i) KILN_RETURN_IF_ERROR(work.run());
  constexpr size_t kMinRuns = 10;
  begin = Clock::now();
  const auto more = [&] {
    if (extent.iterations > 0) {
      return result.runs.size() < static_cast<size_t>(extent.iterations);
    }
    return result.runs.size() < kMinRuns || since(begin) < extent.duration;
  };
  while (more()) {
    const auto start = Clock::now();
    KILN_RETURN_IF_ERROR(work.run());
    result.runs.push_back(since(start));
  }
  std::sort(result.runs.begin(), result.runs.end());
  return {};
}

Status profile(Workload& work, std::vector<StepRow>& rows) {
  constexpr int kRuns = 20;
  ExecutionContext::Impl& impl = *work.context->impl();
  impl.set_profiling(true);
  std::vector<std::vector<double>> seconds;
  for (int i = 0; i < kRuns; ++i) {
    KILN_RETURN_IF_ERROR(work.run());
    seconds.resize(impl.binding().shape->steps.size());
    for (size_t k = 0; k < seconds.size(); ++k) seconds[k].push_back(impl.step_seconds()[k]);
  }
  impl.set_profiling(false);
  const EnginePlan& plan = work.program->engine()->plan();
  for (size_t k = 0; k < seconds.size(); ++k) {
    const ShapePlan::RunStep& step = impl.binding().shape->steps[k];
    std::sort(seconds[k].begin(), seconds[k].end());
    rows.push_back({&plan.main.steps[static_cast<size_t>(step.index)],
                    step.step->implementation(), percentile(seconds[k], 0.5)});
  }
  return {};
}

// Sums of `rows` by a name, the largest first.
struct Sum {
  std::string name;
  int count = 0;
  double seconds = 0;
};
template <typename F>
std::vector<Sum> sums_by(const std::vector<StepRow>& rows, F name) {
  std::map<std::string, Sum> by_name;
  for (const StepRow& row : rows) {
    Sum& sum = by_name[name(row)];
    sum.name = name(row);
    ++sum.count;
    sum.seconds += row.seconds;
  }
  std::vector<Sum> sums;
  for (const auto& [key, sum] : by_name) sums.push_back(sum);
  std::stable_sort(sums.begin(), sums.end(),
                   [](const Sum& a, const Sum& b) { return a.seconds > b.seconds; });
  return sums;
}

std::string kind_of(const StepRow& row) { return row.desc->kind; }
std::string implementation_of(const StepRow& row) { return row.implementation; }

Json profile_json(const std::vector<StepRow>& rows) {
  Json::Array steps;
  for (const StepRow& row : rows) {
    Json entry = Json::object();
    entry.set("kind", row.desc->kind);
    entry.set("label", row.desc->label);
    entry.set("origin", row.desc->origin);
    entry.set("implementation", row.implementation);
    entry.set("seconds", row.seconds);
    steps.push_back(std::move(entry));
  }
  const auto sums_json = [&](const std::vector<Sum>& sums) {
    Json object = Json::object();
    for (const Sum& sum : sums) {
      Json entry = Json::object();
      entry.set("steps", sum.count);
      entry.set("seconds", sum.seconds);
      object.set(sum.name, std::move(entry));
    }
    return object;
  };
  Json json = Json::object();
  json.set("steps", Json(std::move(steps)));
  json.set("by_kind", sums_json(sums_by(rows, kind_of)));
  json.set("by_implementation", sums_json(sums_by(rows, implementation_of)));
  return json;
}

void print_profile(const std::vector<StepRow>& rows) {
  double total = 0;
  for (const StepRow& row : rows) total += row.seconds;
  const auto share = [total](double seconds) {
    return show_percent(total > 0 ? seconds / total : 0);
  };
  std::puts("\nsteps, in order (medians):");
  Table steps({">step", ">time", ">share", "kind", "implementation", "computes", "origin"});
  for (size_t k = 0; k < rows.size(); ++k) {
    steps.add({std::to_string(k), show_seconds(rows[k].seconds), share(rows[k].seconds),
               rows[k].desc->kind, rows[k].implementation, rows[k].desc->label,
               rows[k].desc->origin});
  }
  std::fputs(steps.text().c_str(), stdout);
  const auto print_sums = [&](const char* title, const std::vector<Sum>& sums) {
    std::printf("\n%s:\n", title);
    Table table({">time", ">share", ">steps", ""});
    for (const Sum& sum : sums) {
      table.add({show_seconds(sum.seconds), share(sum.seconds), std::to_string(sum.count),
                 sum.name});
    }
    std::fputs(table.text().c_str(), stdout);
  };
  print_sums("by kind", sums_by(rows, kind_of));
  print_sums("by implementation", sums_by(rows, implementation_of));
}

Result<int> bench(const Arguments& arguments) {
  if (arguments.words.size() != 1) {
    return Status::error("K1008", "kiln bench takes one file", "kiln help bench");
  }
  KILN_ASSIGN_OR_RETURN(const Extent extent, read_extent(arguments));
  Workload work;
  Measurement result;
  LoadOptions options;
  options.threads = extent.threads;
  const auto begin = Clock::now();
  KILN_ASSIGN_OR_RETURN(work.program, Program::load(arguments.words[0], options));
  result.load = since(begin);
  KILN_RETURN_IF_ERROR(prepare(work, arguments));
  KILN_RETURN_IF_ERROR(measure(work, extent, result));
  std::vector<StepRow> rows;
  if (arguments.has("profile")) KILN_RETURN_IF_ERROR(profile(work, rows));

  const Engine& engine = *work.program->engine();
  const int used_threads = work.context->impl()->binding().threads;
  double sum = 0;
  for (double seconds : result.runs) sum += seconds;
  const double mean = sum / static_cast<double>(result.runs.size());
  const std::pair<const char*, double> figures[] = {
      {"min", result.runs.front()},
      {"p50", percentile(result.runs, 0.5)},
      {"p90", percentile(result.runs, 0.9)},
      {"p99", percentile(result.runs, 0.99)},
      {"max", result.runs.back()},
      {"mean", mean}};
  const size_t constants = engine.constants()->owned_bytes;
  const size_t activations = work.context->impl()->arena_bytes();

  if (arguments.has("json")) {
    Json json = Json::object();
    json.set("threads", used_threads);
    json.set("cpu", cpu_level_name(cpu_level()));
    json.set("target", engine.plan().target);
    Json inputs = Json::object();
    for (size_t i = 0; i < work.inputs.size(); ++i) {
      inputs.set(engine.plan().inputs[i].name, Json(work.inputs[i].spec.shape));
    }
    json.set("inputs", std::move(inputs));
    json.set("load_seconds", result.load);
    json.set("first_run_seconds", result.first);
    json.set("runs", static_cast<long>(result.runs.size()));
    Json seconds = Json::object();
    for (const auto& [name, value] : figures) seconds.set(name, value);
    json.set("seconds", std::move(seconds));
    Json memory = Json::object();
    memory.set("constant_bytes", static_cast<long>(constants));
    memory.set("activation_bytes", static_cast<long>(activations));
    json.set("memory", std::move(memory));
    if (arguments.has("profile")) json.set("profile", profile_json(rows));
    print_json(json);
    return 0;
  }
  std::vector<std::string> shapes;
  for (size_t i = 0; i < work.inputs.size(); ++i) {
    shapes.push_back(engine.plan().inputs[i].name + " " + show_shape(work.inputs[i].spec.shape));
  }
  std::printf("inputs     %s\n", join(shapes, ", ").c_str());
  std::printf("threads    %d (%s)\n", used_threads, engine.plan().target.c_str());
  std::printf("load       %s\n", show_seconds(result.load).c_str());
  std::printf("first run  %s\n", show_seconds(result.first).c_str());
  std::printf("memory     %s packed and computed constants, %s activations\n",
              show_bytes(constants).c_str(), show_bytes(activations).c_str());
  std::printf("%zu runs\n", result.runs.size());
  for (const auto& [name, value] : figures) {
    std::printf("  %-6s   %s\n", name, show_seconds(value).c_str());
  }
  std::printf("  %.1f runs a second\n", 1 / mean);
  if (arguments.has("profile")) print_profile(rows);
  return 0;
}

}  // namespace

Command bench_command() {
  return {"bench",
          "MODEL.kiln [--shape NAME=DIMS ...] [--threads N] [--iterations N | --duration S]\n"
          "           [--warmup N] [--profile] [--json]",
          "times a program, and its steps with --profile",
          kHelp,
          {"profile", "json"},
          {"shape", "threads", "iterations", "warmup", "duration"},
          bench};
}

}  // namespace kiln::tool

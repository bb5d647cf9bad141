// kiln inspect: what is in a file. Reads and checks everything, executes nothing.
#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>

#include "base/file.h"
#include "base/json.h"
#include "core/call_arg.h"
#include "core/cpu_features.h"
#include "core/dtype.h"
#include "runtime/archive.h"
#include "runtime/engine_reader.h"
#include "runtime/harmless_ops.h"
#include "runtime/input_symbols.h"
#include "runtime/step.h"
#include "tools/kiln/command.h"
#include "tools/kiln/output.h"

namespace kiln::tool {
namespace {

constexpr const char* kHelp =
    "  --graph    only the IR that the program was built from, as text\n"
    "  --plan     only the plan for this machine, as JSON\n"
    "  --steps    also the steps, one a line\n"
    "  --verify   also checks that this build has every step and that each accepts its parameters\n"
    "  --json     one JSON document on standard output (with --graph, --plan: as members)\n"
    "\nThe file is checked whole, hashes and structure included; nothing in it is executed.\n";

struct File {
  std::shared_ptr<const void> owner;  // of the bytes that entries and weights refer to
  std::vector<ArchiveEntry> entries;
  size_t size = 0;
  EngineContents contents;
  Json report;
};

struct ConstantSums {
  int borrowed = 0, computed = 0, packed = 0;
  uint64_t computed_bytes = 0;  // as the file says; wraps where that is nonsense
};

Result<File> read(const std::string& path) {
  KILN_ASSIGN_OR_RETURN(MappedFile mapped, MappedFile::open(path));
  const auto owner = std::make_shared<MappedFile>(std::move(mapped));
  File file;
  file.size = owner->size();
  KILN_ASSIGN_OR_RETURN(file.entries, read_archive(owner->text()));
  KILN_ASSIGN_OR_RETURN(file.contents, read_engine_file(owner->text(), owner, 0, /*to_run=*/false));
  // What is shown below relies on indices that only this checks.
  KILN_RETURN_IF_ERROR(verify(file.contents.plan));
  file.owner = owner;
  KILN_ASSIGN_OR_RETURN(file.report, parse_json(file.contents.report));
  return file;
}

std::string range_text(const DimRange& range) {
  return std::to_string(range.min) + ".." +
         (range.max == DimRange::kNoBound ? "" : std::to_string(range.max));
}

// "f32[s0,3,224,224]", "f32[1,64,56,56] memory order 0,2,3,1".
std::string type_text(const TensorSignature& signature) {
  if (signature.is_object) return "object of the host";
  std::vector<std::string> dims;
  for (const DimExpr& dim : signature.dims) dims.push_back(dim.to_string());
  std::string text = std::string(dtype_name(signature.dtype)) + "[" + join(dims, ",") + "]";
  if (!signature.order.empty()) {
    std::vector<std::string> order;
    for (int dim : signature.order) order.push_back(std::to_string(dim));
    text += " memory order " + join(order, ",");
  }
  return text;
}

Json signature_json(const TensorSignature& signature, const SymbolRanges& ranges) {
  Json json = Json::object();
  json.set("name", signature.name);
  if (signature.is_object) {
    json.set("object", true);
    return json;
  }
  json.set("dtype", dtype_name(signature.dtype));
  Json::Array dims;
  for (const DimExpr& dim : signature.dims) {
    if (dim.is_constant()) {
      dims.emplace_back(static_cast<long>(dim.value()));
      continue;
    }
    const DimRange range = dim.range(ranges);
    Json entry = Json::object();
    entry.set("expression", dim.to_string());
    entry.set("min", static_cast<long>(range.min));
    if (range.max != DimRange::kNoBound) entry.set("max", static_cast<long>(range.max));
    dims.push_back(std::move(entry));
  }
  json.set("dims", Json(std::move(dims)));
  if (!signature.order.empty()) json.set("memory_order", Json(signature.order));
  return json;
}

std::string role_text(const PlanOutput& output, const EnginePlan& plan) {
  if (output.kind == PlanOutput::Kind::kResult) return "result";
  const std::string& target = plan.inputs[static_cast<size_t>(output.target)].name;
  return (output.kind == PlanOutput::Kind::kWriteInput ? "written into " : "view of ") + target;
}

std::vector<std::pair<std::string, int>> steps_by_kind(const EnginePlan& plan) {
  std::map<std::string, int> counts;
  for (const StepDesc& step : plan.main.steps) ++counts[step.kind];
  std::vector<std::pair<std::string, int>> sorted(counts.begin(), counts.end());
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  return sorted;
}

ConstantSums sum_constants(const EnginePlan& plan) {
  ConstantSums sums;
  for (int index : plan.constants) {
    const Slot& slot = plan.init.slots[static_cast<size_t>(index)];
    if (slot.kind == SlotKind::kInput) {
      ++sums.borrowed;
    } else if (slot.packed) {
      ++sums.packed;
    } else {
      ++sums.computed;
      if (slot.num_elements.is_constant()) {
        sums.computed_bytes +=
            static_cast<uint64_t>(slot.num_elements.value()) * dtype_bytes(slot.dtype);
      }
    }
  }
  return sums;
}

// Calls that PyTorch executes: full operator name -> how often, and whether a file from a stranger
// may make them.
struct HostCalls {
  int count = 0;
  bool harmless = true;
};
Result<std::map<std::string, HostCalls>> host_calls(const EnginePlan& plan) {
  std::map<std::string, HostCalls> calls;
  for (const StepDesc& step : plan.main.steps) {
    if (step.kind != "host.call") continue;
    KILN_ASSIGN_OR_RETURN(const std::string text, step.params.string_at("call"));
    KILN_ASSIGN_OR_RETURN(const Call call, Call::parse(text));
    HostCalls& entry = calls[call.full_name()];
    ++entry.count;
    entry.harmless = entry.harmless && is_harmless_op(call);
  }
  return calls;
}

// Sizes can be found from the inputs, and every native step is known to this build and accepts its
// parameters.
Status verify_plan(const EnginePlan& plan) {
  KILN_RETURN_IF_ERROR(check_solvable(plan.inputs, plan.symbols, plan.conditions));
  for (const Plan* part : {&plan.init, &plan.main}) {
    for (const StepDesc& step : part->steps) {
      if (step.kind == "host.call") continue;  // needs PyTorch
      auto made = StepRegistry::global().create(step, StepEnvironment());
      if (!made.ok()) return std::move(made).status().at(step.origin);
    }
  }
  return {};
}

std::string view_text(const PlanView& view, const EnginePlan& plan, const Plan& part) {
  const Slot& slot = part.slots[static_cast<size_t>(view.slot)];
  std::string text;
  switch (slot.kind) {
    case SlotKind::kInput: text = plan.inputs[static_cast<size_t>(slot.index)].name; break;
    case SlotKind::kOutput: text = "out" + std::to_string(slot.index); break;
    case SlotKind::kConstant: text = "const" + std::to_string(slot.index); break;
    case SlotKind::kTemp: text = "t" + std::to_string(view.slot); break;
    case SlotKind::kHost:
    case SlotKind::kObject: text = "host" + std::to_string(view.slot); break;
  }
  if (slot.packed) return text + ":packed";
  std::vector<std::string> dims;
  for (const DimExpr& dim : view.dims) dims.push_back(dim.to_string());
  return text + ":" + std::string(dtype_name(slot.dtype)) + "[" + join(dims, ",") + "]";
}

std::string views_text(const std::vector<PlanView>& views, const EnginePlan& plan) {
  std::vector<std::string> texts;
  for (const PlanView& view : views) texts.push_back(view_text(view, plan, plan.main));
  return join(texts, ", ");
}

Json steps_json(const EnginePlan& plan) {
  Json::Array steps;
  for (const StepDesc& step : plan.main.steps) {
    Json entry = Json::object();
    entry.set("kind", step.kind);
    entry.set("label", step.label);
    entry.set("origin", step.origin);
    entry.set("inputs", views_text(step.inputs, plan));
    entry.set("outputs", views_text(step.outputs, plan));
    steps.push_back(std::move(entry));
  }
  return Json(std::move(steps));
}

// Machine code that the file brings.
Json code_json(const NativeCode& code) {
  Json json = to_json(code);
  Json::Array kernels;
  for (const NativeKernel& kernel : code.kernels) {
    Json entry = Json::object();
    entry.set("entry", kernel.entry);
    entry.set("family", kernel.family);
    entry.set("code", native_entry_name(kernel.code));
    entry.set("bytes", static_cast<long>(kernel.image.size()));
    kernels.push_back(std::move(entry));
  }
  json.set("kernels", Json(std::move(kernels)));
  return json;
}

void print_code(const NativeCode& code) {
  if (code.kernels.empty()) return;
  std::printf("\nmachine code for %s by %s, used only with trust:\n", code.isa.c_str(),
              code.compiler.c_str());
  Table table({"kernel", "family", ">size", "code"});
  for (const NativeKernel& kernel : code.kernels) {
    table.add({kernel.entry, kernel.family, show_bytes(kernel.image.size()), kernel.code.hex()});
  }
  std::fputs(table.text().c_str(), stdout);
}

Result<Json> describe(const File& file, const Arguments& arguments) {
  const EnginePlan& plan = file.contents.plan;
  Json json = Json::object();
  json.set("bytes", static_cast<long>(file.size));
  Json entries = Json::object();
  for (const ArchiveEntry& entry : file.entries) {
    entries.set(entry.name, static_cast<long>(entry.content.size()));
  }
  json.set("entries", std::move(entries));
  json.set("targets", Json(file.contents.targets));
  json.set("chosen_target", plan.target);
  Json symbols = Json::object();
  for (const auto& [name, range] : plan.symbols) {
    Json entry = Json::object();
    entry.set("min", static_cast<long>(range.min));
    if (range.max != DimRange::kNoBound) entry.set("max", static_cast<long>(range.max));
    symbols.set(name, std::move(entry));
  }
  json.set("symbols", std::move(symbols));
  Json::Array conditions;
  for (const SizeCondition& condition : plan.conditions) {
    Json entry = Json::object();
    entry.set("condition", condition.to_string());
    entry.set("text", condition.text);
    conditions.push_back(std::move(entry));
  }
  json.set("conditions", std::move(conditions));
  Json::Array inputs, outputs;
  for (const TensorSignature& input : plan.inputs) {
    inputs.push_back(signature_json(input, plan.symbols));
  }
  for (const PlanOutput& output : plan.outputs) {
    Json entry = signature_json(output.signature, plan.symbols);
    entry.set("role", role_text(output, plan));
    outputs.push_back(std::move(entry));
  }
  json.set("inputs", Json(std::move(inputs)));
  json.set("outputs", Json(std::move(outputs)));
  const ConstantSums constants = sum_constants(plan);
  Json memory = Json::object();
  memory.set("weights", static_cast<long>(plan.weights.size()));
  size_t weight_bytes = 0;
  for (const WeightBytes& weight : file.contents.weights) weight_bytes += weight.bytes;
  memory.set("weight_bytes", static_cast<long>(weight_bytes));
  memory.set("constants_borrowed", constants.borrowed);
  memory.set("constants_computed", constants.computed);
  memory.set("constants_computed_bytes", static_cast<long>(constants.computed_bytes));
  memory.set("constants_packed", constants.packed);
  json.set("memory", std::move(memory));
  Json kinds = Json::object();
  for (const auto& [kind, count] : steps_by_kind(plan)) kinds.set(kind, count);
  json.set("steps_by_kind", std::move(kinds));
  KILN_ASSIGN_OR_RETURN(const auto calls, host_calls(plan));
  Json::Array host;
  for (const auto& [name, call] : calls) {
    Json entry = Json::object();
    entry.set("op", name);
    entry.set("count", call.count);
    entry.set("needs_allow_ops", !call.harmless);
    host.push_back(std::move(entry));
  }
  json.set("host_calls", Json(std::move(host)));
  if (!file.contents.code.kernels.empty()) json.set("code", code_json(file.contents.code));
  json.set("report", file.report);
  if (arguments.has("verify")) json.set("verified", true);
  if (arguments.has("steps")) json.set("steps", steps_json(plan));
  if (arguments.has("plan")) json.set("plan", to_json(plan));
  if (arguments.has("graph")) json.set("graph", file.contents.graph);
  return json;
}

void print_signature(const EnginePlan& plan) {
  Table inputs({"input", "type"});
  for (const TensorSignature& input : plan.inputs) inputs.add({input.name, type_text(input)});
  std::printf("\n%s", inputs.text().c_str());
  Table outputs({"output", "type", "role"});
  for (const PlanOutput& output : plan.outputs) {
    outputs.add({output.signature.name, type_text(output.signature), role_text(output, plan)});
  }
  std::printf("\n%s", outputs.text().c_str());
  if (plan.symbols.empty()) return;
  Table symbols({"size", "range"});
  for (const auto& [name, range] : plan.symbols) symbols.add({name, range_text(range)});
  std::printf("\n%s", symbols.text().c_str());
  if (plan.conditions.empty()) return;
  Table conditions({"condition", "text"});
  for (const SizeCondition& condition : plan.conditions) {
    conditions.add({condition.to_string(), condition.text});
  }
  std::printf("\n%s", conditions.text().c_str());
}

Status print_description(const File& file, const Arguments& arguments) {
  const EnginePlan& plan = file.contents.plan;
  std::printf("%s: %s\n", arguments.words[0].c_str(), show_bytes(file.size).c_str());
  std::printf("plans for %s; on this machine (cpu:%s): %s\n",
              join(file.contents.targets, ", ").c_str(),
              std::string(cpu_level_name(cpu_level())).c_str(), plan.target.c_str());
  const auto total = file.report.int_at("ops_total"), native = file.report.int_at("ops_native");
  if (total.ok() && native.ok()) {
    std::printf("%lld of %lld captured calls in Kiln\n", static_cast<long long>(*native),
                static_cast<long long>(*total));
  }
  print_signature(plan);

  Table entries({"entry", ">size"});
  for (const ArchiveEntry& entry : file.entries) {
    if (entry.name.ends_with(".cubin")) continue;  // below
    entries.add({entry.name, show_bytes(entry.content.size())});
  }
  std::printf("\n%s", entries.text().c_str());

  const ConstantSums constants = sum_constants(plan);
  size_t weight_bytes = 0;
  bool external = false;
  for (const WeightBytes& weight : file.contents.weights) {
    weight_bytes += weight.bytes;
    external = external || (weight.data == nullptr && weight.bytes != 0);
  }
  std::printf(
      "\nweights: %zu of %s%s; constants: %d as they are, %d computed at load (%s), "
      "%d packed at load\n",
      plan.weights.size(), show_bytes(weight_bytes).c_str(), external ? ", not in the file" : "",
      constants.borrowed, constants.computed, show_bytes(constants.computed_bytes).c_str(),
      constants.packed);

  std::printf("\n%zu steps:\n", plan.main.steps.size());
  Table kinds({">count", "kind"});
  for (const auto& [kind, count] : steps_by_kind(plan)) kinds.add({std::to_string(count), kind});
  std::fputs(kinds.text().c_str(), stdout);
  KILN_ASSIGN_OR_RETURN(const auto calls, host_calls(plan));
  if (!calls.empty()) {
    std::puts("\nexecuted by PyTorch:");
    Table table({">count", "operator", ""});
    for (const auto& [name, call] : calls) {
      table.add(
          {std::to_string(call.count), name, call.harmless ? "" : "needs allow_ops or trust"});
    }
    std::fputs(table.text().c_str(), stdout);
  }
  print_code(file.contents.code);
  if (arguments.has("steps")) {
    std::puts("");
    Table steps({">step", "kind", "computes", "inputs", "outputs", "origin"});
    for (size_t k = 0; k < plan.main.steps.size(); ++k) {
      const StepDesc& step = plan.main.steps[k];
      steps.add({std::to_string(k), step.kind, step.label, views_text(step.inputs, plan),
                 views_text(step.outputs, plan), step.origin});
    }
    std::fputs(steps.text().c_str(), stdout);
  }
  if (arguments.has("verify")) std::puts("\nverified: this build has every step of the plan");
  return {};
}

Result<int> inspect(const Arguments& arguments) {
  if (arguments.words.size() != 1) {
    return Status::error("K1008", "kiln inspect takes one file", "kiln help inspect");
  }
  auto file = read(arguments.words[0]);
  if (!file.ok()) return std::move(file).status().at(arguments.words[0]);
  if (arguments.has("verify")) KILN_RETURN_IF_ERROR(verify_plan(file->contents.plan));
  if (arguments.has("json")) {
    KILN_ASSIGN_OR_RETURN(const Json json, describe(*file, arguments));
    print_json(json);
    return 0;
  }
  if (arguments.has("graph") || arguments.has("plan")) {
    if (arguments.has("graph")) std::fputs(file->contents.graph.c_str(), stdout);
    if (arguments.has("plan")) print_json(to_json(file->contents.plan));
    return 0;
  }
  KILN_RETURN_IF_ERROR(print_description(*file, arguments));
  return 0;
}

}  // namespace

Command inspect_command() {
  return {"inspect",
          "MODEL.kiln [--graph] [--plan] [--steps] [--verify] [--json]",
          "shows what is in a file, without executing it",
          kHelp,
          {"graph", "plan", "steps", "verify", "json"},
          {},
          inspect};
}

}  // namespace kiln::tool

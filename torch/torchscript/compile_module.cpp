#include "torch/torchscript/compile_module.h"

#include <map>

#include "base/border.h"
#include "torch/torchscript/module_parts.h"
#include "torch/torchscript/module_path.h"
#include "torch/torchscript/partial_module.h"

namespace kiln::torchscript {
namespace {

// Paths of modules in the rows of a part's report, from the root on.
void prepend_path(Json& report, const char* rows, const std::string& path) {
  const Json* known = report.find(rows);
  if (known == nullptr || !known->is_array()) return;
  Json result = Json::array();
  for (Json row : known->as_array()) {
    if (const auto own = row.string_at("module_path"); own.ok()) {
      row.set("module_path", own->empty() ? path : inside(path, *own));
    }
    result.push_back(std::move(row));
  }
  report.set(rows, std::move(result));
}

struct PartProgram {
  Json report;
  std::string ir;
};

Result<PartAnswer> build_part(const PartRequest& part, ScriptCompileOptions options,
                              std::map<std::string, PartProgram>& made) {
  options.torch_executed_modules = part.torch_executed_modules;
  options.hooks = false;
  PartAnswer answer;
  ImportFailure stopped;
  const Result<CompiledMethod> compiled =
      compile_method(part.module, "forward", part.arguments, options, &stopped);
  if (!compiled.ok() && compiled.status().code() == "K1145") {
    answer.stopped = std::move(stopped);
    return answer;
  }
  KILN_RETURN_IF_ERROR(compiled.status());
  KILN_ASSIGN_OR_RETURN(Json report, report_of(*compiled));
  KILN_ASSIGN_OR_RETURN(const int64_t native, report.int_at("ops_native", 0, INT64_MAX));
  if (native == 0) {
    answer.nothing_native = true;
    return answer;
  }
  Result<torch::jit::Module> module = module_of(*compiled, options);
  if (!module.ok() && module.status().code() == "K1019") {
    answer.no_module = module.status().code() + ": " + module.status().message();
    return answer;
  }
  KILN_RETURN_IF_ERROR(module.status());
  answer.module = std::move(module).value();
  for (const char* rows : {"fallbacks", "kernels"}) prepend_path(report, rows, part.path);
  made[part.path] = {std::move(report), compiled->program->ir("simplified")};
  return answer;
}

int64_t total(const std::vector<Json>& reports, const char* name) {
  int64_t sum = 0;
  for (const Json& report : reports) {
    if (const auto value = report.int_at(name, 0, INT64_MAX); value.ok()) sum += *value;
  }
  return sum;
}

// The numbers of objects, by name.
Json sum_of_members(const std::vector<Json>& reports, const char* name) {
  Json result = Json::object();
  for (const Json& report : reports) {
    const Json* object = report.find(name);
    if (object == nullptr || !object->is_object()) continue;
    for (const JsonMember& member : object->as_object()) {
      const Json* known = result.find(member.key);
      if (member.value.is_int() && (known == nullptr || known->is_int())) {
        result.set(member.key, member.value.as_int() + (known == nullptr ? 0 : known->as_int()));
      } else {
        result.set(member.key,
                   member.value.as_double() + (known == nullptr ? 0.0 : known->as_double()));
      }
    }
  }
  return result;
}

Json joined(const std::vector<Json>& reports, const char* name) {
  Json rows = Json::array();
  for (const Json& report : reports) {
    const Json* own = report.find(name);
    if (own == nullptr || !own->is_array()) continue;
    for (const Json& row : own->as_array()) rows.push_back(row);
  }
  return rows;
}

Json sum_up(const std::vector<Json>& reports, const ModuleParts& parts) {
  Json report = reports[0];
  for (const char* name : {"ops_total", "ops_native", "segments"}) {
    report.set(name, total(reports, name));
  }
  for (const char* name : {"fallbacks", "kernels"}) report.set(name, joined(reports, name));
  for (const char* name : {"memory", "build_seconds", "steps"}) {
    report.set(name, sum_of_members(reports, name));
  }
  Json notes = joined(reports, "notes");
  for (const auto& [path, why] : parts.kept) {
    notes.push_back("stays in TorchScript: " + (path.empty() ? "(root)" : path) + ": " + why);
  }
  report.set("notes", std::move(notes));
  return report;
}

}  // namespace

Result<CompiledModule> compile_module(const torch::jit::Module& module, const Arguments& arguments,
                                      const ScriptCompileOptions& options) {
  CompiledModule result;
  ImportFailure stopped;
  Result<CompiledMethod> whole = compile_method(module, "forward", arguments, options, &stopped);
  if (whole.ok()) {
    KILN_ASSIGN_OR_RETURN(result.report, report_of(*whole));
    KILN_ASSIGN_OR_RETURN(result.module, module_of(*whole, options));
    result.irs.push_back(whole->program->ir("simplified"));
    return result;
  }
  if (whole.status().code() != "K1145" || options.build.strict) return whole.status();
  return guarded([&]() -> Result<CompiledModule> {
    KILN_ASSIGN_OR_RETURN(Callee callee, callee_of(module, "forward"));
    callee.hooks = options.hooks;
    std::map<std::string, PartProgram> made;
    KILN_ASSIGN_OR_RETURN(
        ModuleParts parts,
        find_parts(callee, arguments, stopped,
                   {options.torch_executed_modules, options.build.min_block_size},
                   [&](const PartRequest& part) { return build_part(part, options, made); }));
    if (parts.built.empty()) return whole.status();
    KILN_ASSIGN_OR_RETURN(result.module, replace_submodules(module, parts.modules));
    std::vector<Json> reports;
    for (const std::string& path : parts.built) {
      reports.push_back(std::move(made.at(path).report));
      result.irs.push_back(std::move(made.at(path).ir));
    }
    result.report = sum_up(reports, parts);
    result.kept = std::move(parts.kept);
    return result;
  });
}

}  // namespace kiln::torchscript

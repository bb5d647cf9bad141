#include "torch/torchscript/compile_module.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>

#include "base/border.h"
#include "torch/torchscript/module_path.h"
#include "torch/torchscript/partial_module.h"
#include "torch/torchscript/submodule_uses.h"

namespace kiln::torchscript {
namespace {

// Whether one program serves two calls: tensors agree in dtype, sizes and strides, all else in
// value.
bool same_call(const c10::IValue& a, const c10::IValue& b) {
  const auto all = [](const auto& x, const auto& y) {
    return x.size() == y.size() && std::equal(x.begin(), x.end(), y.begin(), same_call);
  };
  if (a.tagKind() != b.tagKind()) return false;
  if (a.isTensor()) {
    const at::Tensor &x = a.toTensor(), &y = b.toTensor();
    if (!x.defined() || !y.defined()) return x.defined() == y.defined();
    return x.scalar_type() == y.scalar_type() && x.sizes() == y.sizes() &&
           x.strides() == y.strides();
  }
  if (a.isList()) return all(a.toListRef(), b.toListRef());
  if (a.isTuple()) return all(a.toTupleRef().elements(), b.toTupleRef().elements());
  if (a.isGenericDict()) {
    const auto x = a.toGenericDict(), y = b.toGenericDict();
    if (x.size() != y.size()) return false;
    return std::all_of(x.begin(), x.end(), [&](const auto& entry) {
      const auto found = y.find(entry.key());
      return found != y.end() && same_call(entry.value(), found->value());
    });
  }
  return a == b;
}

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

// Compiles the parts of one module.
class Parts {
 public:
  Parts(const torch::jit::Module& root, const ScriptCompileOptions& options, ModuleCalls calls)
      : options_(options), calls_(std::move(calls)), uses_(root) {
    collect(root, "");
  }

  // The submodules of those in which the import of the module at `path` stopped.
  Status follow(const std::string& path, const ImportFailure& stopped) {
    std::vector<std::string> stays = {path};
    for (size_t begin = 0; begin < stopped.module_path.size();) {
      const size_t end = std::min(stopped.module_path.find('.', begin), stopped.module_path.size());
      stays.push_back(inside(stays.back(), stopped.module_path.substr(begin, end - begin)));
      begin = end + 1;
    }
    for (size_t i = 0; i + 1 < stays.size(); ++i) {
      keep(stays[i], "calls '" + stays.back() + "', which stays");
    }
    keep(stays.back(), "method " + stopped.function + ": " + stopped.reason +
                           (stopped.location.empty() ? "" : " at " + stopped.location));
    for (const std::string& module : stays) KILN_RETURN_IF_ERROR(visit(module));
    return {};
  }

  std::map<std::string, torch::jit::Module> replacements;
  std::vector<Json> reports;
  std::vector<std::pair<std::string, std::string>> kept;
  std::vector<std::string> irs;

 private:
  void collect(const torch::jit::Module& module, const std::string& path) {
    modules_.emplace(path, module);
    for (const auto& child : module.named_children()) {
      const std::string name = inside(path, child.name);
      children_[path].push_back(name);
      collect(child.value, name);
    }
  }

  bool is_kept(const std::string& path) const {
    return std::any_of(kept.begin(), kept.end(),
                       [&](const auto& entry) { return entry.first == path; });
  }
  void keep(const std::string& path, std::string why) {
    if (!is_kept(path)) kept.emplace_back(path, std::move(why));
  }

  // The submodules of a module that stays.
  Status visit(const std::string& path) {
    uses_.keep(path);
    if (!uses_.why_whole(path).empty()) return {};
    for (const std::string& child : children_[path]) {
      if (is_kept(child)) continue;
      // Where it was not called it is a container, or has nothing to do.
      KILN_RETURN_IF_ERROR(calls_.contains(child) ? compile_part(child) : visit(child));
    }
    return {};
  }

  // The options for a submodule, whose paths begin at itself. Null where all of it is to stay.
  std::optional<ScriptCompileOptions> options_of(const std::string& path) const {
    ScriptCompileOptions own = options_;
    own.hooks = false;
    own.torch_executed_modules.clear();
    for (const std::string& kept_path : options_.torch_executed_modules) {
      if (path == kept_path || path.starts_with(kept_path + ".")) return std::nullopt;
      if (kept_path.starts_with(path + ".")) {
        own.torch_executed_modules.push_back(kept_path.substr(path.size() + 1));
      }
    }
    return own;
  }

  Status compile_part(const std::string& path) {
    const torch::jit::Module& module = modules_.at(path);
    std::vector<std::vector<c10::IValue>> calls;
    for (const auto& call : calls_.at(path)) {
      if (!call) {
        keep(path, "is called inside an autocast region");
        return visit(path);
      }
      calls.push_back(*call);
    }
    const std::optional<ScriptCompileOptions> options = options_of(path);
    if (!options) {
      keep(path, "torch_executed_modules names it");
      return {};
    }
    for (const std::vector<c10::IValue>& call : calls) {
      if (std::equal(call.begin(), call.end(), calls[0].begin(), calls[0].end(), same_call)) {
        continue;
      }
      keep(path, "is called with arguments of several shapes");
      return visit(path);
    }
    if (std::string why = uses_.why_not(path, calls[0]); !why.empty()) {
      keep(path, std::move(why));
      return visit(path);
    }
    Arguments arguments;
    arguments.values = calls[0];
    arguments.positional = calls[0].size();
    ImportFailure stopped;
    Result<CompiledMethod> compiled =
        compile_method(module, "forward", arguments, *options, &stopped);
    if (!compiled.ok() && compiled.status().code() == "K1145") return follow(path, stopped);
    KILN_RETURN_IF_ERROR(compiled.status());
    KILN_ASSIGN_OR_RETURN(Json report, report_of(*compiled));
    KILN_ASSIGN_OR_RETURN(const int64_t native, report.int_at("ops_native", 0, INT64_MAX));
    if (native == 0) {
      keep(path, options->build.min_block_size > 1
                     ? "holds fewer calls in a row that Kiln has kernels for than min_block_size"
                     : "holds no call that Kiln has a kernel for");
      return {};
    }
    Result<torch::jit::Module> made = module_of(*compiled, *options);
    if (!made.ok() && made.status().code() == "K1019") {
      keep(path, made.status().to_string());
      return {};
    }
    KILN_RETURN_IF_ERROR(made.status());
    if (std::string why = uses_.why_no_fit(path, *made); !why.empty()) {
      keep(path, std::move(why));
      return visit(path);
    }
    for (const char* rows : {"fallbacks", "kernels"}) prepend_path(report, rows, path);
    replacements.emplace(path, *made);
    reports.push_back(std::move(report));
    irs.push_back(compiled->program->ir("simplified"));
    return {};
  }

  const ScriptCompileOptions& options_;
  const ModuleCalls calls_;
  SubmoduleUses uses_;
  std::map<std::string, torch::jit::Module> modules_;
  std::map<std::string, std::vector<std::string>> children_;
};

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

Json sum_up(const Parts& parts) {
  Json report = parts.reports[0];
  for (const char* name : {"ops_total", "ops_native", "segments"}) {
    report.set(name, total(parts.reports, name));
  }
  for (const char* name : {"fallbacks", "kernels"}) report.set(name, joined(parts.reports, name));
  for (const char* name : {"memory", "build_seconds", "steps"}) {
    report.set(name, sum_of_members(parts.reports, name));
  }
  Json notes = joined(parts.reports, "notes");
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
  const bool whole_only = options.build.strict || !arguments.symbols.empty();
  if (whole.status().code() != "K1145" || whole_only) return whole.status();
  return guarded([&]() -> Result<CompiledModule> {
    KILN_ASSIGN_OR_RETURN(Callee callee, callee_of(module, "forward"));
    callee.hooks = options.hooks;
    KILN_ASSIGN_OR_RETURN(ModuleCalls calls, record_calls(callee, arguments));
    Parts parts(module, options, std::move(calls));
    KILN_RETURN_IF_ERROR(parts.follow("", stopped));
    if (parts.replacements.empty()) return whole.status();
    KILN_ASSIGN_OR_RETURN(result.module, replace_submodules(module, parts.replacements));
    result.report = sum_up(parts);
    result.kept = std::move(parts.kept);
    result.irs = std::move(parts.irs);
    return result;
  });
}

}  // namespace kiln::torchscript

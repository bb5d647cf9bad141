#include "torch/torchscript/module_parts.h"

#include <algorithm>

#include "torch/torchscript/module_path.h"
#include "torch/torchscript/sample_runs.h"

namespace kiln::torchscript {
namespace {

class PartsWalk {
 public:
  PartsWalk(const torch::jit::Module& root, const SampleRuns& runs, const PartOptions& options,
            const BuildPart& build, PythonUses python_uses)
      : runs_(runs), options_(options), build_(build), uses_(root, std::move(python_uses)) {
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

  ModuleParts parts;

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
    return std::any_of(parts.kept.begin(), parts.kept.end(),
                       [&](const auto& entry) { return entry.first == path; });
  }
  void keep(const std::string& path, std::string why) {
    if (!is_kept(path)) parts.kept.emplace_back(path, std::move(why));
  }
  void keep_below(const std::string& path, const std::string& why) {
    for (const std::string& child : children_[path]) {
      keep(child, why);
      keep_below(child, why);
    }
  }

  // The submodules of a module that stays.
  Status visit(const std::string& path) {
    uses_.keep(path);
    if (const std::string why = uses_.why_whole(path); !why.empty()) {
      keep(path, why);
      keep_below(path, path.empty() ? why : "is part of '" + path + "', which " + why);
      return {};
    }
    for (const std::string& child : children_[path]) {
      if (is_kept(child)) continue;
      // Where it was not called it is a container, or has nothing to do.
      KILN_RETURN_IF_ERROR(runs_.calls(child) ? compile_part(child) : visit(child));
    }
    return {};
  }

  Status keep_and_visit(const std::string& path, std::string why) {
    keep(path, std::move(why));
    return visit(path);
  }

  // Of torch_executed_modules those in the module; nothing where all of it is to stay.
  std::optional<std::vector<std::string>> torch_executed_in(const std::string& path) const {
    std::vector<std::string> own;
    for (const std::string& named : options_.torch_executed_modules) {
      if (named.empty() || path == named || path.starts_with(named + ".")) return std::nullopt;
      if (named.starts_with(path + ".")) own.push_back(named.substr(path.size() + 1));
    }
    return own;
  }

  Status compile_part(const std::string& path) {
    const std::optional<std::vector<std::string>> executed = torch_executed_in(path);
    if (!executed) {
      keep(path, "torch_executed_modules names it");
      return {};
    }
    std::string why;
    std::optional<Arguments> arguments = runs_.arguments_of(path, why);
    if (!arguments) return keep_and_visit(path, std::move(why));
    why = uses_.why_not(path, arguments->values);
    if (!why.empty()) return keep_and_visit(path, std::move(why));
    KILN_ASSIGN_OR_RETURN(const PartAnswer answer,
                          build_({path, modules_.at(path), *std::move(arguments), *executed}));
    if (answer.stopped) return follow(path, *answer.stopped);
    if (answer.nothing_native) {
      keep(path, options_.min_block_size > 1
                     ? "holds fewer calls in a row that Kiln has kernels for than min_block_size"
                     : "holds no call that Kiln has a kernel for");
      return {};
    }
    if (!answer.no_module.empty()) return keep_and_visit(path, answer.no_module);
    if (answer.module) {
      why = uses_.why_no_fit(path, *answer.module);
      if (!why.empty()) return keep_and_visit(path, std::move(why));
      parts.modules.emplace(path, *answer.module);
    }
    parts.built.push_back(path);
    return {};
  }

  const SampleRuns& runs_;
  const PartOptions& options_;
  const BuildPart& build_;
  SubmoduleUses uses_;
  std::map<std::string, torch::jit::Module> modules_;
  std::map<std::string, std::vector<std::string>> children_;
};

}  // namespace

Result<ModuleParts> find_parts(const Callee& callee, const Arguments& arguments,
                               const ImportFailure& stopped, const PartOptions& options,
                               const BuildPart& build, PythonUses python_uses) {
  KILN_ASSIGN_OR_RETURN(const SampleRuns runs, SampleRuns::of(callee, arguments));
  PartsWalk walk(*callee.self, runs, options, build, std::move(python_uses));
  KILN_RETURN_IF_ERROR(walk.follow("", stopped));
  return std::move(walk.parts);
}

}  // namespace kiln::torchscript

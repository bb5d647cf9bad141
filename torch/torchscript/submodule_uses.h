// How methods that stay in TorchScript use the submodules of their modules: which of these a
// program can stand for.
#pragma once

#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/ir/ir.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace kiln::torchscript {

// Names of the attributes that a function of Python uses of the module that it is handed as the
// input at `index` of a node; nothing where that cannot be told.
using PythonUses = std::function<std::optional<std::vector<std::string>>(
    const torch::jit::Node* node, size_t index)>;

// What all methods and hooks of the modules that stay say of the modules below them: branches that
// no run has taken count too. A program can stand for a module of which they do nothing but call
// `forward`.
class SubmoduleUses {
 public:
  explicit SubmoduleUses(torch::jit::Module root, PythonUses python_uses = nullptr)
      : root_(std::move(root)), python_uses_(std::move(python_uses)) {}

  // The methods of the module at `path` stay.
  void keep(const std::string& path);

  // Why no program can stand for the module at `path` or one below it; empty where one may.
  std::string why_whole(const std::string& path) const;

  // Why no program can stand for the module; empty where one for these arguments may.
  std::string why_not(const std::string& path, const std::vector<c10::IValue>& arguments) const;

  // Why `made` cannot be called where the module is; empty where it can.
  std::string why_no_fit(const std::string& path, const torch::jit::Module& made) const;

  torch::jit::Module module_at(const std::string& path) const;

 private:
  struct Use {
    std::string other;  // than a call of forward
    std::string whole;
    std::vector<const torch::jit::Node*> calls;  // of forward
  };
  using Env = std::map<const torch::jit::Value*, std::string>;  // paths of modules

  void visit(const torch::jit::Block* block, Env& env, const std::string& self);
  void visit(torch::jit::Node* node, Env& env, const std::string& self);
  void note_other(const std::string& path, const std::string& self, const std::string& what,
                  const torch::jit::Node* node);
  void note_python(const torch::jit::Node* node, size_t index, const Env& env,
                   const std::string& self);
  void note_whole(const torch::jit::Value* value, const Env& env, const torch::jit::Node* node);

  const torch::jit::Module root_;
  const PythonUses python_uses_;
  std::map<std::string, Use> uses_;
  std::vector<std::shared_ptr<torch::jit::Graph>> graphs_;  // that the nodes are of
};

}  // namespace kiln::torchscript

#include "torch/torchscript/partial_module.h"

#include <torch/csrc/jit/api/function_impl.h>
#include <torch/csrc/jit/ir/ir.h>

#include <functional>
#include <unordered_map>

#include "torch/exception_text.h"
#include "torch/torchscript/module_path.h"

namespace kiln::torchscript {
namespace {

using torch::jit::Block;
using torch::jit::Module;
using torch::jit::Node;
using torch::jit::Value;

class Copier {
 public:
  explicit Copier(const std::map<std::string, Module>& replacements)
      : replacements_(replacements), unit_(std::make_shared<torch::jit::CompilationUnit>()) {}

  Module copy(const Module& old, const std::string& path) {
    const auto replaced = replacements_.find(path);
    if (replaced != replacements_.end()) return replaced->second;
    if (!on_the_way(path)) return own_object(old);
    const c10::ClassTypePtr old_type = old.type();
    Module result(c10::QualifiedName("__torch__.kiln.partial." + old_type->name()->name()), unit_,
                  true);
    const c10::ClassTypePtr type = result.type();
    for (size_t slot = 0; slot < old_type->numAttributes(); ++slot) {
      const std::string& name = old_type->getAttributeName(slot);
      const c10::IValue value = old._ivalue()->getSlot(slot);
      const c10::TypePtr attribute = old_type->getAttribute(slot);
      if (value.isModule() && attribute->cast<c10::ClassType>() != nullptr) {
        result.register_module(name, copy(value.toModule(), inside(path, name)));
      } else {
        result.register_attribute(name, attribute, value, old_type->is_parameter(slot),
                                  old_type->is_buffer(slot));
      }
    }
    for (size_t i = 0; i < old_type->numConstants(); ++i) {
      type->addConstant(old_type->getConstantName(i), old_type->getConstant(i));
    }
    for (torch::jit::Function* method : old_type->methods()) {
      auto graph = torch::jit::toGraphFunction(*method).graph()->copy();
      adopt(*graph, type);
      torch::jit::Function* made =
          unit_->create_function(c10::QualifiedName(*type->name(), method->name()), graph);
      std::vector<c10::Argument> arguments = method->getSchema().arguments();
      arguments[0] = c10::Argument("self", type);
      made->setSchema(method->getSchema().cloneWithArguments(std::move(arguments)));
      type->addMethod(made);
    }
    return result;
  }

 private:
  bool on_the_way(const std::string& path) const {
    if (path.empty()) return true;
    const auto next = replacements_.lower_bound(path + ".");
    return next != replacements_.end() && next->first.starts_with(path + ".");
  }

  // The same module with attributes of its own; the tensors are shared.
  Module own_object(const Module& old) {
    const auto [found, added] = objects_.try_emplace(old._ivalue().get());
    if (!added) return Module(found->second);
    const auto object = old._ivalue()->copy();
    found->second = object;
    for (size_t slot = 0; slot < object->slots().size(); ++slot) {
      const c10::IValue value = object->getSlot(slot);
      if (value.isModule()) object->setSlot(slot, own_object(value.toModule())._ivalue());
    }
    return Module(object);
  }

  // Gives `self` and what is read from it their new classes.
  static void adopt(torch::jit::Graph& graph, const c10::ClassTypePtr& type) {
    graph.inputs()[0]->setType(type);
    std::function<void(Block*)> visit = [&](Block* block) {
      for (Node* node : block->nodes()) {
        for (Block* inner : node->blocks()) visit(inner);
        if (node->kind() != c10::prim::GetAttr) continue;
        const auto owner = node->input()->type()->cast<c10::ClassType>();
        if (owner == nullptr || node->output()->type()->cast<c10::ClassType>() == nullptr) continue;
        node->output()->setType(owner->getAttribute(node->s(c10::attr::name)));
      }
    };
    visit(graph.block());
  }

  const std::map<std::string, Module>& replacements_;
  // By what they are made of: a module that stands at several places stays one.
  std::unordered_map<const c10::ivalue::Object*, c10::intrusive_ptr<c10::ivalue::Object>> objects_;
  std::shared_ptr<torch::jit::CompilationUnit> unit_;
};

}  // namespace

Result<Module> replace_submodules(const Module& root,
                                  const std::map<std::string, Module>& replacements) {
  try {
    return Copier(replacements).copy(root, "");
  } catch (const std::exception& error) {
    return Status::error("K1145", "the module cannot be taken apart: " + text_of(error));
  }
}

}  // namespace kiln::torchscript

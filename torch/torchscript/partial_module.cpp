#include "torch/torchscript/partial_module.h"

#include <torch/csrc/jit/api/function_impl.h>
#include <torch/csrc/jit/ir/ir.h>

#include <unordered_map>

#include "torch/exception_text.h"
#include "torch/torchscript/module_path.h"

namespace kiln::torchscript {
namespace {

using torch::jit::Block;
using torch::jit::Module;
using torch::jit::Node;

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
        result.register_attribute(name, attribute, own_value(value), old_type->is_parameter(slot),
                                  old_type->is_buffer(slot));
      }
    }
    for (size_t i = 0; i < old_type->numConstants(); ++i) {
      type->addConstant(old_type->getConstantName(i), old_type->getConstant(i));
    }
    for (torch::jit::Function* method : old_type->methods()) {
      type->addMethod(copy_function(*method, type));
    }
    for (torch::jit::Function* hook : old_type->getForwardPreHooks()) {
      type->addForwardPreHook(copy_function(*hook, type));
    }
    for (torch::jit::Function* hook : old_type->getForwardHooks()) {
      type->addForwardHook(copy_function(*hook, type));
    }
    return result;
  }

 private:
  torch::jit::Function* copy_function(torch::jit::Function& old, const c10::ClassTypePtr& type) {
    const c10::QualifiedName name(*type->name(), old.name());
    // One hook can be there twice.
    if (torch::jit::Function* known = unit_->find_function(name)) return known;
    auto graph = torch::jit::toGraphFunction(old).graph()->copy();
    adopt(*graph, type);
    torch::jit::Function* made = unit_->create_function(name, graph);
    std::vector<c10::Argument> arguments = old.getSchema().arguments();
    arguments[0] = c10::Argument(arguments[0].name(), type);
    made->setSchema(old.getSchema().cloneWithArguments(std::move(arguments)));
    return made;
  }

  bool on_the_way(const std::string& path) const {
    if (path.empty()) return true;
    const auto next = replacements_.lower_bound(path + ".");
    return next != replacements_.end() && next->first.starts_with(path + ".");
  }

  // The same module with attributes of its own; the tensors are shared.
  Module own_object(const Module& old) { return Module(own_value(old._ivalue()).toObject()); }

  // Modules, objects of script classes, lists and dicts are copied, as the code may change them;
  // tensors and objects of C++ are shared.
  c10::IValue own_value(const c10::IValue& value) {
    const bool object = value.isObject() && !value.isCustomClass();
    if (!object && !value.isList() && !value.isGenericDict() && !value.isTuple()) return value;
    const auto known = owned_.find(value.internalToPointer());
    if (known != owned_.end()) return known->second;
    if (value.isTuple()) {
      std::vector<c10::IValue> items;
      for (const c10::IValue& item : value.toTupleRef().elements()) {
        items.push_back(own_value(item));
      }
      const auto type = value.toTupleRef().type();
      return type->name() ? c10::ivalue::Tuple::createNamed(std::move(items), type)
                          : c10::ivalue::Tuple::create(std::move(items));
    }
    c10::IValue copy;
    if (object) {
      copy = value.toObject()->copy();
    } else if (value.isList()) {
      copy = value.toList().copy();
    } else {
      copy = value.toGenericDict().copy();
    }
    owned_.emplace(value.internalToPointer(), copy);  // it may hold itself
    if (object) {
      const auto made = copy.toObject();
      for (size_t slot = 0; slot < made->slots().size(); ++slot) {
        made->setSlot(slot, own_value(made->getSlot(slot)));
      }
    } else if (value.isList()) {
      c10::impl::GenericList list = copy.toList();
      for (size_t i = 0; i < list.size(); ++i) list.set(i, own_value(list.get(i)));
    } else {
      for (const auto& entry : copy.toGenericDict()) entry.setValue(own_value(entry.value()));
    }
    return copy;
  }

  // Gives `self` and what is read from it their new classes.
  static void adopt(torch::jit::Graph& graph, const c10::ClassTypePtr& type) {
    graph.inputs()[0]->setType(type);
    adopt(graph.block());
  }

  static void adopt(Block* block) {
    for (Node* node : block->nodes()) {
      for (Block* inner : node->blocks()) adopt(inner);
      if (node->hasAttribute(c10::attr::Subgraph)) {  // of a forked call
        torch::jit::Graph& inner = *node->g(c10::attr::Subgraph);
        for (size_t i = 0; i < inner.inputs().size() && i < node->inputs().size(); ++i) {
          if (node->input(i)->type()->cast<c10::ClassType>() != nullptr) {
            inner.inputs()[i]->setType(node->input(i)->type());
          }
        }
        adopt(inner.block());
      }
      if (node->kind() == c10::prim::CallFunction) adopt_hook(node);
      if (node->kind() != c10::prim::GetAttr) continue;
      const auto owner = node->input()->type()->cast<c10::ClassType>();
      if (owner == nullptr || node->output()->type()->cast<c10::ClassType>() == nullptr) continue;
      node->output()->setType(owner->getAttribute(node->s(c10::attr::name)));
    }
  }

  // A module's hooks are functions that its callers call: those of the new class for those of the
  // old.
  static void adopt_hook(Node* node) {
    if (node->inputs().size() < 2) return;
    const auto type = node->input(1)->type()->cast<c10::ClassType>();
    if (type == nullptr || !type->is_module()) return;
    const auto* old = node->input(0)->type()->expectRef<c10::FunctionType>().function();
    torch::jit::Function* hook = nullptr;
    for (const auto& hooks : {type->getForwardPreHooks(), type->getForwardHooks()}) {
      for (torch::jit::Function* own : hooks) {
        if (own->name() == old->name()) hook = own;
      }
    }
    if (hook == nullptr || hook == old) return;
    Node* constant = node->owningGraph()->create(c10::prim::Constant);
    constant->s_(c10::attr::name, hook->name());
    constant->output()->setType(c10::FunctionType::create(hook));
    constant->insertBefore(node);
    Node* replaced = node->input(0)->node();
    node->replaceInput(0, constant->output());
    if (!replaced->hasUses()) replaced->destroy();
  }

  const std::map<std::string, Module>& replacements_;
  // By what they are made of: what stands at several places stays one.
  std::unordered_map<const void*, c10::IValue> owned_;
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

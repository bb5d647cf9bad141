#include "torch/torchscript/submodule_uses.h"

#include <torch/csrc/jit/api/function_impl.h>
#include <torch/csrc/jit/ir/constants.h>
#include <torch/csrc/jit/passes/inliner.h>

#include <algorithm>
#include <optional>
#include <sstream>

#include "torch/torchscript/module_path.h"
#include "torch/torchscript/source_place.h"

namespace kiln::torchscript {
namespace {

namespace attr = c10::attr;
namespace jit = torch::jit;
namespace prim = c10::prim;

std::string at_place(const jit::Node* node) {
  const std::string place = user_place(node->sourceRange());
  return place.empty() ? "" : " at " + place;
}

bool is_module(const c10::TypePtr& type) {
  const auto cls = type->cast<c10::ClassType>();
  return cls != nullptr && cls->is_module();
}

// Lists and dicts are shared with the caller, which sees what is done to them.
bool holds_container(const c10::TypePtr& type) {
  switch (type->kind()) {
    case c10::TypeKind::ListType:
    case c10::TypeKind::DictType:
    case c10::TypeKind::AnyType: return true;
    default: break;
  }
  const auto inner = type->containedTypes();
  return std::any_of(inner.begin(), inner.end(), holds_container);
}

// ---- whether a method changes or returns the lists and dicts that it is given

// Whether a list, a dict or what holds some was made by the graph, with all that it holds.
bool is_fresh(const jit::Value* value, int depth = 0) {
  if (!holds_container(value->type())) return true;
  const jit::Node* node = value->node();
  if (depth > 100) return false;
  const auto all_fresh = [&](at::ArrayRef<const jit::Value*> values) {
    return std::all_of(values.begin(), values.end(),
                       [&](const jit::Value* v) { return is_fresh(v, depth + 1); });
  };
  switch (node->kind()) {
    case prim::Constant:
    case prim::Uninitialized: return true;
    case prim::ListConstruct:
    case prim::DictConstruct:
    case prim::TupleConstruct: return all_fresh(node->inputs());
    case prim::If:
      return std::all_of(node->blocks().begin(), node->blocks().end(), [&](const jit::Block* side) {
        return is_fresh(side->outputs()[value->offset()], depth + 1);
      });
    default: break;
  }
  // A result that is no alias of an argument, as torch.split's, or of a list of numbers.
  const c10::FunctionSchema* schema = node->maybeSchema();
  return node->kind().is_aten() && schema != nullptr &&
         value->offset() < schema->returns().size() &&
         (schema->returns()[value->offset()].alias_info() == nullptr ||
          !std::any_of(node->inputs().begin(), node->inputs().end(),
                       [](const jit::Value* input) { return holds_container(input->type()); }));
}

// The node of an inlined method that changes a list or dict that the method has not made.
std::optional<std::string> change_in(const jit::Block* block) {
  for (const jit::Node* node : block->nodes()) {
    for (const jit::Block* inner : node->blocks()) {
      if (auto place = change_in(inner)) return place;
    }
    if (node->hasAttribute(attr::Subgraph)) {
      const auto graph = node->g(attr::Subgraph)->copy();
      jit::Inline(*graph);
      if (auto place = change_in(graph->block())) return place;
    }
    const c10::FunctionSchema* schema = node->maybeSchema();
    for (size_t i = 0; i < node->inputs().size(); ++i) {
      const jit::Value* input = node->input(i);
      const bool writes = node->kind() == prim::CallMethod  // of an interface
                          || (schema != nullptr && i < schema->arguments().size() &&
                              schema->arguments()[i].alias_info() != nullptr &&
                              schema->arguments()[i].alias_info()->isWrite());
      if (writes && holds_container(input->type()) && !is_fresh(input)) return at_place(node);
    }
  }
  return std::nullopt;
}

// Why a caller could tell the difference between the lists and dicts that it hands over and copies.
std::string shares_containers(const jit::Module& module) {
  jit::Function& forward = module.get_method("forward").function();
  const auto& arguments = forward.getSchema().arguments();
  const bool given = std::any_of(arguments.begin() + 1, arguments.end(),
                                 [](const c10::Argument& a) { return holds_container(a.type()); });
  if (!given) return "";
  const auto graph = jit::toGraphFunction(forward).graph()->copy();
  jit::Inline(*graph);
  if (const auto place = change_in(graph->block())) {
    return "changes a list or dict that it is given" + *place;
  }
  for (const jit::Value* result : graph->outputs()) {
    if (!is_fresh(result)) return "may return a list or dict that it is given";
  }
  return "";
}

// ---- arguments at a place that calls a method

// What no program takes as an argument; empty for anything else.
std::string foreign(const c10::IValue& value) {
  const auto first_of = [](const auto& items) {
    for (const c10::IValue& item : items) {
      if (std::string found = foreign(item); !found.empty()) return found;
    }
    return std::string();
  };
  if (value.isTensor()) {
    const at::Tensor& tensor = value.toTensor();
    if (!tensor.defined() ||
        (tensor.layout() == c10::kStrided && !tensor.is_quantized() && !tensor.is_nested())) {
      return "";
    }
    return tensor.is_nested() ? "a nested tensor" : "a tensor of type " + tensor.toString();
  }
  if (value.isList()) return first_of(value.toListRef());
  if (value.isTuple()) return first_of(value.toTupleRef().elements());
  if (value.isGenericDict()) {
    for (const auto& entry : value.toGenericDict()) {
      if (std::string found = foreign(entry.value()); !found.empty()) return found;
    }
    return "";
  }
  const bool known =
      value.isNone() || value.isBool() || value.isInt() || value.isDouble() || value.isString();
  return known ? "" : "a value of type " + value.tagKind();
}

// Whether the graph says that an argument is another than the recorded one.
bool differs(const jit::Value* given, const c10::IValue& recorded) {
  const jit::Node* node = given->node();
  const c10::TypeKind kind = given->type()->kind();
  const bool none = recorded.isNone() || (recorded.isTensor() && !recorded.toTensor().defined());
  if (kind == c10::TypeKind::NoneType) return !none;
  if (none) {
    return kind != c10::TypeKind::OptionalType && kind != c10::TypeKind::UnionType &&
           kind != c10::TypeKind::AnyType;
  }
  if (recorded.isTensor()) return false;
  if (node->kind() == prim::Constant) {
    const std::optional<c10::IValue> value = jit::toIValue(given);
    return value && (value->tagKind() != recorded.tagKind() || *value != recorded);
  }
  std::vector<c10::IValue> items;
  if (node->kind() == prim::TupleConstruct && recorded.isTuple()) {
    items = recorded.toTupleRef().elements().vec();
  } else if (node->kind() == prim::ListConstruct && recorded.isList() &&
             given->uses().size() == 1) {
    items = recorded.toListRef().vec();  // nothing else can change the list
  } else {
    return false;
  }
  if (items.size() != node->inputs().size()) return true;
  for (size_t i = 0; i < items.size(); ++i) {
    if (differs(node->input(i), items[i])) return true;
  }
  return false;
}

}  // namespace

torch::jit::Module SubmoduleUses::module_at(const std::string& path) const {
  jit::Module module = root_;
  std::stringstream parts(path);
  for (std::string part; std::getline(parts, part, '.');) module = module.attr(part).toModule();
  return module;
}

void SubmoduleUses::keep(const std::string& path) {
  const c10::ClassTypePtr type = module_at(path).type();
  std::vector<jit::Function*> functions = type->methods();
  for (const auto& hooks : {type->getForwardPreHooks(), type->getForwardHooks()}) {
    functions.insert(functions.end(), hooks.begin(), hooks.end());
  }
  for (jit::Function* function : functions) {
    function->ensure_defined();
    jit::GraphFunction* with_graph = jit::tryToGraphFunction(*function);
    if (with_graph == nullptr) continue;
    graphs_.push_back(with_graph->graph());
    Env env = {{graphs_.back()->inputs()[0], path}};
    visit(graphs_.back()->block(), env, path);
  }
}

void SubmoduleUses::note_other(const std::string& path, const std::string& self,
                               const std::string& what, const jit::Node* node) {
  std::string& known = uses_[path].other;
  if (path != self && known.empty()) {
    known = what + " in " + (self.empty() ? "the root" : "'" + self + "'") + ", which stays" +
            at_place(node);
  }
}

// Python minds no other class, but it can do anything to the modules that it reads.
void SubmoduleUses::note_python(const jit::Node* node, size_t index, const Env& env,
                                const std::string& self) {
  const auto found = env.find(node->input(index));
  if (found == env.end()) return;
  const std::string& path = found->second;
  const auto type = node->input(index)->type()->expect<c10::ClassType>();
  const std::string what = "is used by a function of Python";
  auto names = python_uses_ ? python_uses_(node, index) : std::nullopt;
  for (size_t i = 0; names && i < names->size(); ++i) {
    const std::string& name = (*names)[i];
    const c10::TypePtr attribute = type->findAttribute(name);
    if (attribute != nullptr &&
        (is_module(attribute) || attribute->cast<c10::InterfaceType>() != nullptr)) {
      std::string& whole = uses_[inside(path, name)].whole;
      if (whole.empty()) whole = what + at_place(node);
    } else if (attribute == nullptr && type->findMethod(name) == nullptr &&
               !type->findConstant(name)) {
      names = std::nullopt;  // what stands for the module in Python has more
    }
  }
  if (names) return note_other(path, self, what, node);
  std::string& whole = uses_[path].whole;
  if (whole.empty()) whole = what + at_place(node);
}

// A module that is handed on: neither it nor what holds it can be of another class.
void SubmoduleUses::note_whole(const jit::Value* value, const Env& env, const jit::Node* node) {
  const auto found = env.find(value);
  if (found == env.end()) return;
  std::string& known = uses_[found->second].whole;
  if (known.empty()) known = "is used as a value" + at_place(node);
}

void SubmoduleUses::visit(const jit::Block* block, Env& env, const std::string& self) {
  for (const jit::Node* node : block->nodes()) visit(const_cast<jit::Node*>(node), env, self);
  for (const jit::Value* output : block->outputs()) note_whole(output, env, block->return_node());
}

void SubmoduleUses::visit(jit::Node* node, Env& env, const std::string& self) {
  const auto inputs = node->inputs();
  const auto owner = inputs.empty() ? env.end() : env.find(inputs[0]);
  size_t looked_at = 0;  // of the inputs
  switch (node->kind()) {
    case prim::GetAttr:
      if (owner != env.end()) {
        const std::string path = owner->second, &name = node->s(attr::name);
        note_other(path, self, "has an attribute that is read: '" + name + "'", node);
        if (is_module(node->output()->type())) {
          env[node->output()] = inside(path, name);
        } else if (node->output()->type()->cast<c10::InterfaceType>() != nullptr) {
          std::string& whole = uses_[inside(path, name)].whole;
          if (whole.empty()) whole = "is an attribute of an interface type";
        }
      }
      return;
    case prim::SetAttr:
      if (owner != env.end()) {
        note_other(owner->second, self, "has an attribute that is set", node);
        looked_at = 1;
      }
      break;
    case prim::CallMethod:
      if (owner != env.end()) {
        if (node->s(attr::name) == "forward") {
          if (owner->second != self) uses_[owner->second].calls.push_back(node);
        } else {
          note_other(owner->second, self,
                     "has a method that is called: '" + node->s(attr::name) + "'", node);
        }
        looked_at = 1;
      }
      break;
    case prim::CallFunction: {
      if (inputs.size() < 2 || !env.contains(inputs[1])) break;
      const auto type = inputs[1]->type()->expect<c10::ClassType>();
      const auto* function = inputs[0]->type()->expectRef<c10::FunctionType>().function();
      const auto& before = type->getForwardPreHooks();
      const auto& after = type->getForwardHooks();
      if (std::find(before.begin(), before.end(), function) != before.end() ||
          std::find(after.begin(), after.end(), function) != after.end()) {
        note_other(env.at(inputs[1]), self, "has hooks that are called", node);
        looked_at = 2;
      }
      break;
    }
    case c10::aten::__is__:
    case c10::aten::__isnot__: return;
    default: break;
  }
  for (jit::Block* inner : node->blocks()) visit(inner, env, self);
  if (node->hasAttribute(attr::Subgraph)) {  // of a forked call
    const auto graph = node->g(attr::Subgraph);
    if (graph->inputs().size() == inputs.size()) {
      Env own;
      for (size_t i = 0; i < inputs.size(); ++i) {
        if (const auto found = env.find(inputs[i]); found != env.end()) {
          own[graph->inputs()[i]] = found->second;
        }
      }
      return visit(graph->block(), own, self);
    }
  }
  for (size_t i = looked_at; i < inputs.size(); ++i) {
    if (node->kind() == prim::PythonOp) {
      note_python(node, i, env, self);
    } else {
      note_whole(inputs[i], env, node);
    }
  }
}

std::string SubmoduleUses::why_whole(const std::string& path) const {
  for (const auto& [used, use] : uses_) {
    const bool above = used.empty() || path == used || path.starts_with(used + ".");
    if (above && !use.whole.empty()) {
      return used == path ? use.whole
                          : (used.empty() ? "the root" : "'" + used + "'") + " " + use.whole;
    }
  }
  return "";
}

std::string SubmoduleUses::why_not(const std::string& path,
                                   const std::vector<c10::IValue>& arguments) const {
  if (std::string why = why_whole(path); !why.empty()) return why;
  const jit::Module module = module_at(path);
  const auto found = uses_.find(path);
  if (found != uses_.end() && !found->second.other.empty()) return found->second.other;
  for (const c10::IValue& argument : arguments) {
    if (const std::string what = foreign(argument); !what.empty()) return "is called with " + what;
  }
  if (found != uses_.end()) {
    const auto& names = module.get_method("forward").function().getSchema().arguments();
    for (const jit::Node* call : found->second.calls) {
      for (size_t i = 0; i < arguments.size() && i + 1 < call->inputs().size(); ++i) {
        if (differs(call->input(i + 1), arguments[i])) {
          return "is called with several values of '" + names[i + 1].name() + "'" + at_place(call);
        }
      }
    }
  }
  return shares_containers(module);
}

std::string SubmoduleUses::why_no_fit(const std::string& path, const jit::Module& made) const {
  const c10::FunctionSchema& own = made.get_method("forward").function().getSchema();
  const c10::FunctionSchema& was = module_at(path).get_method("forward").function().getSchema();
  const auto type = [](const c10::Argument& argument) { return argument.type()->repr_str(); };
  if (own.returns().size() != was.returns().size()) return "its program has other results";
  for (size_t i = 0; i < own.returns().size(); ++i) {
    const std::string made_type = type(own.returns()[i]), wanted = type(was.returns()[i]);
    if (made_type != wanted) {
      return "TorchScript would type its results " + made_type + ", not " + wanted;
    }
  }
  const auto found = uses_.find(path);
  if (found == uses_.end()) return "";
  for (const jit::Node* call : found->second.calls) {
    if (call->inputs().size() != own.arguments().size()) {
      return "its program has other arguments than it";
    }
    for (size_t i = 1; i < call->inputs().size(); ++i) {
      const c10::Argument& argument = own.arguments()[i];
      const c10::TypePtr& given = call->input(i)->type();
      if (!given->isSubtypeOf(*argument.type())) {
        return "its program takes " + type(argument) + " for '" + argument.name() + "', not " +
               given->repr_str() + at_place(call);
      }
    }
  }
  return "";
}

}  // namespace kiln::torchscript

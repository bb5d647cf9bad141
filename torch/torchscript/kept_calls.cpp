#include "torch/torchscript/kept_calls.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/csrc/jit/api/function_impl.h>
#include <torch/csrc/jit/ir/constants.h>
#include <torch/csrc/jit/ir/ir.h>
#include <torch/csrc/jit/runtime/operator.h>

#include <algorithm>
#include <unordered_map>

#include "torch/torchscript/module_path.h"
#include "torch/torchscript/source_place.h"

namespace kiln::torchscript {
namespace {

bool holds_tensor(const c10::TypePtr& type) {
  if (type->kind() == c10::TypeKind::TensorType) return true;
  const auto inner = type->containedTypes();
  return std::any_of(inner.begin(), inner.end(), holds_tensor);
}

bool any_holds_tensor(const std::vector<c10::Argument>& arguments) {
  return std::any_of(arguments.begin(), arguments.end(),
                     [](const c10::Argument& a) { return holds_tensor(a.type()); });
}

// Would the call be one of a program's, or is it evaluated when the program is made?
bool is_call(const torch::jit::Node* node) {
  const c10::FunctionSchema* schema = node->maybeSchema();
  if (schema == nullptr || !node->kind().is_aten()) return false;
  const auto op = c10::Dispatcher::singleton().findSchema(schema->operator_name());
  if (any_holds_tensor(schema->returns())) {
    return op || any_holds_tensor(schema->arguments());
  }
  if (!any_holds_tensor(schema->arguments())) return false;
  static const std::set<std::string> kReadElements = {
      "aten::Bool",        "aten::Int",           "aten::Float",          "aten::item",
      "aten::IntImplicit", "aten::FloatImplicit", "aten::ScalarImplicit", "aten::is_nonzero"};
  return kReadElements.contains(schema->name()) ||
         (op && op->hasTag(at::Tag::data_dependent_output));
}

class Walk {
 public:
  Walk(const std::set<std::string>& compiled, std::vector<KeptCall>& calls)
      : compiled_(compiled), calls_(calls) {}

  // What is known of the values of a graph: constants, and modules with their paths.
  struct Known {
    std::optional<c10::IValue> value;
    std::optional<std::string> path;  // of a module
  };

  void visit(torch::jit::Function& function, std::vector<Known> arguments,
             const std::string& module_path) {
    torch::jit::GraphFunction* with_graph = torch::jit::tryToGraphFunction(function);
    if (with_graph == nullptr || depth_ > kMaxDepth) return;
    ++depth_;
    function.ensure_defined();
    Env env;
    const auto graph = with_graph->graph();
    for (size_t i = 0; i < arguments.size() && i < graph->inputs().size(); ++i) {
      env[graph->inputs()[i]] = std::move(arguments[i]);
    }
    visit(graph->block(), env, module_path);
    --depth_;
  }

 private:
  using Env = std::unordered_map<const torch::jit::Value*, Known>;
  static constexpr int kMaxDepth = 200;

  void visit(const torch::jit::Block* block, Env& env, const std::string& module_path) {
    for (const torch::jit::Node* node : block->nodes()) {
      visit(const_cast<torch::jit::Node*>(node), env, module_path);
    }
  }

  void visit(torch::jit::Node* node, Env& env, const std::string& module_path) {
    namespace prim = c10::prim;
    std::vector<Known> inputs;
    for (const torch::jit::Value* input : node->inputs()) inputs.push_back(env[input]);
    switch (node->kind()) {
      case prim::Constant: env[node->output()].value = torch::jit::toIValue(node->output()); return;
      case prim::GetAttr: return read_attribute(node, inputs[0], env);
      case prim::CallFunction: {
        auto* function = node->inputs()[0]->type()->expectRef<c10::FunctionType>().function();
        inputs.erase(inputs.begin());
        return visit(*function, std::move(inputs), module_path);
      }
      case prim::CallMethod: return call_method(node, std::move(inputs), module_path);
      case prim::fork: {
        Env inner;
        const auto graph = node->g(c10::attr::Subgraph);
        for (size_t i = 0; i < inputs.size(); ++i) inner[graph->inputs()[i]] = inputs[i];
        return visit(graph->block(), inner, module_path);
      }
      case prim::If: {
        const bool known = inputs[0].value && inputs[0].value->isBool();
        for (size_t side = 0; side < 2; ++side) {
          if (known && inputs[0].value->toBool() != (side == 0)) continue;
          const torch::jit::Block* block = node->blocks()[side];
          visit(block, env, module_path);
          for (size_t i = 0; known && i < node->outputs().size(); ++i) {
            env[node->outputs()[i]] = env[block->outputs()[i]];
          }
        }
        return;
      }
      default: break;
    }
    for (const torch::jit::Block* block : node->blocks()) visit(block, env, module_path);
    if (is_call(node)) {
      const c10::OperatorName name = node->schema().operator_name();
      calls_.push_back(
          {name.overload_name.empty() ? name.name : name.name + "." + name.overload_name,
           module_path, user_place(node->sourceRange())});
    }
    evaluate(node, inputs, env);
  }

  void read_attribute(const torch::jit::Node* node, const Known& object, Env& env) const {
    if (!object.value || !object.value->isObject()) return;
    const auto target = object.value->toObject();
    const std::string& name = node->s(c10::attr::name);
    Known& result = env[node->output()];
    c10::IValue value = target->getAttr(name);
    if (value.isObject()) {
      result.path = inside(object.path.value_or(""), name);
      result.value = std::move(value);
    } else if (value.isBool() || value.isInt() || value.isDouble() || value.isNone() ||
               value.isString()) {
      result.value = std::move(value);
    }
  }

  void call_method(const torch::jit::Node* node, std::vector<Known> inputs,
                   const std::string& module_path) {
    const std::string& name = node->s(c10::attr::name);
    const auto type = node->inputs()[0]->type()->cast<c10::ClassType>();
    torch::jit::Function* method = type == nullptr ? nullptr : type->findMethod(name);
    if (method == nullptr) return;
    if (!type->is_module() || !inputs[0].path) {
      return visit(*method, std::move(inputs), module_path);
    }
    const std::string path = *inputs[0].path;
    if (name == "forward" && compiled_.contains(path)) return;
    if (!seen_.emplace(path, name).second) return;
    visit(*method, std::move(inputs), path);
  }

  // Logic and arithmetic of constants, by TorchScript's own operators.
  static void evaluate(torch::jit::Node* node, const std::vector<Known>& inputs, Env& env) {
    const c10::FunctionSchema* schema = node->maybeSchema();
    if (schema == nullptr || node->outputs().size() != 1 || node->hasSideEffects() ||
        schema->is_mutable() || schema->is_vararg() || inputs.empty() ||
        any_holds_tensor(schema->arguments()) || any_holds_tensor(schema->returns())) {
      return;
    }
    torch::jit::Stack stack;
    for (const Known& input : inputs) {
      if (!input.value || input.value->isObject()) return;
      stack.push_back(*input.value);
    }
    try {
      node->getOperation()(stack);
    } catch (const std::exception&) {
      return;  // so it will be when the method runs
    }
    if (stack.size() == 1) env[node->output()].value = std::move(stack[0]);
  }

  const std::set<std::string>& compiled_;
  std::vector<KeptCall>& calls_;
  std::set<std::pair<std::string, std::string>> seen_;
  int depth_ = 0;
};

}  // namespace

std::vector<KeptCall> kept_calls(const Callee& callee, const std::set<std::string>& compiled) {
  std::vector<KeptCall> calls;
  std::vector<Walk::Known> arguments;
  if (callee.self) arguments.push_back({callee.self->_ivalue(), ""});
  Walk(compiled, calls).visit(*callee.function, std::move(arguments), "");
  return calls;
}

}  // namespace kiln::torchscript

// Functions, nodes and control flow of TorchScript graphs.
#include <ATen/core/ivalue_inl.h>
#include <torch/csrc/jit/api/function_impl.h>
#include <torch/csrc/jit/ir/constants.h>
#include <torch/csrc/jit/runtime/operator.h>

#include <algorithm>

#include "torch/torchscript/importer.h"
#include "torch/torchscript/source_place.h"

namespace kiln::torchscript {
namespace {

using torch::jit::Block;
using torch::jit::Node;
using torch::jit::Value;
namespace attr = c10::attr;
namespace prim = c10::prim;

const Node* raise_in(const Block* block) {
  for (const Node* node : block->nodes()) {
    if (node->kind() == prim::RaiseException) return node;
  }
  return nullptr;
}

// A value as it is now: what runs next may change lists and dicts.
c10::IValue snapshot(const c10::IValue& value) {
  if (value.isList()) {
    c10::impl::GenericList list = value.toList().copy();
    for (size_t i = 0; i < list.size(); ++i) list.set(i, snapshot(list.get(i)));
    return list;
  }
  if (value.isGenericDict()) {
    const auto dict = value.toGenericDict().copy();
    for (const auto& entry : dict) entry.setValue(snapshot(entry.value()));
    return dict;
  }
  if (value.isTuple()) {
    std::vector<c10::IValue> items;
    for (const c10::IValue& item : value.toTupleRef().elements()) items.push_back(snapshot(item));
    const auto type = value.toTupleRef().type();
    return type->name() ? c10::ivalue::Tuple::createNamed(std::move(items), type)
                        : c10::ivalue::Tuple::create(std::move(items));
  }
  return value;
}

}  // namespace

void Importer::count_step() {
  if (++steps_ > kMaxSteps) {
    throw Stop("a loop that unrolls to more than " + std::to_string(kMaxSteps) + " calls");
  }
}

// The innermost line of the user's own code; a function of torch stands where it is called.
CaptureOrigin Importer::origin() const {
  CaptureOrigin result;
  if (frames_.empty()) return result;
  result.module_path = frames_.back().module_path;
  for (size_t i = frames_.size(); i-- > 0 && result.location.empty();) {
    result.location = frames_[i].location;
  }
  return result;
}

Results Importer::run_function(torch::jit::Function& function, Stack inputs,
                               std::string module_path) {
  function.ensure_defined();
  torch::jit::GraphFunction* with_graph = torch::jit::tryToGraphFunction(function);
  if (with_graph == nullptr) {
    throw Stop("a function that is not written in TorchScript: " + function.qualname().name());
  }
  if (frames_.size() > 500) throw Stop("a function that calls itself without end");
  frames_.push_back({std::move(module_path), function.qualname().name(), ""});
  Results results = run_graph(*with_graph->graph(), std::move(inputs));
  frames_.pop_back();
  return results;
}

Results Importer::run_graph(const torch::jit::Graph& graph, Stack inputs) {
  Env env;
  const auto parameters = graph.inputs();
  TORCH_INTERNAL_ASSERT(parameters.size() == inputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) env[parameters[i]] = std::move(inputs[i]);
  run_block(graph.block(), env);
  Results results;
  for (const Value* output : graph.outputs()) results.push_back(env.at(output));
  return results;
}

void Importer::run_block(const Block* block, Env& env) {
  for (const Node* node : block->nodes()) run_node(const_cast<Node*>(node), env);
}

void Importer::run_node(Node* node, Env& env) {
  if (node->kind() != prim::Constant) {
    count_step();
    std::string place = user_place(node->sourceRange());
    // The two ends of a `with` region have no place of their own.
    const bool end = node->kind() == prim::Enter || node->kind() == prim::Exit;
    if (!end || !place.empty()) frames_.back().location = std::move(place);
  }
  try {
    switch (node->kind()) {
      case prim::If: return run_if(node, env);
      case prim::Loop: return run_loop(node, env);
      default: break;
    }
    node_ = node;
    Results results = evaluate(node, env);
    TORCH_INTERNAL_ASSERT(results.size() == node->outputs().size(), "results of ",
                          node->kind().toQualString());
    for (size_t i = 0; i < results.size(); ++i) env[node->outputs()[i]] = std::move(results[i]);
  } catch (...) {
    if (!stopped_) {
      const CaptureOrigin at = origin();
      failure_ = {at.module_path, frames_.back().function, at.location, "", ""};
      stopped_ = true;
    }
    throw;
  }
}

Results Importer::evaluate(Node* node, Env& env) {
  Stack inputs;
  inputs.reserve(node->inputs().size());
  for (const Value* input : node->inputs()) inputs.push_back(env.at(input));
  const size_t count = inputs.size();
  switch (node->kind()) {
    case prim::Constant: {
      if (node->output()->type()->kind() == c10::TypeKind::FunctionType) return {c10::IValue()};
      auto value = torch::jit::toIValue(node->output());
      if (value && value->isTensor()) {
        if (record_ != nullptr) return {own_constant(value->toTensor())};
        // A frozen module's weights are constants that keep their names.
        std::string name = node->output()->debugName();
        if (name.starts_with("self.")) {
          state_names_.try_emplace(value->toTensor().unsafeGetTensorImpl(),
                                   Named{name.substr(5), "constant"});
        }
      }
      return {value ? *value : c10::IValue()};
    }
    case prim::CallFunction: {
      auto* function = node->inputs()[0]->type()->expectRef<c10::FunctionType>().function();
      inputs.erase(inputs.begin());
      return run_function(*function, std::move(inputs), frames_.back().module_path);
    }
    case prim::CallMethod: return call_method(node->s(attr::name), std::move(inputs));
    case prim::Enter: return call_method("__enter__", std::move(inputs));
    case prim::Exit:
      inputs.resize(4);  // no exception: its type, value and traceback are None
      return call_method("__exit__", std::move(inputs));
    case prim::GetAttr: return {get_attribute(inputs[0], node->s(attr::name))};
    case prim::SetAttr: set_attribute(inputs[0], node->s(attr::name), inputs[1]); return {};
    case prim::CreateObject: {
      const auto type = node->output()->type()->expect<c10::ClassType>();
      auto object = c10::ivalue::Object::create(c10::StrongTypePtr(type->compilation_unit(), type),
                                                type->numAttributes());
      fresh_objects_.insert(object.get());
      return {c10::IValue(std::move(object))};
    }
    case prim::RaiseException: {
      std::string message = inputs[0].toStringRef();
      if (count > 1 && inputs[1].isString()) {
        const std::string& cls = inputs[1].toStringRef();
        message = cls.substr(cls.rfind('.') + 1) + ": " + message;
      }
      throw Raised(message);
    }
    case prim::TupleConstruct: {
      const auto type = node->output()->type()->cast<c10::TupleType>();
      return {type != nullptr && type->name()
                  ? c10::ivalue::Tuple::createNamed(std::move(inputs), type)
                  : c10::ivalue::Tuple::create(std::move(inputs))};
    }
    case prim::TupleSlice: {
      const auto& items = inputs[0].toTupleRef().elements();
      Stack part;
      for (int64_t i = node->i(attr::beg); i < node->i(attr::end); ++i) {
        part.push_back(items[static_cast<size_t>(i)]);
      }
      return {c10::ivalue::Tuple::create(std::move(part))};
    }
    case prim::TupleUnpack: return inputs[0].toTupleRef().elements().vec();
    case prim::ListConstruct: {
      c10::impl::GenericList list(
          node->output()->type()->expectRef<c10::ListType>().getElementType());
      for (c10::IValue& item : inputs) list.push_back(std::move(item));
      return {list};
    }
    case prim::ListUnpack: {
      const auto items = inputs[0].toListRef();
      if (items.size() != node->outputs().size()) {
        throw Raised("Expected " + std::to_string(node->outputs().size()) +
                     " elements in a list but found " + std::to_string(items.size()));
      }
      return items.vec();
    }
    case prim::DictConstruct: {
      const auto& type = node->output()->type()->expectRef<c10::DictType>();
      c10::impl::GenericDict dict(type.getKeyType(), type.getValueType());
      for (size_t i = 0; i + 1 < count; i += 2) dict.insert_or_assign(inputs[i], inputs[i + 1]);
      return {dict};
    }
    case prim::isinstance: {
      c10::TypePtr type = inputs[0].type();
      // A symbolic number is of the type of its value.
      if (inputs[0].isSymInt()) type = c10::IntType::get();
      if (inputs[0].isSymFloat()) type = c10::FloatType::get();
      if (inputs[0].isSymBool()) type = c10::BoolType::get();
      const auto& wanted = node->tys(attr::types);
      return {std::any_of(wanted.begin(), wanted.end(),
                          [&](const c10::TypePtr& t) { return type->isSubtypeOf(*t); })};
    }
    case prim::unchecked_cast:
    case prim::profile: return {inputs[0]};
    case prim::Uninitialized: return {c10::IValue::uninitialized()};
    case prim::fork: return run_graph(*node->g(attr::Subgraph), std::move(inputs));
    case prim::PythonOp:
      if (record_ != nullptr) break;
      throw Stop("a function of Python: " + static_cast<torch::jit::PythonOp*>(node)->name());
    default: break;
  }
  // A forked call has run where it was forked: its result stands for the future.
  if (node->kind() == c10::aten::wait) return {inputs[0]};
  return run_operator(node, std::move(inputs));
}

Results Importer::call_method(const std::string& name, Stack inputs) {
  if (!inputs[0].isObject()) throw Stop("a method of no object: " + name);
  const auto object = inputs[0].toObject();
  const c10::ClassTypePtr type = object->type();
  const std::string class_name = type->name() ? type->name()->name() : "";
  if (class_name == "autocast" && name == "__enter__") {
    const c10::IValue enabled = get_attribute(inputs[0], "_enabled");
    if (record_ != nullptr) {
      autocast_.push_back(std::make_unique<AutocastRegion>(
          c10::Device(get_attribute(inputs[0], "device").toStringRef()).type(), enabled.toBool(),
          get_attribute(inputs[0], "fast_dtype").toScalarType()));
    } else if (!enabled.isBool() || enabled.toBool()) {
      throw Stop(
          "an autocast region, in which TorchScript chooses the dtypes",
          "write the casts out (x.bfloat16()), or compile the module instead of its TorchScript");
    }
  }
  if (class_name == "autocast" && name == "__exit__" && !autocast_.empty()) autocast_.pop_back();
  torch::jit::Function* method = type->findMethod(name);
  if (method == nullptr) throw Stop("a method that the object has not: " + name);
  const bool is_module = type->is_module();
  const std::string path = is_module ? path_of(*object) : frames_.back().module_path;
  if (record_ != nullptr && is_module && name == "forward") {
    auto& calls = (*record_)[path];
    if (in_autocast()) {
      calls.emplace_back();
    } else {
      std::vector<c10::IValue>& call = calls.emplace_back(std::in_place).value();
      for (size_t i = 1; i < inputs.size(); ++i) call.push_back(snapshot(inputs[i]));
    }
  }
  return run_function(*method, std::move(inputs), path);
}

// A recorded run may write the constants of the code, which copies of the module share with it.
const at::Tensor& Importer::own_constant(const at::Tensor& tensor) {
  const auto [found, added] = own_constants_.try_emplace(tensor.unsafeGetTensorImpl());
  if (added && tensor.defined()) found->second = tensor.detach().clone();
  return found->second;
}

bool Importer::in_autocast() const { return !autocast_.empty() && autocast_.back()->enabled(); }

// TorchScript's own operator.
void Importer::run_jit(Node* node, Stack& stack) {
  // As the interpreter's code does: operations that are made for the node know its inputs.
  const torch::jit::Operator& op = node->getOperator();
  if (op.hasOperation() && op.schema().is_vararg()) {
    stack.emplace_back(static_cast<int64_t>(stack.size()));
  }
  node->getOperation()(stack);
}

Results Importer::run_operator(Node* node, Stack inputs) {
  const c10::FunctionSchema* schema = node->maybeSchema();
  if (schema == nullptr) {
    throw Stop(std::string("a node that TorchScript knows no operator for: ") +
               node->kind().toQualString());
  }
  if (record_ != nullptr) {
    run_jit(node, inputs);
    return inputs;
  }
  if (schema->name().starts_with("kiln::run")) {
    throw Stop("it is a program of Kiln already",
               "call it as it is; for other options compile the model that it was made of");
  }
  return call_operator(node, *schema, std::move(inputs));
}

// ---- control flow

bool Importer::decide(const c10::IValue& condition, Node* node) {
  if (condition.isBool()) return condition.toBool();
  const SymbolicNumber* number = symbolic(condition);
  if (number == nullptr) throw Stop("a condition that is no bool");
  const auto* relation = std::get_if<SymbolicNumber::Relation>(&number->value);
  if (relation == nullptr) throw Stop("a branch depends on the value of a tensor");
  const SizeCondition sizes{relation->relation, relation->left, relation->right, ""};
  if (const auto decided = sizes.decide(symbols_)) return *decided;
  if (is_unbacked(relation->left) || is_unbacked(relation->right)) {
    throw Stop("a branch depends on a size known only at run time: " + sizes.to_string());
  }
  return decide_by_raise(*relation, node);
}

// A branch that raises says what the program needs of its sizes: it is checked at each call.
bool Importer::decide_by_raise(const SymbolicNumber::Relation& relation, Node* node) {
  const bool raises[] = {node->kind() == prim::If && raise_in(node->blocks()[1]) != nullptr,
                         node->kind() == prim::If && raise_in(node->blocks()[0]) != nullptr};
  const SizeCondition sizes{relation.relation, relation.left, relation.right, ""};
  if (raises[0] == raises[1]) {
    throw Stop("a branch depends on sizes that vary: " + sizes.to_string());
  }
  const bool wanted = raises[0];
  std::string name(relation_name(relation.relation));
  if (!wanted) {
    name = name == "eq" ? "ne" : name == "ne" ? "eq" : name == "lt" ? "ge" : "gt";
  }
  const CaptureOrigin at = origin();
  const std::string text = "the program raises an exception otherwise" +
                           (at.location.empty() ? "" : " at " + at.location);
  demand(name, relation.left, relation.right, text);
  return wanted;
}

// A condition that is checked at each call. The sample points have to meet it.
void Importer::demand(const std::string& name, const DimExpr& left, const DimExpr& right,
                      const std::string& text) {
  if (!check(capture_.condition(name, left.to_string(), right.to_string(), text))) return;
  conditions_.push_back({name, left.to_string(), right.to_string(), text});
  const bool turned = name == "ge" || name == "gt";
  const SizeCondition needed{*relation_from_name(name == "ge"   ? "le"
                                                 : name == "gt" ? "lt"
                                                                : name),
                             turned ? right : left, turned ? left : right, text};
  demanded_.push_back(needed);
  for (const SymbolValues& values : values_at_) {
    if (!needed.check(values).ok()) throw Resample(needed);
  }
}

void Importer::run_if(Node* node, Env& env) {
  const Block* taken = node->blocks()[decide(env.at(node->input()), node) ? 0 : 1];
  run_block(taken, env);
  for (size_t i = 0; i < node->outputs().size(); ++i) {
    env[node->outputs()[i]] = env.at(taken->outputs()[i]);
  }
}

void Importer::run_loop(Node* node, Env& env) {
  const Block* body = node->blocks()[0];
  const c10::IValue limit = env.at(node->inputs()[0]);
  if (symbolic(limit) != nullptr) {
    throw Stop("the number of a loop's iterations varies: " +
               const_cast<SymbolicNumber*>(symbolic(limit))->str());
  }
  const int64_t trips = limit.toInt();
  bool go_on = decide(env.at(node->inputs()[1]), node);
  std::vector<c10::IValue> carried;
  for (size_t i = 2; i < node->inputs().size(); ++i) carried.push_back(env.at(node->inputs()[i]));
  for (int64_t i = 0; i < trips && go_on; ++i) {
    count_step();
    env[body->inputs()[0]] = i;
    for (size_t k = 0; k < carried.size(); ++k) env[body->inputs()[k + 1]] = carried[k];
    run_block(body, env);
    frames_.back().location = user_place(node->sourceRange());
    go_on = decide(env.at(body->outputs()[0]), node);
    for (size_t k = 0; k < carried.size(); ++k) carried[k] = env.at(body->outputs()[k + 1]);
  }
  for (size_t k = 0; k < carried.size(); ++k) env[node->outputs()[k]] = carried[k];
}

}  // namespace kiln::torchscript

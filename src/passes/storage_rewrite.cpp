#include "passes/storage_rewrite.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "ir/op_def.h"
#include "passes/rewriter.h"

namespace kiln {
namespace {

constexpr double kLargestF16 = 65504;
constexpr double kLargestBF16 = 3.3895313892515355e38;

bool is_of(Value* value, DType dtype) {
  return value != nullptr && value->type.is_tensor() && value->dtype() == dtype;
}

}  // namespace

bool leads(Node& node) { return node.op->has(kAnchor) && !node.is("attention"); }

bool StorageRewrite::converts(Node& node, int i) const {
  if (!is_of(node.operand(i), from_)) return false;
  return from_ != DType::kF32 || node.op->f32_beside < 0 || i < node.op->f32_beside;
}

bool StorageRewrite::is_convertible(Node& node) const {
  if (node.is("cast")) return is_of(node.result(), from_);
  return std::none_of(node.op->fields.begin(), node.op->fields.end(),
                      [](const FieldDef& field) { return field.kind == AttrKind::kDType; });
}

Status StorageRewrite::ask(Node& node, BackendSupport* backend) const {
  Graph scratch;
  std::vector<Value*> operands;
  for (int i = 0; i < node.num_operands(); ++i) {
    Value* operand = node.operand(i);
    if (operand == nullptr) {
      operands.push_back(nullptr);
      continue;
    }
    Type type = operand->type;
    if (converts(node, i)) type.tensor().dtype = to_;
    operands.push_back(operand->is_constant_argument() ? scratch.add_constant(std::move(type))
                                                       : scratch.add_input(std::move(type)));
  }
  AttrList attrs = attrs_of(node);
  if (node.is("cast")) attrs = {{"dtype", to_}};
  KILN_ASSIGN_OR_RETURN(Node* const trial, scratch.create(*node.op, std::move(operands),
                                                          std::move(attrs)));
  return backend == nullptr ? Status() : backend->supports(*trial);
}

// `value` of the graph of `emit`, cast to the new dtype. Finite numbers stay finite: a mask of the
// lowest f32 times zero is no NaN.
Value* StorageRewrite::cast_constant(Value* value, const Emit& emit) {
  if (dtype_bytes(to_) < dtype_bytes(from_)) {
    const double largest = to_ == DType::kF16 ? kLargestF16 : kLargestBF16;
    Value* infinite = emit("isinf", {value}, {});
    Value* finite = emit("clamp", {value}, {{"has_min", true}, {"min", -largest},
                                            {"has_max", true}, {"max", largest}});
    value = emit("where", {infinite, value, finite}, {});
  }
  return emit("cast", {value}, {{"dtype", to_}});
}

Value* StorageRewrite::converted(Value* value, Node& user) {
  const auto found = values_.find(value);
  if (found != values_.end()) return found->second;
  const auto emitter = [&user](Graph& graph, Node* before) -> Emit {
    return [&graph, &user, before](std::string_view op, std::vector<Value*> operands,
                                   AttrList attrs) {
      return create_node(graph, op, std::move(operands), std::move(attrs), before, user.origin)
          ->result();
    };
  };
  const Emit here = emitter(graph_, &user);
  Node* producer = value->producer();
  Value* result = nullptr;
  if (value->is_constant_argument()) {
    // Before the first run, however much larger it becomes.
    const Emit init = emitter(module_.init, nullptr);
    Value* constant = module_.init_value(value);
    // What is trained does not come near the end of bf16.
    const bool trained = to_ == DType::kBF16 && constant->producer() == nullptr;
    result = module_.constant_for(trained ? init("cast", {constant}, {{"dtype", to_}})
                                          : cast_constant(constant, init));
  } else if (producer != nullptr && producer->op->has(kSource)) {
    result = cast_constant(value, here);
  } else {
    result = here("cast", {value}, {{"dtype", to_}});
  }
  return values_[value] = result;
}

void StorageRewrite::rewrite(Node& node) {
  std::vector<Value*> operands = node.operands();
  for (int i = 0; i < node.num_operands(); ++i) {
    if (converts(node, i)) {
      operands[static_cast<size_t>(i)] = converted(node.operand(i), node);
    }
  }
  AttrList attrs = attrs_of(node);
  if (node.is("cast")) attrs = {{"dtype", to_}};
  Node* copy = create_node(graph_, node.op_name(), std::move(operands), std::move(attrs), &node,
                           node.origin);
  for (int i = 0; i < node.num_results(); ++i) {
    Value* result = copy->result(i);
    if (node.result(i)->type != result->type) {
      KILN_CHECK(is_of(node.result(i), from_) && is_of(result, to_));
      Node* cast = create_node(graph_, "cast", {result}, {{"dtype", from_}}, &node, node.origin);
      casts_.push_back(cast);
      values_[cast->result()] = result;
      result = cast->result();
    }
    graph_.replace_all_uses(node.result(i), result);
  }
  graph_.erase(&node);
}

bool StorageRewrite::apply(PassContext& context) {
  bool changed = false;
  for (Node* node : graph_.snapshot()) {
    if (!chosen_.contains(node)) continue;
    if (!context.should_rewrite()) break;
    rewrite(*node);
    changed = true;
  }
  // Later ones may be the only users of earlier ones.
  for (auto cast = casts_.rbegin(); cast != casts_.rend(); ++cast) {
    if (is_dead(**cast)) graph_.erase(*cast);
  }
  return changed;
}

}  // namespace kiln

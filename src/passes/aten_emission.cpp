#include "passes/aten_emission.h"

#include "base/check.h"
#include "ir/op_def.h"

namespace kiln {
namespace {

class Emitter : public AtenEmitter {
 public:
  explicit Emitter(Node* node) : node_(node) {}

  std::vector<Value*> call(std::string_view name, std::string_view overload, std::vector<Arg> args,
                           std::vector<Type> result_types) override {
    Call call;
    call.name = name;
    call.overload = overload;
    std::vector<Value*> operands;
    for (Arg& arg : args) call.args.push_back(convert(arg, &operands));
    const OpDef& op = OpRegistry::global().get("aten.call");
    std::vector<Attr> attrs;
    for (const FieldDef& field : op.fields) attrs.push_back(field.default_value);
    attrs[static_cast<size_t>(op.field_index("call"))] = std::move(call);
    Node* created = node_->graph()->create_unchecked(op, std::move(operands), std::move(attrs),
                                                     std::move(result_types), node_, node_->origin);
    calls_.push_back(created);
    std::vector<Value*> results;
    for (int i = 0; i < created->num_results(); ++i) results.push_back(created->result(i));
    return results;
  }

  const std::vector<Node*>& calls() const { return calls_; }

 private:
  static CallArg operand(Value* value, std::vector<Value*>* operands) {
    if (value == nullptr) return CallArg(CallArg::None{});
    // One operand per tensor, however often the call names it.
    for (size_t i = 0; i < operands->size(); ++i) {
      if ((*operands)[i] == value) return CallArg(CallArg::Operand{static_cast<int>(i)});
    }
    operands->push_back(value);
    return CallArg(CallArg::Operand{static_cast<int>(operands->size()) - 1});
  }

  static CallArg convert(Arg& arg, std::vector<Value*>* operands) {
    if (auto* value = std::get_if<Value*>(&arg.value)) return operand(*value, operands);
    if (auto* values = std::get_if<std::vector<Value*>>(&arg.value)) {
      CallArg::List list;
      for (Value* value : *values) list.push_back(operand(value, operands));
      return CallArg(std::move(list));
    }
    return std::get<CallArg>(arg.value);
  }

  Node* node_;
  std::vector<Node*> calls_;
};

}  // namespace

Result<std::string> replace_by_aten(Node* node) {
  if (node->op->to_aten == nullptr) {
    return Status::error("K2206", "op has no aten form: " + node->op->name);
  }
  Graph& graph = *node->graph();
  Emitter emitter(node);
  Result<std::vector<Value*>> results = node->op->to_aten(*node, emitter);
  if (!results.ok()) {
    for (auto it = emitter.calls().rbegin(); it != emitter.calls().rend(); ++it) graph.erase(*it);
    return std::move(results).status();
  }
  KILN_CHECK_EQ(static_cast<int>(results->size()), node->num_results());
  std::string names;
  for (Node* call : emitter.calls()) {
    names += (names.empty() ? "" : ", ") + std::get<Call>(call->attr("call")).full_name();
  }
  for (int i = 0; i < node->num_results(); ++i) {
    Value* replacement = (*results)[static_cast<size_t>(i)];
    KILN_CHECK_MSG(replacement->type == node->result(i)->type,
                   replacement->type.to_string() + " vs " + node->result(i)->type.to_string());
    graph.replace_all_uses(node->result(i), replacement);
  }
  graph.erase(node);
  return names;
}

}  // namespace kiln

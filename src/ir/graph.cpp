#include "ir/graph.h"

#include <algorithm>

#include "base/check.h"
#include "ir/op_def.h"

namespace kiln {
namespace {

void pad_operands(const OpDef& op, std::vector<Value*>& operands) {
  if (op.max_operands >= 0 && operands.size() < static_cast<size_t>(op.max_operands)) {
    operands.resize(static_cast<size_t>(op.max_operands), nullptr);
  }
}

// Lets callers write {"eps", 1} and {"shape", ints}; everything else must be of the field's kind.
bool coerce(AttrKind kind, Attr& value) {
  if (attr_kind(value) == kind) return true;
  if (const auto* integer = std::get_if<int64_t>(&value)) {
    if (kind == AttrKind::kFloat)
      value = static_cast<double>(*integer);
    else if (kind == AttrKind::kDim)
      value = DimExpr(*integer);
  } else if (const auto* integers = std::get_if<std::vector<int64_t>>(&value)) {
    if (kind == AttrKind::kDims) value = std::vector<DimExpr>(integers->begin(), integers->end());
  }
  return attr_kind(value) == kind;
}

Result<std::vector<Attr>> complete_attrs(const OpDef& op, AttrList given) {
  std::vector<Attr> attrs;
  std::vector<bool> set(op.fields.size(), false);
  for (const FieldDef& field : op.fields) attrs.push_back(field.default_value);
  for (auto& [name, value] : given) {
    const int index = op.field_index(name);
    if (index < 0) {
      return Status::error("K2211", "op has no such field: " + op.name + "." + name);
    }
    const auto i = static_cast<size_t>(index);
    if (!coerce(op.fields[i].kind, value)) {
      return Status::error("K2212", "field has another kind: " + op.name + "." + name + " is " +
                                        std::string(attr_kind_name(op.fields[i].kind)) + ", not " +
                                        std::string(attr_kind_name(attr_kind(value))));
    }
    attrs[i] = std::move(value);
    set[i] = true;
  }
  for (size_t i = 0; i < set.size(); ++i) {
    if (op.fields[i].required && !set[i]) {
      return Status::error("K2212", "field is required: " + op.name + "." + op.fields[i].name);
    }
  }
  return attrs;
}

}  // namespace

std::string Origin::to_string() const {
  if (location.empty()) return module_path;
  return module_path.empty() ? location : module_path + " (" + location + ")";
}

bool Value::has_one_use() {
  size_t count = uses_.size();
  if (count > 1) return false;
  for (Value* output : graph_->outputs()) count += output == this ? 1 : 0;
  return count == 1;
}

std::string_view Node::op_name() { return op->name; }
bool Node::is(std::string_view name) { return op->name == name; }

void Node::set_operand(int i, Value* value) {
  KILN_CHECK(i >= 0 && i < num_operands());
  Value*& slot = operands_[static_cast<size_t>(i)];
  if (slot == value) return;
  if (slot != nullptr) {
    const auto use = std::find(slot->uses_.begin(), slot->uses_.end(), Use{this, i});
    KILN_CHECK(use != slot->uses_.end());
    slot->uses_.erase(use);
  }
  slot = value;
  if (value != nullptr) {
    KILN_CHECK_MSG(value->graph_ == graph_, "operand belongs to another graph");
    value->uses_.push_back(Use{this, i});
  }
}

void Node::set_operands(std::vector<Value*> values) {
  for (int i = 0; i < num_operands(); ++i) set_operand(i, nullptr);
  pad_operands(*op, values);
  operands_.assign(values.size(), nullptr);
  for (size_t i = 0; i < values.size(); ++i) set_operand(static_cast<int>(i), values[i]);
}

Value* Node::add_result(Type type) {
  auto value = std::make_unique<Value>();
  value->type = std::move(type);
  value->origin = origin;
  value->producer_ = this;
  value->graph_ = graph_;
  value->index_ = num_results();
  results_.push_back(std::move(value));
  return results_.back().get();
}

Result<bool> Node::reinfer() {
  Result<std::vector<Type>> types = infer_types(*this);
  if (!types.ok()) return std::move(types).status();
  KILN_CHECK_EQ(types->size(), results_.size());
  bool changed = false;
  for (size_t i = 0; i < results_.size(); ++i) {
    Type& now = (*types)[i];
    Type& old = results_[i]->type;
    if (now.is_tensor() && old.is_tensor() && now.tensor().rank() == old.tensor().rank() &&
        now.tensor().layout.is_contiguous()) {
      now.tensor().layout = old.tensor().layout;
    }
    if (now == old) continue;
    old = std::move(now);
    changed = true;
  }
  return changed;
}

const Attr& Node::attr(std::string_view field) {
  const int index = op->field_index(field);
  KILN_CHECK_MSG(index >= 0, op->name + " has no field " + std::string(field));
  return attrs_[static_cast<size_t>(index)];
}

void Node::set_attr(std::string_view field, Attr value) {
  const int index = op->field_index(field);
  KILN_CHECK_MSG(index >= 0, op->name + " has no field " + std::string(field));
  const auto i = static_cast<size_t>(index);
  KILN_CHECK_MSG(coerce(op->fields[i].kind, value),
                 op->name + "." + std::string(field) + " is of another kind");
  attrs_[i] = std::move(value);
}

Graph::~Graph() = default;

Value* Graph::add_input(Type type, std::string name) {
  auto value = std::make_unique<Value>();
  value->type = std::move(type);
  value->name = std::move(name);
  value->graph_ = this;
  value->index_ = static_cast<int>(inputs_.size());
  inputs_.push_back(value.get());
  arguments_.push_back(std::move(value));
  return inputs_.back();
}

Value* Graph::add_constant(Type type, std::string name) {
  auto value = std::make_unique<Value>();
  value->type = std::move(type);
  value->name = std::move(name);
  value->graph_ = this;
  value->index_ = static_cast<int>(constants_.size());
  value->constant_ = true;
  constants_.push_back(value.get());
  arguments_.push_back(std::move(value));
  return constants_.back();
}

void Graph::erase_argument(std::vector<Value*>& list, int i) {
  KILN_CHECK(i >= 0 && i < static_cast<int>(list.size()));
  Value* value = list[static_cast<size_t>(i)];
  KILN_CHECK_MSG(value->uses_.empty() && !is_output(value), "argument still has uses");
  list.erase(list.begin() + i);
  for (size_t k = static_cast<size_t>(i); k < list.size(); ++k) {
    list[k]->index_ = static_cast<int>(k);
  }
  std::erase_if(arguments_, [value](const auto& owned) { return owned.get() == value; });
}

void Graph::erase_input(int i) { erase_argument(inputs_, i); }
void Graph::erase_constant(int i) { erase_argument(constants_, i); }

Result<Node*> Graph::create(const OpDef& op, std::vector<Value*> operands, AttrList attrs,
                            Node* before, Origin origin,
                            std::vector<std::unique_ptr<Graph>> bodies) {
  pad_operands(op, operands);
  KILN_ASSIGN_OR_RETURN(std::vector<Attr> complete, complete_attrs(op, std::move(attrs)));
  OpContext context;
  context.op = &op;
  for (Value* operand : operands) {
    context.operands.push_back(operand != nullptr ? &operand->type : nullptr);
  }
  context.attrs = &complete;
  context.bodies = &bodies;
  KILN_ASSIGN_OR_RETURN(std::vector<Type> types, infer_types(context));
  if (op.verify != nullptr) {
    if (Status status = op.verify(context); !status.ok()) {
      return std::move(status).at("op " + op.name);
    }
  }
  Node* node = create_unchecked(op, std::move(operands), std::move(complete), std::move(types),
                                before, std::move(origin));
  node->bodies = std::move(bodies);
  return node;
}

Node* Graph::create_unchecked(const OpDef& op, std::vector<Value*> operands,
                              std::vector<Attr> attrs, std::vector<Type> result_types, Node* before,
                              Origin origin) {
  KILN_CHECK_EQ(attrs.size(), op.fields.size());
  KILN_CHECK_MSG(before == nullptr || before->graph_ == this, "position is in another graph");
  auto owned = std::make_unique<Node>();
  Node* node = owned.get();
  node->op = &op;
  node->origin = std::move(origin);
  node->graph_ = this;
  node->attrs_ = std::move(attrs);
  for (Type& type : result_types) node->add_result(std::move(type));
  node->set_operands(std::move(operands));
  node->position_ =
      nodes_.insert(before == nullptr ? nodes_.end() : before->position_, std::move(owned));
  return node;
}

void Graph::erase(Node* node) {
  KILN_CHECK_MSG(node->graph_ == this, "node is in another graph");
  for (const auto& result : node->results_) {
    KILN_CHECK_MSG(result->uses_.empty() && !is_output(result.get()),
                   "erased node still has uses: " + node->op->name);
  }
  for (int i = 0; i < node->num_operands(); ++i) node->set_operand(i, nullptr);
  nodes_.erase(node->position_);
}

void Graph::move_before(Node* node, Node* before) {
  KILN_CHECK(node->graph_ == this && (before == nullptr || before->graph_ == this));
  if (node == before) return;
  nodes_.splice(before == nullptr ? nodes_.end() : before->position_, nodes_, node->position_);
}

bool Graph::is_output(Value* value) {
  return std::find(outputs_.begin(), outputs_.end(), value) != outputs_.end();
}

void Graph::replace_all_uses(Value* from, Value* to) {
  KILN_CHECK(from != nullptr && to != nullptr);
  if (from == to) return;
  KILN_CHECK_MSG(from->graph_ == this && to->graph_ == this, "value is in another graph");
  const std::vector<Use> uses = from->uses_;
  for (const Use& use : uses) use.node->set_operand(use.operand, to);
  std::replace(outputs_.begin(), outputs_.end(), from, to);
}

std::vector<Node*> Graph::snapshot() {
  std::vector<Node*> result;
  result.reserve(nodes_.size());
  for (const auto& node : nodes_) result.push_back(node.get());
  return result;
}

Node* Graph::next(Node* node) {
  const auto after = std::next(node->position_);
  return after == nodes_.end() ? nullptr : after->get();
}

void Graph::clone_nodes(Graph& source, std::map<Value*, Value*>& map, Node* before) {
  for (Node* node : source.snapshot()) {
    std::vector<Value*> operands;
    for (Value* operand : node->operands()) {
      Value* copy = nullptr;
      if (operand != nullptr) {
        const auto found = map.find(operand);
        KILN_CHECK_MSG(found != map.end(), "operand is not mapped: " + node->op->name);
        copy = found->second;
      }
      operands.push_back(copy);
    }
    std::vector<Type> types;
    for (const auto& result : node->results_) types.push_back(result->type);
    Node* copy = create_unchecked(*node->op, std::move(operands), node->attrs_, std::move(types),
                                  before, node->origin);
    for (const auto& body : node->bodies) copy->bodies.push_back(body->clone());
    for (int i = 0; i < node->num_results(); ++i) {
      copy->result(i)->name = node->result(i)->name;
      copy->result(i)->origin = node->result(i)->origin;
      map[node->result(i)] = copy->result(i);
    }
  }
}

std::unique_ptr<Graph> Graph::clone() {
  auto copy = std::make_unique<Graph>();
  copy->copy_from(*this);
  return copy;
}

void Graph::copy_from(Graph& source) {
  KILN_CHECK(arguments_.empty() && nodes_.empty() && outputs_.empty());
  std::map<Value*, Value*> map;
  for (Value* input : source.inputs_) {
    map[input] = add_input(input->type, input->name);
    map[input]->origin = input->origin;
  }
  for (Value* constant : source.constants_) {
    map[constant] = add_constant(constant->type, constant->name);
    map[constant]->origin = constant->origin;
  }
  clone_nodes(source, map);
  for (Value* output : source.outputs_) {
    const auto found = map.find(output);
    KILN_CHECK_MSG(found != map.end(), "output is not of this graph");
    add_output(found->second);
  }
}

}  // namespace kiln

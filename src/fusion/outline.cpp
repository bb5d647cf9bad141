#include "fusion/outline.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/check.h"
#include "ir/op_def.h"

namespace kiln {
namespace {

bool is_copied_source(Node* node) {
  if (!node->op->has(kSource) || node->num_results() != 1) return false;
  for (const DimExpr& dim : node->result()->shape()) {
    if (!dim.is_value(1)) return false;
  }
  return node->is("constant") || node->is("full");
}

}  // namespace

Node* outline(Graph& graph, const std::vector<Node*>& members, std::string_view anchor,
              std::string_view kind) {
  const std::set<Node*> inside(members.begin(), members.end());
  auto body = std::make_unique<Graph>();
  std::map<Value*, Value*> map;  // outer -> body
  std::vector<Value*> operands;
  for (Node* member : members) {
    for (Value* operand : member->operands()) {
      if (operand == nullptr || map.contains(operand)) continue;
      Node* producer = operand->producer();
      if (producer != nullptr && inside.contains(producer)) continue;
      if (producer != nullptr && is_copied_source(producer)) {
        Node* copy = body->create_unchecked(*producer->op, {}, producer->attrs(),
                                            {operand->type}, nullptr, producer->origin);
        map[operand] = copy->result();
        continue;
      }
      map[operand] = body->add_input(operand->type, operand->name);
      operands.push_back(operand);
    }
    std::vector<Value*> inner;
    std::vector<Type> types;
    for (Value* operand : member->operands()) {
      inner.push_back(operand == nullptr ? nullptr : map.at(operand));
    }
    for (int i = 0; i < member->num_results(); ++i) types.push_back(member->result(i)->type);
    Node* copy = body->create_unchecked(*member->op, inner, member->attrs(), types, nullptr,
                                        member->origin);
    for (int i = 0; i < member->num_results(); ++i) {
      copy->result(i)->origin = member->result(i)->origin;
      map[member->result(i)] = copy->result(i);
    }
  }
  std::vector<Value*> results;
  for (Node* member : members) {
    for (int i = 0; i < member->num_results(); ++i) {
      Value* result = member->result(i);
      bool used_outside = graph.is_output(result);
      for (const Use& use : result->uses()) used_outside |= !inside.contains(use.node);
      if (!used_outside) continue;
      results.push_back(result);
      body->add_output(map.at(result));
    }
  }
  KILN_CHECK(!results.empty());
  const OpDef& def = OpRegistry::global().get("fused");
  std::vector<Attr> attrs;
  for (const FieldDef& field : def.fields) attrs.push_back(field.default_value);
  attrs[static_cast<size_t>(def.field_index("anchor"))] = std::string(anchor);
  attrs[static_cast<size_t>(def.field_index("kind"))] = std::string(kind);
  std::vector<Type> types;
  for (Value* result : results) types.push_back(result->type);
  // Messages name the anchor, which does most of the work, else the last member.
  const Origin origin = anchor.empty() ? members.back()->origin : members.front()->origin;
  Node* fused = graph.create_unchecked(def, operands, std::move(attrs), std::move(types),
                                       graph.next(members.back()), origin);
  fused->bodies.push_back(std::move(body));
  for (size_t i = 0; i < results.size(); ++i) {
    fused->result(static_cast<int>(i))->origin = results[i]->origin;
    graph.replace_all_uses(results[i], fused->result(static_cast<int>(i)));
  }
  for (size_t i = members.size(); i-- > 0;) graph.erase(members[i]);
  sort_nodes(graph);
  return fused;
}

void inline_fused(Node* fused) {
  Graph& graph = *fused->graph();
  Graph& body = *fused->bodies[0];
  std::map<Value*, Value*> map;
  for (size_t i = 0; i < body.inputs().size(); ++i) {
    map[body.inputs()[i]] = fused->operand(static_cast<int>(i));
  }
  graph.clone_nodes(body, map, fused);
  for (size_t i = 0; i < body.outputs().size(); ++i) {
    graph.replace_all_uses(fused->result(static_cast<int>(i)), map.at(body.outputs()[i]));
  }
  graph.erase(fused);
}

bool creates_cycle(const std::vector<Node*>& members, GroupMap* groups) {
  const std::set<Node*> inside(members.begin(), members.end());
  std::set<Node*> seen;
  std::vector<Node*> work;
  auto push_operands = [&](Node* node, bool from_inside) {
    for (Value* operand : node->operands()) {
      Node* producer = operand == nullptr ? nullptr : operand->producer();
      if (producer == nullptr) continue;
      if (from_inside && inside.contains(producer)) continue;
      work.push_back(producer);
    }
  };
  for (Node* member : members) push_operands(member, true);
  while (!work.empty()) {
    Node* node = work.back();
    work.pop_back();
    if (inside.contains(node)) return true;
    if (!seen.insert(node).second) continue;
    const std::vector<Node*>* group = groups == nullptr ? nullptr : groups->members_with(node);
    if (group == nullptr) {
      push_operands(node, false);
      continue;
    }
    for (Node* other : *group) {
      seen.insert(other);
      push_operands(other, false);
    }
  }
  return false;
}

void sort_nodes(Graph& graph) {
  const std::vector<Node*> nodes = graph.snapshot();
  std::map<Node*, size_t> position;
  for (size_t i = 0; i < nodes.size(); ++i) position[nodes[i]] = i;
  std::vector<int> missing(nodes.size(), 0);
  std::vector<std::vector<size_t>> users(nodes.size());
  size_t last_effect = nodes.size();
  auto depends = [&](size_t on, size_t user) {
    users[on].push_back(user);
    ++missing[user];
  };
  for (size_t i = 0; i < nodes.size(); ++i) {
    for (Value* operand : nodes[i]->operands()) {
      if (operand == nullptr || operand->producer() == nullptr) continue;
      auto found = position.find(operand->producer());
      if (found != position.end()) depends(found->second, i);
    }
    if (!nodes[i]->op->has(kEffect)) continue;
    if (last_effect != nodes.size()) depends(last_effect, i);
    last_effect = i;
  }
  std::set<size_t> ready;
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (missing[i] == 0) ready.insert(i);
  }
  size_t placed = 0;
  while (!ready.empty()) {
    const size_t i = *ready.begin();
    ready.erase(ready.begin());
    graph.move_before(nodes[i], nullptr);
    ++placed;
    for (size_t user : users[i]) {
      if (--missing[user] == 0) ready.insert(user);
    }
  }
  KILN_CHECK_EQ(placed, nodes.size());
}

}  // namespace kiln

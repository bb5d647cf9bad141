#include "kiln-opt/node_order.h"

#include <algorithm>
#include <random>
#include <set>

#include "base/check.h"
#include "base/hash.h"
#include "ir/op_def.h"
#include "ops/effects.h"

namespace kiln {
namespace {

void reorder(Graph& graph, const std::vector<Node*>& order) {
  KILN_CHECK_EQ(order.size(), graph.nodes().size());
  for (Node* node : order) graph.move_before(node, nullptr);
}

void shuffle_graph(Graph& graph, std::mt19937_64& random) {
  std::map<Node*, int> waits;  // producers and earlier effects not placed yet
  std::map<Node*, std::vector<Node*>> unblocks;
  std::vector<Node*> ready;
  Node* last_effect = nullptr;
  for (Node* node : graph.snapshot()) {
    for (const auto& body : node->bodies) shuffle_graph(*body, random);
    int count = 0;
    auto wait_for = [&](Node* earlier) {
      if (earlier == nullptr) return;
      unblocks[earlier].push_back(node);
      ++count;
    };
    for (Value* operand : node->operands()) {
      if (operand != nullptr) wait_for(operand->producer());
    }
    if (has_effect(*node)) {
      wait_for(last_effect);
      last_effect = node;
    }
    waits[node] = count;
    if (count == 0) ready.push_back(node);
  }
  std::vector<Node*> order;
  while (!ready.empty()) {
    std::swap(ready[random() % ready.size()], ready.back());
    Node* node = ready.back();
    ready.pop_back();
    order.push_back(node);
    for (Node* later : unblocks[node]) {
      if (--waits[later] == 0) ready.push_back(later);
    }
  }
  reorder(graph, order);
}

// Depth-first from `roots`; nodes not reached are erased.
void sort_and_prune(Graph& graph, const std::vector<Value*>& roots) {
  std::vector<Node*> order;
  std::set<Node*> placed;
  auto visit = [&](auto& self, Node* node) -> void {
    if (node == nullptr || !placed.insert(node).second) return;
    for (Value* operand : node->operands()) {
      if (operand != nullptr) self(self, operand->producer());
    }
    order.push_back(node);
  };
  for (Node* node : graph.snapshot()) {
    if (has_effect(*node)) visit(visit, node);
  }
  for (Value* root : roots) visit(visit, root->producer());
  std::vector<Node*> all = graph.snapshot();
  for (auto it = all.rbegin(); it != all.rend(); ++it) {
    if (!placed.contains(*it)) graph.erase(*it);
  }
  reorder(graph, order);
}

using Keys = std::map<Value*, Hash128>;

// Puts the operands of commutative ops into an order that depends only on how they are computed.
// `keys` has the keys of constants and, where their order may differ, of inputs; it receives all.
void sort_commutative(Graph& graph, Keys& keys) {
  for (Value* input : graph.inputs()) {
    keys.emplace(input, Hasher128().add_text("input").add_int(input->index()).finish());
  }
  for (Node* node : graph.snapshot()) {
    if (node->op->has(kCommutative) && node->has_operand(0) && node->has_operand(1) &&
        keys.at(node->operand(1)) < keys.at(node->operand(0))) {
      std::vector<Value*> operands = node->operands();
      std::swap(operands[0], operands[1]);
      node->set_operands(std::move(operands));
    }
    Hasher128 hasher;
    hasher.add_text(node->op->name);
    for (Value* operand : node->operands()) {
      hasher.add_hash(operand == nullptr ? Hash128{} : keys.at(operand));
    }
    for (const Attr& attr : node->attrs()) hasher.add_text(attr_to_text(attr));
    const Hash128 key = hasher.finish();
    for (int i = 0; i < node->num_results(); ++i) {
      keys[node->result(i)] = Hasher128().add_hash(key).add_int(i).finish();
    }
  }
}

void forget_names(Graph& graph) {
  auto forget = [](Value* value) {
    value->name.clear();
    value->origin = {};
  };
  std::for_each(graph.inputs().begin(), graph.inputs().end(), forget);
  std::for_each(graph.constants().begin(), graph.constants().end(), forget);
  for (const auto& node : graph.nodes()) {
    node->origin = {};
    for (int i = 0; i < node->num_results(); ++i) forget(node->result(i));
    for (const auto& body : node->bodies) {
      Keys keys;
      sort_commutative(*body, keys);
      sort_and_prune(*body, body->outputs());
      forget_names(*body);
    }
  }
}

std::vector<Value*> constants_by_first_use(Graph& main) {
  std::vector<Value*> order;
  std::set<Value*> seen;
  auto add = [&](Value* value) {
    if (value != nullptr && value->is_constant_argument() && seen.insert(value).second) {
      order.push_back(value);
    }
  };
  for (const auto& node : main.nodes()) {
    std::for_each(node->operands().begin(), node->operands().end(), add);
  }
  std::for_each(main.outputs().begin(), main.outputs().end(), add);
  return order;
}

}  // namespace

void shuffle_nodes(Module& module, uint64_t seed) {
  std::mt19937_64 random(seed);
  shuffle_graph(module.init, random);
  shuffle_graph(module.main, random);
}

std::unique_ptr<Module> canonical_copy(Module& module) {
  std::unique_ptr<Module> source = module.clone();
  Keys keys;
  for (size_t i = 0; i < source->weights.size(); ++i) {
    keys[source->init.inputs()[i]] =
        Hasher128().add_text("weight").add_text(source->weights[i].name).finish();
  }
  sort_commutative(source->init, keys);
  for (Value* constant : source->main.constants()) {
    keys[constant] = keys.at(source->init_value(constant));
  }
  sort_commutative(source->main, keys);
  sort_and_prune(source->main, source->main.outputs());
  const std::vector<Value*> constants = constants_by_first_use(source->main);
  std::vector<Value*> init_roots;
  for (Value* constant : constants) init_roots.push_back(source->init_value(constant));
  // The other outputs of the init graph go, so that what only they need can be erased.
  while (!source->init.outputs().empty()) source->init.erase_output(0);
  sort_and_prune(source->init, init_roots);
  forget_names(source->init);
  forget_names(source->main);

  auto result = std::make_unique<Module>();
  result->symbols = source->symbols;
  result->conditions = source->conditions;
  result->inputs = source->inputs;
  result->outputs = source->outputs;
  std::map<Value*, Value*> map;
  std::vector<size_t> by_name(source->weights.size());
  for (size_t i = 0; i < by_name.size(); ++i) by_name[i] = i;
  std::sort(by_name.begin(), by_name.end(),
            [&](size_t a, size_t b) { return source->weights[a].name < source->weights[b].name; });
  for (size_t i : by_name) {
    map[source->init.inputs()[i]] = result->add_weight(source->weights[i]);
  }
  result->init.clone_nodes(source->init, map);
  for (Value* input : source->main.inputs()) map[input] = result->main.add_input(input->type);
  for (size_t i = 0; i < constants.size(); ++i) {
    result->init.add_output(map.at(init_roots[i]));
    map[constants[i]] = result->main.add_constant(constants[i]->type);
  }
  result->main.clone_nodes(source->main, map);
  for (Value* output : source->main.outputs()) result->main.add_output(map.at(output));
  return result;
}

}  // namespace kiln

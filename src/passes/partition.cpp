// partition: orders nodes so that native ones form as few runs as possible.
//
//   %0 = relu(%x) : f32[2]
//   %1 = aten.call(%0) {call=my::op(%0)} : f32[2]
//   %2 = exp(%x) : f32[2]                            does not wait for the call
//   %3 = aten.call(%x) {call=my::op(%0)} : f32[2]    nor does this one for exp
//   %4 = add(%1, %2) : f32[2]
// becomes
//   %0 = relu(%x) : f32[2]
//   %1 = exp(%x) : f32[2]
//   %2 = aten.call(%0) {call=my::op(%0)} : f32[2]
//   %3 = aten.call(%x) {call=my::op(%0)} : f32[2]
//   %4 = add(%2, %1) : f32[2]
//
// Nothing marks the runs: the order is what matters, and the plan makes a segment of each. Effects
// keep their order. Service: PartitionInfo (optional) receives the counts.
#include "passes/partition.h"

#include <algorithm>
#include <map>
#include <queue>
#include <set>

#include "base/check.h"
#include "ir/op_def.h"
#include "ops/effects.h"
#include "passes/backend_support.h"
#include "passes/pass_manager.h"

namespace kiln {
namespace {

bool is_native(Node& node) { return !node.is("aten.call"); }

class Scheduler {
 public:
  explicit Scheduler(Graph& graph) : nodes_(graph.snapshot()) {
    for (size_t i = 0; i < nodes_.size(); ++i) position_[nodes_[i]] = i;
    waits_.resize(nodes_.size());
    unblocks_.resize(nodes_.size());
    Node* last_effect = nullptr;
    for (size_t i = 0; i < nodes_.size(); ++i) {
      std::set<size_t> before;
      for (Value* operand : nodes_[i]->operands()) {
        if (operand != nullptr && operand->producer() != nullptr) {
          before.insert(position_.at(operand->producer()));
        }
      }
      if (has_effect(*nodes_[i])) {
        if (last_effect != nullptr) before.insert(position_.at(last_effect));
        last_effect = nodes_[i];
      }
      waits_[i] = before.size();
      for (size_t earlier : before) unblocks_[earlier].push_back(i);
    }
  }

  std::vector<Node*> run(bool native_first) {
    std::vector<size_t> waits = waits_;
    // Ready nodes by position: [0] aten.calls, [1] native ones.
    std::set<size_t> ready[2];
    for (size_t i = 0; i < nodes_.size(); ++i) {
      if (waits[i] == 0) ready[is_native(*nodes_[i])].insert(i);
    }
    std::vector<Node*> order;
    for (int turn = native_first ? 1 : 0; !ready[0].empty() || !ready[1].empty(); turn = 1 - turn) {
      while (!ready[turn].empty()) {
        const size_t next = *ready[turn].begin();
        ready[turn].erase(ready[turn].begin());
        order.push_back(nodes_[next]);
        for (size_t later : unblocks_[next]) {
          if (--waits[later] == 0) ready[is_native(*nodes_[later])].insert(later);
        }
      }
    }
    KILN_CHECK_EQ(order.size(), nodes_.size());
    return order;
  }

 private:
  std::vector<Node*> nodes_;
  std::map<Node*, size_t> position_;  // lookups only
  std::vector<size_t> waits_;
  std::vector<std::vector<size_t>> unblocks_;
};

// Literals and the like are made where they are needed, not kept from the start. Only in front of
// native users: there they join a run that exists.
std::vector<Node*> sink_sources(const std::vector<Node*>& order) {
  std::map<Node*, size_t> position;  // lookups only
  for (size_t i = 0; i < order.size(); ++i) position[order[i]] = i;
  std::vector<std::vector<Node*>> before(order.size());
  std::vector<bool> sunk(order.size(), false);
  for (size_t i = 0; i < order.size(); ++i) {
    Node* node = order[i];
    if (!node->op->has(kSource) || node->num_operands() != 0) continue;
    size_t first = order.size();
    for (const Use& use : node->result()->uses()) first = std::min(first, position.at(use.node));
    if (first == order.size() || !is_native(*order[first])) continue;
    before[first].push_back(node);
    sunk[i] = true;
  }
  std::vector<Node*> result;
  for (size_t i = 0; i < order.size(); ++i) {
    result.insert(result.end(), before[i].begin(), before[i].end());
    if (!sunk[i]) result.push_back(order[i]);
  }
  return result;
}

}  // namespace

std::vector<std::vector<Node*>> native_runs(const std::vector<Node*>& order) {
  std::vector<std::vector<Node*>> runs;
  bool open = false;
  for (Node* node : order) {
    if (!is_native(*node)) {
      open = false;
      continue;
    }
    if (!open) runs.emplace_back();
    open = true;
    runs.back().push_back(node);
  }
  return runs;
}

std::vector<Node*> partition_order(Graph& graph) {
  Scheduler scheduler(graph);
  std::vector<Node*> native_first = sink_sources(scheduler.run(true));
  std::vector<Node*> aten_first = sink_sources(scheduler.run(false));
  const bool better = native_runs(aten_first).size() < native_runs(native_first).size();
  return better ? aten_first : native_first;
}

KILN_PASS(partition, "orders nodes so that native ones form few runs") {
  const std::vector<Node*> order = partition_order(module.main);
  if (auto* info = context.service<PartitionInfo>()) {
    info->segments = static_cast<int>(native_runs(order).size());
    info->aten_calls = static_cast<int>(
        std::count_if(order.begin(), order.end(), [](Node* node) { return !is_native(*node); }));
  }
  if (order == module.main.snapshot() || !context.should_rewrite()) return false;
  for (Node* node : order) module.main.move_before(node, nullptr);
  return true;
}

}  // namespace kiln

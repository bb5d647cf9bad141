// fuse-tiles: elementwise ops, reductions and norms over one iteration domain become one fusion.
//
//   %1 = add(%x, %y) : f32[1,128,768]
//   %2 = layer_norm(%1, %w, %b) {eps=1e-12} : f32[1,128,768]
// becomes
//   %1:2 = fused(%x, %y, %w, %b) {kind="tile"} (...) { ... }     (the sum too if others use it)
//
// Greedy in graph order: a node joins the groups of its operands where the domains agree
// (tile_domain.h) and the result is no cycle. Every node that tile programs can compute ends in
// some fusion, alone if need be.
#include <algorithm>
#include <map>
#include <memory>
#include <set>

#include "fusion/outline.h"
#include "fusion/tile_builder.h"
#include "fusion/tile_domain.h"
#include "ir/op_def.h"
#include "passes/pass_manager.h"

namespace kiln {
namespace {

// More statements than this would no longer keep their tiles in the L1 cache.
constexpr size_t kMaxMembers = 48;

struct Group {
  std::vector<Node*> members;  // graph order
  TileDomain domain;
};

class Grouping : public GroupMap {
 public:
  explicit Grouping(Graph& graph) {
    int position = 0;
    for (Node* node : graph.snapshot()) position_[node] = position++;
  }

  const std::vector<Node*>* members_with(Node* node) override {
    auto found = group_of_.find(node);
    return found == group_of_.end() ? nullptr : &found->second->members;
  }

  void add(Node* node) {
    TileDomain domain = domain_of(*node);
    std::shared_ptr<Group> home;
    // Later operands first: they are the ones that just left the cache.
    std::vector<std::shared_ptr<Group>> candidates;
    for (int i = node->num_operands(); i-- > 0;) {
      Value* operand = node->operand(i);
      if (operand == nullptr || operand->producer() == nullptr) continue;
      auto found = group_of_.find(operand->producer());
      if (found == group_of_.end()) continue;
      if (std::find(candidates.begin(), candidates.end(), found->second) == candidates.end()) {
        candidates.push_back(found->second);
      }
    }
    for (const auto& group : candidates) {
      if (!home) {
        TileDomain joined;
        if (!fits(*node, domain, *group, &joined)) continue;
        std::vector<Node*> members = group->members;
        members.push_back(node);
        if (members.size() > kMaxMembers || creates_cycle(members, this)) continue;
        group->members = std::move(members);
        group->domain = joined;
        group_of_[node] = group;
        home = group;
        continue;
      }
      merge(*home, *group);
    }
    if (home) return;
    auto group = std::make_shared<Group>();
    group->members = {node};
    group->domain = std::move(domain);
    group_of_[node] = group;
  }

  std::vector<std::shared_ptr<Group>> groups() {
    std::vector<std::shared_ptr<Group>> result;
    std::set<Group*> seen;
    std::vector<std::pair<int, Node*>> order;
    for (const auto& [node, group] : group_of_) order.emplace_back(position_[node], node);
    std::sort(order.begin(), order.end());
    for (const auto& [position, node] : order) {
      if (seen.insert(group_of_[node].get()).second) result.push_back(group_of_[node]);
    }
    return result;
  }

 private:
  static bool operands_fit(Node& node, const Group& group) {
    const std::set<Node*> members(group.members.begin(), group.members.end());
    const Shape keep = group.domain.has_rows() && group.domain.groups == 0
                           ? group.domain.reduced_shape(true)
                           : Shape();
    for (Value* operand : node.operands()) {
      if (operand == nullptr || !members.contains(operand->producer())) continue;
      // A reduced value comes back to the full shape only by broadcasting axes of size 1.
      if (!(operand->shape() == group.domain.full) &&
          !(operand->shape().size() == group.domain.full.size() && operand->shape() == keep)) {
        return false;
      }
    }
    return true;
  }

  static bool fits(Node& node, const TileDomain& domain, const Group& group, TileDomain* joined) {
    *joined = group.domain;
    if (domain.has_rows()) {
      if (!(domain.full == group.domain.full)) return false;
      if (group.domain.has_rows() && !group.domain.same_rows(domain)) return false;
      if (!operands_fit(node, group)) return false;
      *joined = domain;
      return true;
    }
    if (domain.full == group.domain.full) return operands_fit(node, group);
    // What is computed from reduced values alone.
    if (!group.domain.has_rows() || group.domain.groups != 0) return false;
    const bool reduced = domain.full == group.domain.reduced_shape(true) ||
                         domain.full == group.domain.reduced_shape(false);
    if (!reduced) return false;
    return reads_only(node, group, domain.full);
  }

  // Can this member of the group read the others' values where it stands?
  static bool reads_fit(Node& node, const Group& group) {
    const Shape shape = domain_of(node).full;
    if (shape == group.domain.full) return operands_fit(node, group);
    return reads_only(node, group, shape);
  }

  // What the node reads of the group's values has this shape.
  static bool reads_only(Node& node, const Group& group, const Shape& shape) {
    const std::set<Node*> members(group.members.begin(), group.members.end());
    for (Value* operand : node.operands()) {
      if (operand == nullptr || !members.contains(operand->producer())) continue;
      if (!(operand->shape() == shape)) return false;
    }
    return true;
  }

  // `into` takes the members of `from`, another group of what some node reads.
  void merge(Group& into, Group& from) {
    if (!(into.domain.full == from.domain.full)) return;
    if (into.domain.has_rows() && from.domain.has_rows() && !into.domain.same_rows(from.domain)) {
      return;
    }
    Group trial;
    trial.domain = into.domain.has_rows() ? into.domain : from.domain;
    trial.members = into.members;
    trial.members.insert(trial.members.end(), from.members.begin(), from.members.end());
    std::sort(trial.members.begin(), trial.members.end(),
              [this](Node* a, Node* b) { return position_[a] < position_[b]; });
    if (trial.members.size() > kMaxMembers) return;
    // A node may stand in `from` just because it could not read a value of `into` there.
    for (Node* member : trial.members) {
      if (!reads_fit(*member, trial)) return;
    }
    if (creates_cycle(trial.members, this)) return;
    std::shared_ptr<Group> home = group_of_[into.members[0]];
    for (Node* member : from.members) group_of_[member] = home;
    into.members = std::move(trial.members);
    into.domain = trial.domain;
  }

  std::map<Node*, std::shared_ptr<Group>> group_of_;
  std::map<Node*, int> position_;
};

// Sources of one element are copied into the fusions that use them.
bool is_inlined_source(Node& node) {
  if (!node.op->has(kSource)) return false;
  for (const DimExpr& dim : node.result()->shape()) {
    if (!dim.is_value(1)) return false;
  }
  return true;
}

// A reduction of a tensor without axes reduces one of a single axis of size 1: it needs a row.
Result<bool> give_rows(Graph& graph, PassContext& context) {
  bool changed = false;
  for (Node* node : graph.snapshot()) {
    if (!node->op->has(kReduction) || !node->get_ints("axes").empty()) continue;
    if (!context.should_rewrite()) break;
    KILN_ASSIGN_OR_RETURN(Node * row, graph.create(OpRegistry::global().get("reshape"),
                                                   {node->operand(0)}, {{"shape", Shape{1}}}, node,
                                                   node->origin));
    node->set_operand(0, row->result());
    node->set_attr("axes", std::vector<int64_t>{0});
    node->set_attr("keepdim", false);
    changed = true;
  }
  return changed;
}

Result<bool> fuse_graph(Graph& graph, PassContext& context) {
  KILN_ASSIGN_OR_RETURN(bool changed, give_rows(graph, context));
  Grouping grouping(graph);
  for (Node* node : graph.snapshot()) {
    if (!is_tileable(*node) || is_inlined_source(*node)) continue;
    grouping.add(node);
  }
  for (const auto& group : grouping.groups()) {
    if (!context.should_rewrite()) break;
    outline(graph, group->members, "", "tile");
    changed = true;
  }
  // What is left of the small sources: dead, or read by something that is no tile program.
  for (Node* node : graph.snapshot()) {
    if (!is_tileable(*node) || !is_inlined_source(*node)) continue;
    if (node->result()->uses().empty() && !graph.is_output(node->result())) {
      graph.erase(node);
      changed = true;
    } else if (context.should_rewrite()) {
      outline(graph, {node}, "", "tile");
      changed = true;
    }
  }
  return changed;
}

}  // namespace

KILN_PASS(fuse_tiles, "elementwise ops, reductions and norms over one domain become one fusion") {
  KILN_ASSIGN_OR_RETURN(const bool main, fuse_graph(module.main, context));
  KILN_ASSIGN_OR_RETURN(const bool init, fuse_graph(module.init, context));
  return main || init;
}

}  // namespace kiln

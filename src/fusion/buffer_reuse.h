// Where results of the main graph go, so that as little as possible moves: into the memory of an
// output, of the concat that takes them in, of the input that they are written into in the end, or
// over an older value that nobody reads any more.
//
// In-place is decided here alone, from what is still read later; the runtime derives lifetimes from
// the steps and needs no word about it. A chain such as x -> index_put -> slice assignment (slices
// of x around a new part, joined by a concat) -> x is then a few writes of what changes.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "ir/module.h"
#include "runtime/plan.h"

namespace kiln {

// The view that a reshape, permute, expand or slice makes of its operand's place; none for other
// nodes, and where strides cannot express a reshape.
std::optional<PlanView> view_through(Node& node, const PlanView& source);
bool same_place(const PlanView& a, const PlanView& b);
// Whether one element stands for several of the view.
bool repeats(const PlanView& view);
// The one subview of a concat's result that operand `index` fills.
PlanView concat_part(Node& concat, const PlanView& whole, int index);

class BufferReuse {
 public:
  // Places found so far, by value; kept by the caller.
  using Places = std::map<Value*, PlanView>;

  // `output_roots`: values that are better computed in the memory of a fresh output.
  BufferReuse(Module& module, const Plan& plan, Places& places,
              const std::map<Value*, int>& output_roots);

  // The place of `value`, which the node being lowered, its producer, is about to compute; none
  // when it needs memory of its own. Concats that it is to lie in get their places too, from
  // `fresh` where they need memory of their own.
  std::optional<PlanView> find(Value* value, const std::function<PlanView(Value*)>& fresh);
  // False for nodes that only outputs depend on that are taken as views of something else.
  bool is_needed(Node& node) const { return position_.contains(&node); }

 private:
  // A concat that takes `operand` in, perhaps through reshapes and permutes (inner ones first).
  struct Link {
    std::vector<Node*> views;
    Node* concat = nullptr;
    int operand = 0;
  };
  std::vector<Link> links_from(Value* value);
  // The part of the outermost concat's place that `links` leaves to the innermost value; none when
  // strides cannot say it. `all` receives the place of each concat.
  std::optional<PlanView> place_inside(const std::vector<Link>& links, const PlanView& outermost,
                                       std::vector<PlanView>* all);
  std::optional<PlanView> place_over(Value* value, const std::vector<Link>& links, Node* writer);
  std::optional<PlanView> place_in_input(Value* value, const std::vector<Link>& links,
                                         Node* writer);
  // Values over which `value` may be written: an operand whose elements it keeps or replaces.
  std::vector<Value*> candidates(Value* value, Node* writer);

  // May `writer` and what follows write `links`' concats (or `value` itself) at `place`?
  bool may_write(Value* value, const std::vector<Link>& links, const PlanView& place, Node* writer);
  // Is the contents of `value`'s memory as it is now read after position `at`? Uses in `ignored`
  // (a node and its operand) do not count.
  bool read_after(Value* value, int at, const std::set<std::pair<Node*, int>>& ignored);
  bool is_reusable(int slot, bool inputs);
  // Kernels write results in the memory order of the value's layout; copies and updates in any.
  bool takes_order(Value* value, const PlanView& place);
  std::optional<PlanView> peek(Value* value);

  Module& module_;
  const Plan& plan_;
  Places& places_;
  std::map<Node*, int> position_;  // of the nodes that are needed
  const std::map<Value*, int>& output_roots_;
  // Value -> the input that it is written into in the end, through these views (inner ones first).
  std::map<Value*, std::pair<int, std::vector<Node*>>> written_into_;
  std::set<int> written_inputs_;
  std::set<Value*> permuted_;  // concats that lie in memory in another order than their layout's
};

}  // namespace kiln

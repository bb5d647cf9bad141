#include "fusion/buffer_reuse.h"

#include <algorithm>

#include "fusion/engine_lowering.h"
#include "ir/op_def.h"
#include "ops/effects.h"

namespace kiln {
namespace {

bool is_view_node(Node& node) {
  return node.num_operands() == 1 &&
         (node.is("reshape") || node.is("permute") || node.is("expand") || node.is("slice"));
}

bool is_identity(const std::vector<int>& order) {
  return std::is_sorted(order.begin(), order.end());
}

bool same_order(const std::vector<int>& a, const std::vector<int>& b) {
  return a == b || (is_identity(a) && is_identity(b));
}

bool is_dense(const PlanView& view, const std::vector<int>& order) {
  const std::vector<DimExpr> strides = dense_strides(view.dims, order);
  for (size_t i = 0; i < strides.size(); ++i) {
    if (!view.dims[i].is_value(1) && !(view.strides[i] == strides[i])) return false;
  }
  return true;
}

// Does every element of the one result depend, of an operand of its shape, on the same element
// only?
bool is_elementwise(Node& node) {
  if (node.num_results() != 1) return false;
  if (!node.is("fused")) return node.op->has(kElementwise);
  for (Node* inner : node.bodies[0]->snapshot()) {
    if (!inner->op->has(kElementwise) && !inner->op->has(kSource)) return false;
  }
  return true;
}

// The place of the operand of a chain of views (inner ones first) whose last result lies at
// `place`.
std::optional<PlanView> before_views(const std::vector<Node*>& views, PlanView place) {
  for (size_t i = views.size(); i-- > 0;) {
    Node& node = *views[i];
    PlanView source{place.slot, node.operand(0)->shape(), {}, place.offset};
    if (node.is("permute")) {
      const std::vector<int64_t>& order = node.get_ints("order");
      source.strides.resize(order.size());
      for (size_t d = 0; d < order.size(); ++d) {
        source.strides[static_cast<size_t>(order[d])] = place.strides[d];
      }
    } else if (!reshape_view(place, node.operand(0)->shape(), &source)) {
      return std::nullopt;
    }
    place = std::move(source);
  }
  return place;
}

}  // namespace

bool same_place(const PlanView& a, const PlanView& b) {
  if (a.slot != b.slot || a.dims != b.dims || !(a.offset == b.offset)) return false;
  for (size_t i = 0; i < a.dims.size(); ++i) {
    if (!a.dims[i].is_value(1) && !(a.strides[i] == b.strides[i])) return false;
  }
  return true;
}

bool repeats(const PlanView& view) {
  for (size_t i = 0; i < view.dims.size(); ++i) {
    if (view.strides[i].is_value(0) && !view.dims[i].is_value(1)) return true;
  }
  return false;
}

PlanView concat_part(Node& concat, const PlanView& whole, int index) {
  const auto axis = static_cast<size_t>(concat.get_int("axis"));
  PlanView part = whole;
  for (int i = 0; i < index; ++i) {
    part.offset += concat.operand(i)->shape()[axis] * whole.strides[axis];
  }
  part.dims[axis] = concat.operand(index)->shape()[axis];
  return part;
}

std::optional<PlanView> view_through(Node& node, const PlanView& source) {
  if (!is_view_node(node)) return std::nullopt;
  const Shape& dims = node.result()->shape();
  PlanView result{source.slot, dims, {}, source.offset};
  if (node.is("reshape")) {
    if (!reshape_view(source, dims, &result)) return std::nullopt;
  } else if (node.is("permute")) {
    for (int64_t dim : node.get_ints("order")) {
      result.strides.push_back(source.strides[static_cast<size_t>(dim)]);
    }
  } else if (node.is("expand")) {
    const size_t added = dims.size() - source.dims.size();
    for (size_t i = 0; i < dims.size(); ++i) {
      const bool broadcast = i < added || !(source.dims[i - added] == dims[i]);
      result.strides.push_back(broadcast ? DimExpr(0) : source.strides[i - added]);
    }
  } else {
    const auto axis = static_cast<size_t>(node.get_int("axis"));
    result.strides = source.strides;
    result.offset += node.get_dim("start") * source.strides[axis];
    result.strides[axis] *= node.get_dim("step");
  }
  return result;
}

BufferReuse::BufferReuse(Module& module, const Plan& plan, Places& places,
                         const std::map<Value*, int>& output_roots)
    : module_(module), plan_(plan), places_(places), output_roots_(output_roots) {
  std::set<Value*> wanted;
  for (size_t i = 0; i < module.outputs.size(); ++i) {
    if (module.outputs[i].is_computed()) wanted.insert(module.main.outputs()[i]);
  }
  const std::vector<Node*> nodes = module.main.snapshot();
  for (size_t i = nodes.size(); i-- > 0;) {
    Node* node = nodes[i];
    bool needed = has_effect(*node);
    for (int r = 0; r < node->num_results(); ++r) {
      needed = needed || wanted.contains(node->result(r));
    }
    if (!needed) continue;
    position_[node] = static_cast<int>(i);
    wanted.insert(node->operands().begin(), node->operands().end());
  }
  for (size_t i = 0; i < module.outputs.size(); ++i) {
    const OutputSpec& spec = module.outputs[i];
    if (spec.kind != OutputSpec::Kind::kWriteInput) continue;
    written_inputs_.insert(spec.target);
    Value* value = module.main.outputs()[i];
    std::vector<Node*> views;
    while (value->producer() != nullptr &&
           (value->producer()->is("reshape") || value->producer()->is("permute"))) {
      views.insert(views.begin(), value->producer());
      value = value->producer()->operand(0);
    }
    if (value->producer() != nullptr && value->type.is_tensor()) {
      written_into_.emplace(value, std::pair(spec.target, std::move(views)));
    }
  }
}

std::optional<PlanView> BufferReuse::peek(Value* value) {
  if (value == nullptr) return std::nullopt;
  if (auto found = places_.find(value); found != places_.end()) return found->second;
  Node* node = value->producer();
  if (node == nullptr || !is_view_node(*node)) return std::nullopt;
  const auto source = peek(node->operand(0));
  return source ? view_through(*node, *source) : std::nullopt;
}

bool BufferReuse::is_reusable(int slot, bool inputs) {
  const Slot& s = plan_.slots[static_cast<size_t>(slot)];
  return s.kind == SlotKind::kTemp ||
         (inputs && s.kind == SlotKind::kInput && written_inputs_.contains(s.index));
}

bool BufferReuse::takes_order(Value* value, const PlanView& place) {
  Node* producer = value->producer();
  if (repeats(place)) return false;
  return producer->is("concat") || producer->op->has(kUpdate) ||
         is_dense(place, value->tensor().layout.order);
}

std::vector<BufferReuse::Link> BufferReuse::links_from(Value* value) {
  std::vector<Link> links;
  Link link;
  while (value->uses().size() == 1 && !module_.main.is_output(value)) {
    const Use use = value->uses()[0];
    Value* result = use.node->result();
    const std::vector<int>& order = value->tensor().layout.order;
    if (use.node->is("concat")) {
      if (!same_order(result->tensor().layout.order, order)) break;
      link.concat = use.node;
      link.operand = use.operand;
      links.push_back(std::move(link));
      link = {};
      if (places_.contains(result)) break;
    } else if (use.node->is("reshape") || use.node->is("permute")) {
      link.views.push_back(use.node);
    } else {
      break;
    }
    value = result;
  }
  return links;
}

std::optional<PlanView> BufferReuse::place_inside(const std::vector<Link>& links,
                                                  const PlanView& outermost,
                                                  std::vector<PlanView>* all) {
  PlanView place = outermost;
  all->assign(links.size(), {});
  for (size_t i = links.size(); i-- > 0;) {
    (*all)[i] = place;
    auto inner =
        before_views(links[i].views, concat_part(*links[i].concat, place, links[i].operand));
    if (!inner) return std::nullopt;
    place = std::move(*inner);
  }
  return place;
}

bool BufferReuse::read_after(Value* value, int at, const std::set<std::pair<Node*, int>>& ignored) {
  for (size_t i = 0; i < module_.outputs.size(); ++i) {
    if (module_.outputs[i].is_computed() && module_.main.outputs()[i] == value) return true;
  }
  for (const Use& use : value->uses()) {
    // A view that moves no elements reads when its result is read.
    if (is_view_node(*use.node)) {
      const auto source = peek(value);
      if (source && view_through(*use.node, *source)) {
        if (read_after(use.node->result(), at, ignored)) return true;
        continue;
      }
    }
    auto found = position_.find(use.node);
    if (found == position_.end()) continue;
    if (found->second > at && !ignored.contains({use.node, use.operand})) return true;
  }
  return false;
}

bool BufferReuse::may_write(Value* value, const std::vector<Link>& links, const PlanView& place,
                            Node* writer) {
  std::vector<PlanView> places;
  const auto inner = place_inside(links, place, &places);
  if (!inner) return false;
  if (plan_.slots[static_cast<size_t>(place.slot)].dtype != value->dtype()) return false;
  // Parts of the concats that are where they belong are neither read nor written.
  std::set<std::pair<Node*, int>> ignored;
  auto ignore_parts = [&](Node& concat, const PlanView& whole) {
    for (int i = 0; i < concat.num_operands(); ++i) {
      const auto part = peek(concat.operand(i));
      if (part && same_place(*part, concat_part(concat, whole, i))) ignored.insert({&concat, i});
    }
  };
  for (size_t i = 0; i < links.size(); ++i) ignore_parts(*links[i].concat, places[i]);
  if (writer->is("concat")) ignore_parts(*writer, *inner);

  for (int i = 0; i < writer->num_operands(); ++i) {
    const auto operand = peek(writer->operand(i));
    if (!operand || operand->slot != place.slot || ignored.contains({writer, i})) continue;
    const bool in_place = is_elementwise(*writer) || (writer->op->has(kUpdate) && i == 0);
    if (!in_place || !same_place(*operand, *inner)) return false;
  }
  const int at = position_.at(writer);
  for (const auto& [other, view] : places_) {
    if (view.slot == place.slot && read_after(other, at, ignored)) return false;
  }
  return true;
}

std::vector<Value*> BufferReuse::candidates(Value* value, Node* writer) {
  std::vector<Value*> list;
  Node* producer = value->producer();
  if (producer->is("concat")) {
    const int64_t axis = producer->get_int("axis");
    for (Value* part : producer->operands()) {
      Node* slice = part->producer();
      if (slice != nullptr && slice->is("slice") && slice->get_int("axis") == axis &&
          slice->operand(0)->shape() == value->shape()) {
        list.push_back(slice->operand(0));
      }
    }
  } else if (producer == writer && producer->op->has(kUpdate)) {
    list.push_back(producer->operand(0));
  } else if (producer == writer && is_elementwise(*producer)) {
    for (Value* operand : producer->operands()) {
      if (operand != nullptr && operand->type.is_tensor() && operand->shape() == value->shape()) {
        list.push_back(operand);
      }
    }
  }
  return list;
}

std::optional<PlanView> BufferReuse::place_over(Value* value, const std::vector<Link>& links,
                                                Node* writer) {
  // What an operator leaves in an input when a later one fails is what it writes there, so only
  // updates go into inputs before the end.
  const bool inputs = value->producer()->is("concat") || value->producer()->op->has(kUpdate);
  for (Value* old : candidates(value, writer)) {
    const auto place = peek(old);
    if (!place || !is_reusable(place->slot, inputs) || !takes_order(value, *place)) continue;
    if (may_write(value, links, *place, writer)) return place;
  }
  return std::nullopt;
}

std::optional<PlanView> BufferReuse::place_in_input(Value* value, const std::vector<Link>& links,
                                                    Node* writer) {
  auto found = written_into_.find(value);
  if (found == written_into_.end()) return std::nullopt;
  const auto& [target, views] = found->second;
  auto place = peek(module_.main.inputs()[static_cast<size_t>(target)]);
  if (place) place = before_views(views, *place);
  if (!place || !takes_order(value, *place) || !may_write(value, links, *place, writer)) return {};
  return place;
}

std::optional<PlanView> BufferReuse::find(Value* value,
                                          const std::function<PlanView(Value*)>& fresh) {
  Node* writer = value->producer();
  std::vector<Link> links = links_from(value);
  while (true) {
    Value* outermost = links.empty() ? value : links.back().concat->result();
    std::optional<PlanView> place;
    if (auto known = places_.find(outermost); known != places_.end()) place = known->second;
    if (!place) place = place_in_input(outermost, links, writer);
    if (!place && !output_roots_.contains(outermost)) place = place_over(outermost, links, writer);
    if (links.empty()) return place;
    // Is the memory order inside another one than that of the layouts?
    const bool permuted = permuted_.contains(outermost) ||
                          (place && !places_.contains(outermost) &&
                           !is_dense(*place, outermost->tensor().layout.order)) ||
                          std::any_of(links.begin(), links.end(), [](const Link& link) {
                            return std::any_of(link.views.begin(), link.views.end(),
                                               [](Node* view) { return view->is("permute"); });
                          });
    if (permuted && !writer->is("concat") && !writer->op->has(kUpdate)) {
      links.clear();
      continue;
    }
    // A concat that replaces a part of an older value may still do so in place when its turn comes.
    const bool later = !place && std::any_of(links.begin(), links.end(), [&](const Link& link) {
      const std::vector<Value*> older = candidates(link.concat->result(), writer);
      return std::any_of(older.begin(), older.end(), [&](Value* old) {
        const auto old_place = peek(old);
        return old_place && is_reusable(old_place->slot, true);
      });
    });
    if (!place && !later) place = fresh(outermost);
    std::vector<PlanView> all;
    if (const auto inner = place ? place_inside(links, *place, &all) : std::nullopt) {
      for (size_t i = 0; i < links.size(); ++i) {
        places_.emplace(links[i].concat->result(), all[i]);
        if (permuted) permuted_.insert(links[i].concat->result());
      }
      return inner;
    }
    // Not inside the concats: alone.
    links.clear();
  }
}

}  // namespace kiln

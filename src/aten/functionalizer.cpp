#include "aten/functionalizer.h"

#include <algorithm>

#include "aten/host_views.h"
#include "base/check.h"
#include "ir/op_def.h"

namespace kiln {
namespace {

const OpDef& op(std::string_view name) { return OpRegistry::global().get(name); }

const Attr& field(const OpDef& def, const std::vector<Attr>& attrs, std::string_view name) {
  const int index = def.field_index(name);
  KILN_CHECK_GE(index, 0);
  return attrs[static_cast<size_t>(index)];
}

// A view that stays in PyTorch and can be written through.
bool is_host_view(Node* node) {
  return node->is("aten.call") && node->num_operands() == 1 && node->num_results() == 1 &&
         inverse_of_host_view(std::get<Call>(node->attr("call")));
}

}  // namespace

int Functionalizer::add(Value* value) {
  storages_.push_back({value, 0, false});
  tensors_.push_back({static_cast<int>(storages_.size()) - 1, {}, value, 0, {}});
  return static_cast<int>(tensors_.size()) - 1;
}

int Functionalizer::add_alias(int tensor) {
  tensors_.push_back(Tensor(tensors_[static_cast<size_t>(tensor)]));
  return static_cast<int>(tensors_.size()) - 1;
}

void Functionalizer::rebind(int tensor, int other) {
  tensors_[static_cast<size_t>(tensor)] = Tensor(tensors_[static_cast<size_t>(other)]);
}

bool Functionalizer::steps_between(Value* source, Value* value, std::vector<ViewStep>& steps) {
  for (Value* at = value; at != source;) {
    Node* node = at->producer();
    if (node == nullptr) return false;
    const bool view = node->op->has(kView) && node->num_operands() == 1;
    if (!view && !node->is("index") && !is_host_view(node)) return false;
    std::vector<Value*> indices(node->operands().begin() + 1, node->operands().end());
    steps.push_back(
        {node->op, node->attrs(), std::move(indices), node->operand(0)->type, at->type});
    at = node->operand(0);
  }
  std::reverse(steps.begin(), steps.end());
  return true;
}

bool Functionalizer::is_followable(int source, Value* value) {
  std::vector<ViewStep> steps;
  return steps_between(read(source), value, steps);
}

int Functionalizer::add_view(int source, Value* value) {
  std::vector<ViewStep> steps;
  if (!steps_between(read(source), value, steps)) {
    const int tensor = add(value);
    storages_.back().shared_unseen = true;
    storages_[static_cast<size_t>(storage(source))].shared_unseen = true;
    return tensor;
  }
  Tensor tensor = tensors_[static_cast<size_t>(source)];
  tensor.chain.insert(tensor.chain.end(), steps.begin(), steps.end());
  tensor.value = value;
  tensor.version = storages_[static_cast<size_t>(tensor.storage)].version;
  tensors_.push_back(std::move(tensor));
  return static_cast<int>(tensors_.size()) - 1;
}

bool Functionalizer::view_of_storage(int index, ViewChain* chain) const {
  for (const ViewStep& step : tensors_[static_cast<size_t>(index)].chain) {
    ViewOp view;
    if (!view_op_from_name(step.op->name, &view.kind)) return false;
    const auto attr = [&](std::string_view name) -> const Attr& {
      return field(*step.op, step.attrs, name);
    };
    switch (view.kind) {
      case ViewOp::Kind::kReshape:
      case ViewOp::Kind::kExpand: view.args = std::get<std::vector<DimExpr>>(attr("shape")); break;
      case ViewOp::Kind::kPermute:
        for (int64_t dim : std::get<std::vector<int64_t>>(attr("order"))) {
          view.args.emplace_back(dim);
        }
        break;
      case ViewOp::Kind::kSlice:
        view.args = {std::get<int64_t>(attr("axis")), std::get<DimExpr>(attr("start")),
                     std::get<DimExpr>(attr("end")), std::get<DimExpr>(attr("step"))};
        break;
    }
    chain->push_back(std::move(view));
  }
  return true;
}

Value* Functionalizer::apply(const std::vector<ViewStep>& chain, size_t count, Value* base,
                             const Origin& origin) {
  Value* value = base;
  for (size_t i = 0; i < count; ++i) {
    std::vector<Value*> operands{value};
    operands.insert(operands.end(), chain[i].indices.begin(), chain[i].indices.end());
    Node* node = module_.main.create_unchecked(*chain[i].op, std::move(operands), chain[i].attrs,
                                               {chain[i].result}, nullptr, origin);
    value = node->result();
  }
  return value;
}

bool Functionalizer::is_result_of(const Tensor& tensor, int decision) {
  return std::find(tensor.decisions.begin(), tensor.decisions.end(), decision) !=
         tensor.decisions.end();
}

void Functionalizer::decided_by_strides(int source, int result) {
  tensors_[static_cast<size_t>(result)].decisions.push_back(static_cast<int>(decisions_.size()));
  decisions_.push_back({storage(source), false, false, false});
}

std::vector<int> Functionalizer::storages_that_decide(const std::vector<int>& seen_outside) const {
  std::vector<int> storages;
  for (const Decision& decision : decisions_) {
    const bool seen =
        std::find(seen_outside.begin(), seen_outside.end(), decision.source) != seen_outside.end();
    if (decision.matters || (seen && decision.result_written)) storages.push_back(decision.source);
  }
  return storages;
}

bool Functionalizer::are_apart(int a, int b) const {
  const Tensor& first = tensors_[static_cast<size_t>(a)];
  const Tensor& second = tensors_[static_cast<size_t>(b)];
  if (first.storage != second.storage) {
    return !storages_[static_cast<size_t>(first.storage)].shared_unseen ||
           !storages_[static_cast<size_t>(second.storage)].shared_unseen;
  }
  // Two parts of one axis of the same view.
  for (size_t i = 0; i < std::min(first.chain.size(), second.chain.size()); ++i) {
    const ViewStep &one = first.chain[i], &other = second.chain[i];
    if (one.op != other.op) return false;
    if (std::equal(one.attrs.begin(), one.attrs.end(), other.attrs.begin(), other.attrs.end(),
                   attrs_equal) &&
        one.indices == other.indices) {
      continue;
    }
    if (one.op->name != "slice" ||
        !attrs_equal(field(*one.op, one.attrs, "axis"), field(*other.op, other.attrs, "axis"))) {
      return false;
    }
    const auto bound = [](const ViewStep& step, std::string_view name) {
      return std::get<DimExpr>(field(*step.op, step.attrs, name));
    };
    const auto before = [&](const ViewStep& left, const ViewStep& right) {
      return (bound(right, "start") - bound(left, "end")).range(module_.symbols).min >= 0;
    };
    return before(one, other) || before(other, one);
  }
  return false;
}

Value* Functionalizer::read(int index) {
  Tensor& tensor = tensors_[static_cast<size_t>(index)];
  for (size_t i = 0; i < decisions_.size(); ++i) {
    Decision& decision = decisions_[i];
    const bool result = is_result_of(tensor, static_cast<int>(i));
    if (result ? decision.source_written
               : decision.result_written && tensor.storage == decision.source) {
      decision.matters = true;
    }
  }
  const Storage& storage = storages_[static_cast<size_t>(tensor.storage)];
  if (tensor.version != storage.version) {
    tensor.value = apply(tensor.chain, tensor.chain.size(), storage.base, tensor.value->origin);
    tensor.version = storage.version;
  }
  return tensor.value;
}

Result<Value*> Functionalizer::invert(const ViewStep& step, Value* source, Value* part,
                                      const Origin& origin) {
  Graph& graph = module_.main;
  const std::string& name = step.op->name;
  if (name == "reshape") {
    KILN_ASSIGN_OR_RETURN(
        Node * node,
        graph.create(*step.op, {part}, {{"shape", step.source.tensor().shape}}, nullptr, origin));
    return node->result();
  }
  if (name == "permute") {
    const auto& order = std::get<std::vector<int64_t>>(field(*step.op, step.attrs, "order"));
    std::vector<int64_t> inverse(order.size());
    for (size_t i = 0; i < order.size(); ++i) {
      inverse[static_cast<size_t>(order[i])] = static_cast<int64_t>(i);
    }
    KILN_ASSIGN_OR_RETURN(Node * node,
                          graph.create(*step.op, {part}, {{"order", inverse}}, nullptr, origin));
    return node->result();
  }
  if (name == "slice") {
    const int64_t axis = std::get<int64_t>(field(*step.op, step.attrs, "axis"));
    const DimExpr start = std::get<DimExpr>(field(*step.op, step.attrs, "start"));
    const DimExpr stride = std::get<DimExpr>(field(*step.op, step.attrs, "step"));
    if (!stride.is_value(1)) {
      KILN_ASSIGN_OR_RETURN(Node * places,
                            graph.create(op("iota"), {},
                                         {{"length", part->shape()[static_cast<size_t>(axis)]},
                                          {"dtype", DType::kI64},
                                          {"start", start},
                                          {"step", stride}},
                                         nullptr, origin));
      KILN_ASSIGN_OR_RETURN(Node * node,
                            graph.create(op("index_put"), {source, part, places->result()},
                                         {{"axes", std::vector<int64_t>{axis}}}, nullptr, origin));
      return node->result();
    }
    const DimExpr extent = source->shape()[static_cast<size_t>(axis)];
    const DimExpr end = start + part->shape()[static_cast<size_t>(axis)];
    std::vector<Value*> pieces;
    auto piece = [&](const DimExpr& from, const DimExpr& to) -> Status {
      if (from == to) return {};
      KILN_ASSIGN_OR_RETURN(
          Node * node,
          graph.create(*step.op, {source},
                       {{"axis", axis}, {"start", from}, {"end", to}, {"step", DimExpr(1)}},
                       nullptr, origin));
      pieces.push_back(node->result());
      return {};
    };
    KILN_RETURN_IF_ERROR(piece(0, start));
    pieces.push_back(part);
    KILN_RETURN_IF_ERROR(piece(end, extent));
    if (pieces.size() == 1) return part;
    KILN_ASSIGN_OR_RETURN(Node * node,
                          graph.create(op("concat"), pieces, {{"axis", axis}}, nullptr, origin));
    return node->result();
  }
  if (name == "index") {
    std::vector<Value*> operands{source, part};
    operands.insert(operands.end(), step.indices.begin(), step.indices.end());
    KILN_ASSIGN_OR_RETURN(Node * node, graph.create(op("index_put"), std::move(operands),
                                                    {{"axes", field(*step.op, step.attrs, "axes")}},
                                                    nullptr, origin));
    return node->result();
  }
  if (name == "aten.call") {
    auto inverse = inverse_of_host_view(std::get<Call>(field(*step.op, step.attrs, "call")));
    KILN_CHECK(inverse.has_value());
    std::vector<Value*> operands{part};
    if (inverse->takes_whole) operands.push_back(source);
    std::vector<Attr> attrs = step.attrs;
    attrs[static_cast<size_t>(step.op->field_index("call"))] = std::move(inverse->call);
    return graph
        .create_unchecked(*step.op, std::move(operands), std::move(attrs), {step.source}, nullptr,
                          origin)
        ->result();
  }
  return Status::error("K1304", "in-place write through a view that repeats elements: " + name);
}

Status Functionalizer::check_writable(int index) {
  const Tensor& tensor = tensors_[static_cast<size_t>(index)];
  if (!storages_[static_cast<size_t>(tensor.storage)].shared_unseen) return {};
  return Status::error("K1304",
                       "in-place write to memory that is shared in a way kiln cannot "
                       "follow");
}

Status Functionalizer::write(int index, Value* value, const Origin& origin) {
  KILN_RETURN_IF_ERROR(check_writable(index));
  Tensor& tensor = tensors_[static_cast<size_t>(index)];
  Storage& storage = storages_[static_cast<size_t>(tensor.storage)];
  Value* part = value;
  for (size_t i = tensor.chain.size(); i-- > 0;) {
    Value* source = apply(tensor.chain, i, storage.base, origin);
    KILN_ASSIGN_OR_RETURN(part, invert(tensor.chain[i], source, part, origin));
  }
  for (size_t i = 0; i < decisions_.size(); ++i) {
    if (is_result_of(tensor, static_cast<int>(i))) {
      decisions_[i].result_written = true;
    } else if (tensor.storage == decisions_[i].source) {
      decisions_[i].source_written = true;
    }
  }
  storage.base = part;
  ++storage.version;
  tensor.value = value;
  tensor.version = storage.version;
  return {};
}

}  // namespace kiln

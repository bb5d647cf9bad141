// From nodes to a plan: gives values their place in memory and collects steps.
//
// A value is a strided view of a slot. View ops (reshape, permute, slice, expand) move no data
// where strides can express them. Constants of the main graph are requested from the init graph
// plain or packed, and only what was requested is computed at load.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "core/strides.h"
#include "ir/module.h"
#include "runtime/plan.h"

namespace kiln {

bool is_contiguous(const PlanView& view);
// The view with other dims over the same elements in the same logical order; false where strides
// cannot say it.
bool reshape_view(const PlanView& view, const Shape& dims, PlanView* out);

class EngineLowering {
 public:
  EngineLowering(Module& module, std::string target);
  ~EngineLowering();

  // Where the value lives; every operand of a node being lowered has a place. For a constant this
  // requests it plain.
  PlanView view(Value* value);
  // A constant in this memory order, which the init plan gives it.
  PlanView constant(Value* value, const std::vector<int>& order);
  // Makes room for a result of the node being lowered, in the value's layout; goes straight into
  // the output's memory, or over what nobody reads any more, where possible (BufferReuse).
  PlanView allocate(Value* value);
  // allocate() for a result that starts as the contents of operand 0 (trait kUpdate): copied there
  // by a step unless it is the operand's own memory.
  PlanView allocate_update(Node& node);
  PlanView allocate_temp(DType dtype, const Shape& dims, const std::vector<int>& order = {});
  // The value is `view` from now on (no step needed).
  void alias(Value* value, PlanView view);
  // A contiguous (or `order`ed) version of the view, by a copy step unless it already is.
  PlanView materialize(const PlanView& view, const std::vector<int>& order, const Origin& origin);

  // A slot of the init plan's packing step: it gets the views of `sources`, constants of main or
  // values of the init graph, as inputs, and one packed output. Equal requests share the result.
  // The returned view (no dims) names the packed constant in the main plan.
  PlanView pack(const std::vector<Value*>& sources, const std::string& kind, const Json& params,
                const Origin& origin);
  bool is_constant(Value* value);
  // The value of the init graph that the constant is.
  Value* init_value(Value* constant);
  // Where the constant lives when it is asked for plain in another memory order than its own.
  PlanView constant_in_order(Value* constant, const std::vector<int>& order);

  void emit(StepDesc step);
  // The steps that `lower` emits, taken out of the plan: for tactics that put something in front of
  // another provider's.
  Result<std::vector<StepDesc>> collect(const std::function<Status()>& lower);

  // The plan's kernel with this description, by position; equal descriptions are one kernel.
  int kernel(KernelDesc desc);
  const SymbolRanges& symbols() const;

  // View ops and aten.calls; true when the node was one and is done.
  Result<bool> lower_structural(Node& node);

  // After all nodes of main are lowered: outputs, then the init plan, lowering each node of the
  // init graph that is needed with `lower_node`.
  Result<EnginePlan> finish(const std::function<Status(Node&, EngineLowering&)>& lower_node);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kiln

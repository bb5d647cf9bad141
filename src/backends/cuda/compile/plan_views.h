// What providers need to know of views while their sizes are still expressions.
#pragma once

#include <initializer_list>
#include <optional>
#include <vector>

#include "backends/cuda/runtime/kernel_sizes.h"
#include "runtime/plan.h"

namespace kiln::cuda {

// The view with numbers; empty unless all of it is constant.
std::optional<ConcreteView> constant_view(const PlanView& view);
// Whether offsets into all of the views provably fit 32 bits (kernel_sizes.h); null: no view.
bool all_narrow(std::initializer_list<const PlanView*> views, const SymbolRanges& symbols);
// The dims from the outermost in memory to the innermost, as far as strides can be compared.
std::vector<int> memory_order(const PlanView& view);
// Whether stride `a` is at least `b`, provably; expressions compare by divisibility.
bool stride_not_less(const DimExpr& a, const DimExpr& b);

// Views of one shape with the same elements in the same correspondence and as few dims as
// possible: dims of size 1 gone, the others in the memory order of the last view, neighbours merged
// where the strides of all allow it.
void collapse(std::vector<PlanView>& views);

}  // namespace kiln::cuda

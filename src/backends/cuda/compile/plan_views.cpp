#include "backends/cuda/compile/plan_views.h"

#include <algorithm>
#include <cstdlib>
#include <numeric>

namespace kiln::cuda {
namespace {

DimExpr magnitude(const DimExpr& stride) {
  if (stride.is_constant()) return std::abs(stride.value());
  // Strides of reversed dims are negative multiples.
  const auto* terms = stride.terms();
  for (const DimExpr::Term& term : *terms) {
    if (term.coefficient > 0) return stride;
  }
  return -stride;
}

}  // namespace

std::optional<ConcreteView> constant_view(const PlanView& view) {
  ConcreteView result;
  if (!view.offset.is_constant()) return std::nullopt;
  result.offset = view.offset.value();
  for (size_t i = 0; i < view.dims.size(); ++i) {
    if (!view.dims[i].is_constant() || !view.strides[i].is_constant()) return std::nullopt;
    result.dims.push_back(view.dims[i].value());
    result.strides.push_back(view.strides[i].value());
  }
  return result;
}

bool all_narrow(std::initializer_list<const PlanView*> views, const SymbolRanges& symbols) {
  // The largest view that the symbols allow; strides may be negative.
  const auto most = [&](const DimExpr& size) {
    const DimRange range = size.range(symbols);
    if (range.max == DimRange::kNoBound || range.min < -kOffsetLimit) return kOffsetLimit;
    return std::max(range.max, -range.min);
  };
  return std::all_of(views.begin(), views.end(), [&](const PlanView* view) {
    if (view == nullptr) return true;
    ConcreteView largest;
    for (size_t i = 0; i < view->dims.size(); ++i) {
      largest.dims.push_back(most(view->dims[i]));
      largest.strides.push_back(most(view->strides[i]));
    }
    return is_narrow(largest);
  });
}

bool stride_not_less(const DimExpr& a, const DimExpr& b) {
  const DimExpr x = magnitude(a), y = magnitude(b);
  if (x.is_constant() && y.is_constant()) return x.value() >= y.value();
  DimExpr ignored;
  if (y.is_constant()) return true;  // a size times something against a number
  return !x.is_constant() && DimExpr::divide_exactly(x, y, &ignored);
}

std::vector<int> memory_order(const PlanView& view) {
  std::vector<int> order(view.dims.size());
  std::iota(order.begin(), order.end(), 0);
  // Insertion sort: the comparison is no strict order on expressions, and dims are few.
  for (size_t i = 1; i < order.size(); ++i) {
    for (size_t j = i; j > 0; --j) {
      const auto before = static_cast<size_t>(order[j - 1]), after = static_cast<size_t>(order[j]);
      if (stride_not_less(view.strides[before], view.strides[after])) break;
      std::swap(order[j - 1], order[j]);
    }
  }
  return order;
}

void collapse(std::vector<PlanView>& views) {
  const std::vector<int> order = memory_order(views.back());
  std::vector<PlanView> result = views;
  for (PlanView& view : result) {
    view.dims.clear();
    view.strides.clear();
  }
  for (const int dim : order) {
    const auto d = static_cast<size_t>(dim);
    const DimExpr& size = views[0].dims[d];
    if (size.is_value(1)) continue;
    bool merges = !result[0].dims.empty();
    for (size_t v = 0; merges && v < views.size(); ++v) {
      merges = result[v].strides.back() == size * views[v].strides[d];
    }
    for (size_t v = 0; v < views.size(); ++v) {
      if (merges) {
        result[v].dims.back() *= size;
        result[v].strides.back() = views[v].strides[d];
      } else {
        result[v].dims.push_back(size);
        result[v].strides.push_back(views[v].strides[d]);
      }
    }
  }
  views = std::move(result);
}

}  // namespace kiln::cuda

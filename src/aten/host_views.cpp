#include "aten/host_views.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace kiln {
namespace {

enum class Inverse {
  kScatter,  // the operator of that name writes a part into a copy of the whole
  kSame,     // the view is its own inverse
  kPermute,
  kReshape,  // the elements in the same order
  kUnary     // an operator of the part alone
};

struct HostView {
  std::string_view name, overload, inverse;
  Inverse kind;
};

constexpr std::array kViews = {
    HostView{"aten::slice", "Tensor", "aten::slice_scatter", Inverse::kScatter},
    HostView{"aten::select", "int", "aten::select_scatter", Inverse::kScatter},
    HostView{"aten::diagonal", "", "aten::diagonal_scatter", Inverse::kScatter},
    HostView{"aten::transpose", "int", "", Inverse::kSame},
    HostView{"aten::t", "", "", Inverse::kSame},
    HostView{"aten::permute", "", "", Inverse::kPermute},
    HostView{"aten::view", "", "", Inverse::kReshape},
    HostView{"aten::unsqueeze", "", "", Inverse::kReshape},
    HostView{"aten::squeeze", "", "", Inverse::kReshape},
    HostView{"aten::squeeze", "dim", "", Inverse::kReshape},
    HostView{"aten::squeeze", "dims", "", Inverse::kReshape},
    HostView{"aten::view_as_real", "", "aten::view_as_complex", Inverse::kUnary},
    HostView{"aten::view_as_complex", "", "aten::view_as_real", Inverse::kUnary},
};

bool has_operand(const CallArg& arg) {
  if (arg.get<CallArg::Operand>() != nullptr) return true;
  const auto* list = arg.get<CallArg::List>();
  return list != nullptr && std::any_of(list->begin(), list->end(), has_operand);
}

// The dims that undo a permutation; empty where they are not plain numbers.
CallArg::List inverse_order(const CallArg::List& order) {
  const auto rank = static_cast<int64_t>(order.size());
  CallArg::List inverse(order.size());
  for (int64_t i = 0; i < rank; ++i) {
    const auto* dim = order[static_cast<size_t>(i)].get<DimExpr>();
    if (dim == nullptr || !dim->is_constant()) return {};
    const int64_t at = dim->value() < 0 ? dim->value() + rank : dim->value();
    if (at < 0 || at >= rank) return {};
    inverse[static_cast<size_t>(at)] = CallArg(i);
  }
  return inverse;
}

}  // namespace

std::optional<HostViewInverse> inverse_of_host_view(const Call& view) {
  const auto found = std::find_if(kViews.begin(), kViews.end(), [&](const HostView& entry) {
    return entry.name == view.name && entry.overload == view.overload;
  });
  const CallArg part(CallArg::Operand{0}), whole(CallArg::Operand{1});
  if (found == kViews.end() || view.args.empty() || !has_operand(view.args[0]) ||
      std::any_of(view.args.begin() + 1, view.args.end(), has_operand)) {
    return std::nullopt;
  }
  switch (found->kind) {
    case Inverse::kScatter: {
      Call scatter{std::string(found->inverse), "", view.args};
      scatter.args[0] = whole;
      scatter.args.insert(scatter.args.begin() + 1, part);
      return HostViewInverse{std::move(scatter), true};
    }
    case Inverse::kSame: return HostViewInverse{view, false};
    case Inverse::kPermute: {
      const auto* order = view.args.size() == 2 ? view.args[1].get<CallArg::List>() : nullptr;
      if (order == nullptr) return std::nullopt;
      CallArg::List dims = inverse_order(*order);
      if (dims.size() != order->size()) return std::nullopt;
      return HostViewInverse{Call{view.name, "", {part, CallArg(std::move(dims))}}, false};
    }
    case Inverse::kReshape:
      return HostViewInverse{Call{"aten::reshape_as", "", {part, whole}}, true};
    case Inverse::kUnary:
      return HostViewInverse{Call{std::string(found->inverse), "", {part}}, false};
  }
  return std::nullopt;
}

}  // namespace kiln

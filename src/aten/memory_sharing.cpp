#include "aten/memory_sharing.h"

#include <algorithm>
#include <set>
#include <string>

namespace kiln {
namespace {

bool names_format(const CallArg::List& args) {
  return std::any_of(args.begin(), args.end(), [](const CallArg& arg) {
    const auto* format = arg.get<MemoryFormat>();
    return format != nullptr && *format != MemoryFormat::kPreserve;
  });
}

}  // namespace

// Repeatedly the dim whose stride is the product of the dims already placed, innermost first.
std::vector<int> dense_order(const Shape& dims, const Shape& strides) {
  const size_t rank = dims.size();
  std::vector<bool> placed(rank, false);
  std::vector<int> inner_first;
  DimExpr expected = 1;
  // Dims of size 1 may stand anywhere; they keep their place relative to the logical order.
  for (size_t n = 0; n < rank; ++n) {
    bool found = false;
    for (size_t i = rank; i-- > 0 && !found;) {
      if (placed[i]) continue;
      if (!dims[i].is_value(1) && !(strides[i] == expected)) continue;
      placed[i] = true;
      inner_first.push_back(static_cast<int>(i));
      expected *= dims[i];
      found = true;
    }
    if (!found) return {};
  }
  std::vector<int> order(inner_first.rbegin(), inner_first.rend());
  if (std::is_sorted(order.begin(), order.end())) return {};
  return order;
}

bool may_share(const Schema& schema) {
  static const std::set<std::string, std::less<>> kNames{"aten::reshape",
                                                         "aten::reshape_as",
                                                         "aten::flatten",
                                                         "aten::ravel",
                                                         "aten::contiguous",
                                                         "aten::to",
                                                         "aten::type_as",
                                                         "aten::dropout",
                                                         "aten::feature_dropout",
                                                         "aten::alpha_dropout",
                                                         "aten::feature_alpha_dropout",
                                                         "aten::atleast_1d",
                                                         "aten::atleast_2d",
                                                         "aten::atleast_3d",
                                                         "aten::broadcast_tensors",
                                                         "aten::meshgrid",
                                                         "aten::einsum"};
  return kNames.contains(schema.name);
}

bool reshape_is_always_view(const Shape& from, const Shape& to) {
  Shape strides;  // that have nothing to do with one another
  for (size_t i = 0; i < from.size(); ++i) {
    strides.push_back(DimExpr::symbol("stride" + std::to_string(i)));
  }
  return reshape_is_view(from, strides, to);
}

// Every run of dims that becomes one group of new dims must lie densely in memory.
bool reshape_is_view(const Shape& from, const Shape& strides, const Shape& to) {
  if (strides.empty()) return true;
  Shape old_dims, old_strides;  // without size 1, neighbours that are dense merged
  for (size_t i = 0; i < from.size(); ++i) {
    if (from[i].is_value(1)) continue;
    if (!old_dims.empty() && old_strides.back() == strides[i] * from[i]) {
      old_dims.back() *= from[i];
      old_strides.back() = strides[i];
    } else {
      old_dims.push_back(from[i]);
      old_strides.push_back(strides[i]);
    }
  }
  size_t group = 0;
  DimExpr covered = 1;
  for (const DimExpr& dim : to) {
    if (dim.is_value(1)) continue;
    if (group == old_dims.size()) return false;
    covered *= dim;
    if (covered == old_dims[group]) {
      covered = 1;
      ++group;
    }
  }
  return group == old_dims.size();
}

bool may_have_strides(const Shape& dims) {
  return std::any_of(dims.begin(), dims.end(), [](const DimExpr& dim) { return !dim.is_value(1); });
}

Sharing sharing(const Schema& schema, const CallArg::List& args, const Shape& strides_before,
                Value* before, Value* after, const Shape& strides_after) {
  const std::string& name = schema.name;
  const bool contiguous = name == "aten::contiguous" || name == "aten::ravel";
  if (contiguous || name == "aten::to") {
    // ravel() is a view of contiguous().
    const bool same = name == "aten::ravel" ? strides_before.empty()
                                            : before == after && strides_before == strides_after;
    return {same, (contiguous || names_format(args)) && may_have_strides(before->shape())};
  }
  if (name == "aten::reshape" || name == "aten::reshape_as" || name == "aten::flatten") {
    return {reshape_is_view(before->shape(), strides_before, after->shape()),
            !reshape_is_always_view(before->shape(), after->shape())};
  }
  return {};
}

}  // namespace kiln

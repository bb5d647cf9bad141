#include "core/view_chain.h"

#include <algorithm>

namespace kiln {
namespace {

constexpr std::string_view kNames[] = {"reshape", "permute", "slice", "expand"};

Status misfit(std::string_view what) {
  return Status::error("K4103", "view does not fit what it views: " + std::string(what));
}

// After torch's computeStride: chunks of old dims that lie densely are matched with new dims.
bool reshape_strides(const StridedWindow& from, const std::vector<int64_t>& dims,
                     std::vector<int64_t>* strides) {
  strides->assign(dims.size(), 1);
  if (std::find(dims.begin(), dims.end(), 0) != dims.end()) {
    if (from.dims == dims) *strides = from.strides;
    int64_t stride = 1;
    for (size_t i = dims.size(); from.dims != dims && i-- > 0;) {
      (*strides)[i] = stride;
      stride *= std::max<int64_t>(dims[i], 1);
    }
    return true;
  }
  if (from.dims.empty()) return true;
  auto view = static_cast<int64_t>(dims.size()) - 1;
  int64_t chunk_stride = from.strides.back(), chunk = 1, covered = 1;
  for (auto i = static_cast<int64_t>(from.dims.size()) - 1; i >= 0; --i) {
    const auto d = static_cast<size_t>(i);
    chunk *= from.dims[d];
    const bool ends =
        i == 0 || (from.dims[d - 1] != 1 && from.strides[d - 1] != chunk * chunk_stride);
    if (!ends) continue;
    while (view >= 0 && (covered < chunk || dims[static_cast<size_t>(view)] == 1)) {
      (*strides)[static_cast<size_t>(view)] = covered * chunk_stride;
      covered *= dims[static_cast<size_t>(view)];
      --view;
    }
    if (covered != chunk) return false;
    if (i > 0) {
      chunk_stride = from.strides[d - 1];
      chunk = covered = 1;
    }
  }
  return view == -1;
}

template <typename T>
bool is_permutation(const std::vector<T>& order, size_t rank) {
  if (order.size() != rank) return false;
  std::vector<bool> seen(rank, false);
  for (const T& entry : order) {
    int64_t dim = 0;
    if constexpr (std::is_same_v<T, DimExpr>) {
      if (!entry.is_constant()) return false;
      dim = entry.value();
    } else {
      dim = entry;
    }
    if (dim < 0 || dim >= static_cast<int64_t>(rank) || seen[static_cast<size_t>(dim)]) {
      return false;
    }
    seen[static_cast<size_t>(dim)] = true;
  }
  return true;
}

}  // namespace

std::string_view view_op_name(ViewOp::Kind kind) { return kNames[static_cast<size_t>(kind)]; }

bool view_op_from_name(std::string_view name, ViewOp::Kind* kind) {
  for (size_t i = 0; i < std::size(kNames); ++i) {
    if (kNames[i] != name) continue;
    *kind = static_cast<ViewOp::Kind>(i);
    return true;
  }
  return false;
}

std::string view_chain_to_text(const ViewChain& chain) {
  std::string text = "[";
  for (const ViewOp& op : chain) {
    if (text.size() > 1) text += ", ";
    text += std::string(view_op_name(op.kind)) + "(";
    for (size_t i = 0; i < op.args.size(); ++i) text += (i ? ", " : "") + dim_to_text(op.args[i]);
    text += ")";
  }
  return text + "]";
}

bool parse_view_chain(TextCursor& cursor, ViewChain* chain) {
  if (!cursor.accept("[")) return false;
  while (!cursor.accept("]")) {
    if (!chain->empty() && !cursor.accept(",")) return false;
    std::string name;
    ViewOp op;
    if (!cursor.identifier(&name) || !view_op_from_name(name, &op.kind) || !cursor.accept("(")) {
      return false;
    }
    while (!cursor.accept(")")) {
      if (!op.args.empty() && !cursor.accept(",")) return false;
      cursor.accept("?");
      auto dim = DimExpr::parse(cursor.until(",)"));
      if (!dim.ok()) return false;
      op.args.push_back(std::move(dim).value());
    }
    chain->push_back(std::move(op));
  }
  return true;
}

Result<Shape> view_dims(const ViewChain& chain, Shape dims) {
  for (const ViewOp& op : chain) {
    const std::vector<DimExpr>& args = op.args;
    switch (op.kind) {
      case ViewOp::Kind::kReshape: {
        const DimExpr before = num_elements(dims), after = num_elements(args);
        if (before.is_constant() && after.is_constant() && !(before == after)) {
          return misfit("reshape");
        }
        dims = args;
        break;
      }
      case ViewOp::Kind::kPermute: {
        if (!is_permutation(args, dims.size())) return misfit("permute");
        Shape permuted;
        for (const DimExpr& dim : args) permuted.push_back(dims[static_cast<size_t>(dim.value())]);
        dims = std::move(permuted);
        break;
      }
      case ViewOp::Kind::kSlice: {
        if (args.size() != 4 || !args[0].is_constant() || args[0].value() < 0 ||
            args[0].value() >= static_cast<int64_t>(dims.size()) || args[3].is_value(0)) {
          return misfit("slice");
        }
        dims[static_cast<size_t>(args[0].value())] =
            DimExpr::floordiv(args[2] - args[1] + args[3] - 1, args[3]);
        break;
      }
      case ViewOp::Kind::kExpand: {
        if (args.size() < dims.size()) return misfit("expand");
        const size_t added = args.size() - dims.size();
        for (size_t i = 0; i < dims.size(); ++i) {
          const DimExpr &from = dims[i], &to = args[added + i];
          if (from.is_constant() && to.is_constant() && !(from == to) && !from.is_value(1)) {
            return misfit("expand");
          }
        }
        dims = args;
        break;
      }
    }
  }
  return dims;
}

Result<std::vector<ConcreteViewOp>> evaluate(const ViewChain& chain, const SymbolValues& symbols) {
  std::vector<ConcreteViewOp> ops;
  for (const ViewOp& op : chain) {
    KILN_ASSIGN_OR_RETURN(std::vector<int64_t> args, evaluate(op.args, symbols));
    ops.push_back({op.kind, std::move(args)});
  }
  return ops;
}

Status apply_views(const std::vector<ConcreteViewOp>& ops, StridedWindow* window) {
  for (const ConcreteViewOp& op : ops) {
    const std::vector<int64_t>& args = op.args;
    StridedWindow next{{}, {}, window->offset};
    switch (op.kind) {
      case ViewOp::Kind::kReshape: {
        int64_t before = 1, after = 1;
        bool fits = true;
        for (int64_t dim : window->dims) {
          fits = fits && !__builtin_mul_overflow(before, dim, &before);
        }
        for (int64_t dim : args) {
          fits = fits && dim >= 0 && !__builtin_mul_overflow(after, dim, &after);
        }
        if (!fits || before != after) return misfit("reshape");
        next.dims = args;
        if (!reshape_strides(*window, args, &next.strides)) {
          return Status::error("K4115", "view does not fit the strides of what it views",
                               "make the input contiguous");
        }
        break;
      }
      case ViewOp::Kind::kPermute:
        if (!is_permutation(args, window->dims.size())) return misfit("permute");
        for (int64_t dim : args) {
          next.dims.push_back(window->dims[static_cast<size_t>(dim)]);
          next.strides.push_back(window->strides[static_cast<size_t>(dim)]);
        }
        break;
      case ViewOp::Kind::kSlice: {
        if (args.size() != 4 || args[0] < 0 ||
            args[0] >= static_cast<int64_t>(window->dims.size())) {
          return misfit("slice");
        }
        const auto axis = static_cast<size_t>(args[0]);
        const int64_t start = args[1], end = args[2], step = args[3];
        if (start < 0 || end < start || end > window->dims[axis] || step < 1) {
          return misfit("slice");
        }
        next = *window;
        // The element at `start` may not exist when none is taken.
        next.dims[axis] = (end - start) / step + ((end - start) % step != 0 ? 1 : 0);
        if (next.dims[axis] > 0) next.offset += start * window->strides[axis];
        if (next.dims[axis] > 1) next.strides[axis] *= step;
        break;
      }
      case ViewOp::Kind::kExpand: {
        if (args.size() < window->dims.size()) return misfit("expand");
        const size_t added = args.size() - window->dims.size();
        next.dims = args;
        for (size_t i = 0; i < args.size(); ++i) {
          const bool same = i >= added && window->dims[i - added] == args[i];
          if (args[i] < 0 || (i >= added && !same && window->dims[i - added] != 1)) {
            return misfit("expand");
          }
          next.strides.push_back(same ? window->strides[i - added] : 0);
        }
        break;
      }
    }
    *window = std::move(next);
  }
  return {};
}

}  // namespace kiln

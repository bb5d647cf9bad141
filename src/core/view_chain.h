// A tensor as a view of another one: reshapes, permutes, slices and expands, one after the other.
//
// Said as operations and not as strides, because what they come to depends on the strides of the
// tensor that is viewed, which a caller may choose: x.t() of any matrix is its transpose.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/dim.h"
#include "core/text.h"

namespace kiln {

struct ViewOp {
  enum class Kind : uint8_t {
    kReshape,  // args: the new dims
    kPermute,  // args: for each new dim, the old one
    kSlice,    // args: axis, start, end, step; 0 <= start <= end <= size, step > 0
    kExpand    // args: the new dims, the last ones broadcast from the old ones
  } kind = Kind::kReshape;
  std::vector<DimExpr> args;
  bool operator==(const ViewOp&) const = default;
};
using ViewChain = std::vector<ViewOp>;

std::string_view view_op_name(ViewOp::Kind kind);  // "reshape", ...
bool view_op_from_name(std::string_view name, ViewOp::Kind* kind);

// "[slice(0, 1, ?s0, 1), permute(1, 0)]"
std::string view_chain_to_text(const ViewChain& chain);
bool parse_view_chain(TextCursor& cursor, ViewChain* chain);

// The dims that the chain makes of `dims`; an error (no code of its own) for what cannot be: wrong
// ranks, axes, or sizes that are known to differ.
Result<Shape> view_dims(const ViewChain& chain, Shape dims);

// A chain at concrete sizes.
struct ConcreteViewOp {
  ViewOp::Kind kind;
  std::vector<int64_t> args;
};
Result<std::vector<ConcreteViewOp>> evaluate(const ViewChain& chain, const SymbolValues& symbols);

struct StridedWindow {
  std::vector<int64_t> dims, strides;
  int64_t offset = 0;  // elements
};
// Applies the operations to a window of a buffer; what comes out lies inside what was there. K4103
// when sizes do not fit; K4115 when strides cannot express a reshape.
Status apply_views(const std::vector<ConcreteViewOp>& ops, StridedWindow* window);

}  // namespace kiln

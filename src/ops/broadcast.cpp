#include "ops/broadcast.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "ops/axes.h"
#include "ops/operand_checks.h"
#include "ops/reference_data.h"

namespace kiln {
namespace {

// Folds `shape` into `joint`; the refused axis, counted from the end, or -1.
int join(const Shape& shape, Shape* joint) {
  if (shape.size() > joint->size())
    joint->insert(joint->begin(), shape.size() - joint->size(), DimExpr(1));
  for (size_t back = 1; back <= shape.size(); ++back) {
    const DimExpr& dim = shape[shape.size() - back];
    DimExpr& target = (*joint)[joint->size() - back];
    if (dim == target || dim.is_value(1)) continue;
    if (!target.is_value(1)) return static_cast<int>(back);
    target = dim;
  }
  return -1;
}

}  // namespace

Result<Shape> broadcast_shapes(const OpContext& ctx, const std::vector<int>& operands) {
  Shape joint;
  std::string names;
  for (int i : operands) {
    if (!ctx.has(i)) continue;
    const Shape& shape = ctx.tensor(i).shape;
    const Shape before = joint;
    const int back = join(shape, &joint);
    if (back > 0)
      return refuse(ctx, "K2204",
                    "shapes of " + names + " and " + operand_name(ctx, i) +
                        " do not broadcast at axis -" + std::to_string(back) + ": " +
                        shape_to_text(before) + " vs " + shape_to_text(shape));
    names += (names.empty() ? "" : ", ") + operand_name(ctx, i);
  }
  return joint;
}

Result<Shape> broadcast_shapes(const Shape& a, const Shape& b) {
  Shape joint = a;
  const int back = join(b, &joint);
  if (back > 0)
    return Status::error("K2204", "shapes do not broadcast at axis -" + std::to_string(back) +
                                      ": " + shape_to_text(a) + " vs " + shape_to_text(b));
  return joint;
}

bool broadcasts_to(const Shape& from, const Shape& to) {
  if (from.size() > to.size()) return false;
  Shape joint = to;
  return join(from, &joint) < 0 && joint == to;
}

std::vector<int64_t> broadcast_strides(const std::vector<int64_t>& from,
                                       const std::vector<int64_t>& to) {
  KILN_CHECK_LE(from.size(), to.size());
  const std::vector<int64_t> own = row_major_strides(from);
  std::vector<int64_t> strides(to.size(), 0);
  const size_t lead = to.size() - from.size();
  for (size_t i = 0; i < from.size(); ++i) {
    if (from[i] == to[lead + i]) {
      strides[lead + i] = from[i] == 1 ? 0 : own[i];
    } else {
      KILN_CHECK_EQ(from[i], 1);
    }
  }
  return strides;
}

}  // namespace kiln

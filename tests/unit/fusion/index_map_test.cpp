// Index maps and reshapes of views against indices computed one by one.
#include "fusion/index_map.h"

#include <gtest/gtest.h>

#include <numeric>
#include <random>

#include "fusion/engine_lowering.h"

namespace kiln {
namespace {

using Ints = std::vector<int64_t>;

Shape shape_of(const Ints& dims) { return Shape(dims.begin(), dims.end()); }

Ints point_of(int64_t flat, const Ints& dims) {
  Ints point(dims.size());
  for (size_t d = dims.size(); d-- > 0;) {
    point[d] = flat % dims[d];
    flat /= dims[d];
  }
  return point;
}

int64_t product(const Ints& dims) {
  return std::accumulate(dims.begin(), dims.end(), int64_t{1}, std::multiplies<>());
}

// The map of a value that is the whole domain.
IndexMap identity(const Ints& dims) {
  IndexMap map;
  for (size_t d = 0; d < dims.size(); ++d)
    map.dims.push_back(AffineIndex::along(shape_of(dims), d));
  return map;
}

Ints index_at(const IndexMap& map, const Ints& point) {
  Ints result;
  for (const AffineIndex& index : map.dims) {
    int64_t value = index.offset.value();
    for (size_t d = 0; d < point.size(); ++d) value += index.scale[d].value() * point[d];
    result.push_back(value);
  }
  return result;
}

TEST(IndexMap, DimsOfOneNeverCount) {
  EXPECT_EQ(AffineIndex::along({DimExpr(3), DimExpr(1)}, 1), AffineIndex::zero(2));
  EXPECT_EQ(index_at(identity({3, 1, 4}), {2, 0, 3}), (Ints{2, 0, 3}));
}

TEST(IndexMap, Permute) {
  const Ints dims = {2, 3, 4};
  const IndexMap map = permute_operand_map(identity({4, 2, 3}), {2, 0, 1});
  for (int64_t i = 0; i < product(dims); ++i) {
    const Ints p = point_of(i, {4, 2, 3});
    EXPECT_EQ(index_at(map, p), (Ints{p[1], p[2], p[0]}));
  }
}

TEST(IndexMap, ExpandAndBroadcast) {
  const Ints dims = {5, 2, 3, 4};
  const Shape operand = shape_of({2, 1, 4});
  for (const IndexMap& map : {expand_operand_map(identity(dims), operand, shape_of(dims)),
                              broadcast_operand_map(identity(dims), operand)}) {
    for (int64_t i = 0; i < product(dims); ++i) {
      const Ints p = point_of(i, dims);
      EXPECT_EQ(index_at(map, p), (Ints{p[1], 0, p[3]}));
    }
  }
}

TEST(IndexMap, SliceOfASlice) {
  IndexMap map = slice_operand_map(identity({2, 3}), 1, 4, 2);
  map = slice_operand_map(map, 1, 1, 3);
  for (int64_t i = 0; i < 6; ++i) {
    const Ints p = point_of(i, {2, 3});
    EXPECT_EQ(index_at(map, p), (Ints{p[0], 1 + 3 * (4 + 2 * p[1])}));
  }
}

TEST(IndexMap, ReshapeThatSplits) {
  const auto map =
      reshape_operand_map(identity({2, 3, 4, 1}), shape_of({6, 1, 4}), shape_of({2, 3, 4, 1}));
  ASSERT_TRUE(map.has_value());
  for (int64_t i = 0; i < 24; ++i) {
    const Ints p = point_of(i, {2, 3, 4, 1});
    EXPECT_EQ(index_at(*map, p), (Ints{p[0] * 3 + p[1], 0, p[2]}));
  }
}

TEST(IndexMap, ReshapeThatMergesIsNotAffine) {
  EXPECT_FALSE(reshape_operand_map(identity({6}), shape_of({2, 3}), shape_of({6})).has_value());
  EXPECT_FALSE(
      reshape_operand_map(identity({3, 2}), shape_of({2, 3}), shape_of({3, 2})).has_value());
}

TEST(IndexMap, ReshapeWithSymbols) {
  const DimExpr s = DimExpr::symbol("s");
  const Shape result = {s, 12, 64}, operand = {s, 768};
  IndexMap full;
  for (size_t d = 0; d < 3; ++d) full.dims.push_back(AffineIndex::along(result, d));
  const auto map = reshape_operand_map(full, operand, result);
  ASSERT_TRUE(map.has_value());
  EXPECT_EQ(map->dims[1].scale[1], DimExpr(64));
  EXPECT_EQ(map->dims[1].scale[2], DimExpr(1));
}

// Random views and random new shapes: where reshape_view finds strides, every element is the one
// that the reshape means.
TEST(ReshapeView, RandomViews) {
  std::mt19937 random(5);
  int found = 0, refused = 0;
  for (int round = 0; round < 20000; ++round) {
    Ints dims(1 + random() % 4);
    for (int64_t& d : dims) d = 1 + static_cast<int64_t>(random() % 4);
    PlanView view;
    view.slot = 3;
    view.offset = static_cast<int64_t>(random() % 5);
    view.dims = shape_of(dims);
    view.strides.assign(dims.size(), DimExpr(0));
    Ints order(dims.size()), strides(dims.size());
    std::iota(order.begin(), order.end(), 0);
    if (random() % 2 == 0) std::shuffle(order.begin(), order.end(), random);
    int64_t stride = 1;
    for (size_t i = dims.size(); i-- > 0;) {
      const auto d = static_cast<size_t>(order[i]);
      if (random() % 6 == 0) stride *= 2;
      strides[d] = random() % 8 == 0 ? 0 : stride;
      view.strides[d] = strides[d];
      stride *= dims[d];
    }
    // A random factorisation of the number of elements.
    Ints target;
    for (int64_t rest = product(dims); rest > 1 || target.empty();) {
      int64_t factor = 1 + static_cast<int64_t>(random() % 6);
      if (rest % factor != 0) factor = random() % 3 == 0 ? rest : 1;
      target.push_back(factor);
      rest /= factor;
      if (target.size() == 5) target.back() *= rest, rest = 1;
    }
    PlanView out;
    if (!reshape_view(view, shape_of(target), &out)) {
      ++refused;
      EXPECT_FALSE(is_contiguous(view));
      continue;
    }
    ++found;
    ASSERT_EQ(out.slot, 3);
    for (int64_t i = 0; i < product(dims); ++i) {
      int64_t from = view.offset.value(), to = out.offset.value();
      const Ints p = point_of(i, dims), q = point_of(i, target);
      for (size_t d = 0; d < p.size(); ++d) from += p[d] * strides[d];
      for (size_t d = 0; d < q.size(); ++d) to += q[d] * out.strides[d].value();
      ASSERT_EQ(from, to) << "round " << round << " element " << i;
    }
  }
  EXPECT_GT(found, 2000);
  EXPECT_GT(refused, 500);
}

TEST(ReshapeView, SplitsAndMergesOfStridedViews) {
  // Heads of a merged projection: rows of 3 * 768, of which the middle third is viewed.
  const DimExpr b = DimExpr::symbol("b"), n = DimExpr::symbol("n");
  const PlanView q{0, {b, n, 768}, {n * 2304, 2304, 1}, 768};
  PlanView out;
  ASSERT_TRUE(reshape_view(q, {b, n, 12, 64}, &out));
  EXPECT_EQ(out.strides, (std::vector<DimExpr>{n * 2304, 2304, 64, 1}));
  ASSERT_TRUE(reshape_view(q, {b * n, 768}, &out));
  EXPECT_EQ(out.strides, (std::vector<DimExpr>{2304, 1}));
  EXPECT_FALSE(reshape_view(q, {b, n * 768}, &out));
}

}  // namespace
}  // namespace kiln

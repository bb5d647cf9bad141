#include "core/strides.h"

#include <gtest/gtest.h>

namespace kiln {
namespace {

const DimExpr kB = DimExpr::symbol("b");
const DimExpr kS = DimExpr::symbol("s");

TEST(Strides, OfADenseTensorFollowItsOrder) {
  EXPECT_EQ(dense_strides({kB, kS, 8}, {}), (SymbolicStrides{kS * 8, 8, 1}));
  EXPECT_EQ(dense_strides({kB, kS, 8}, {1, 0, 2}), (SymbolicStrides{8, kB * 8, 1}));
  EXPECT_TRUE(are_contiguous({kB, 1, 8}, {8, 77, 1}));
  EXPECT_FALSE(are_contiguous({kB, kS, 8}, {8, kB * 8, 1}));
}

TEST(Strides, OfReshapesAreFoundWhereThereAreSome) {
  SymbolicStrides out;
  ASSERT_TRUE(reshape_strides({kB, kS, 8}, {kS * 8, 8, 1}, {kB * kS, 2, 4}, &out));
  EXPECT_EQ(out, (SymbolicStrides{8, 4, 1}));
  // Axes of a permuted tensor can be split but not joined.
  const Shape permuted{kS, kB, 8};
  const SymbolicStrides strides{8, kS * 8, 1};
  ASSERT_TRUE(reshape_strides(permuted, strides, {kS, 1, kB, 2, 4}, &out));
  EXPECT_EQ(out[0], DimExpr(8));
  EXPECT_EQ(out[2], kS * 8);
  EXPECT_EQ(out[3], DimExpr(4));
  EXPECT_FALSE(reshape_strides(permuted, strides, {kS, kB * 2, 4}, &out));
  EXPECT_FALSE(reshape_strides(permuted, strides, {kS * kB, 8}, &out));
  ASSERT_TRUE(reshape_strides({1, 1}, {5, 7}, {1}, &out));
  EXPECT_EQ(out, (SymbolicStrides{1}));
}

}  // namespace
}  // namespace kiln

// Resize against values from PyTorch 2.11.
#include "expect_values.h"

namespace kiln {
namespace {

const std::vector<double> kSquares{0, 1, 4, 9};

HostTensor squares(int spatial_rank) {
  std::vector<int64_t> shape(static_cast<size_t>(spatial_rank + 2), 1);
  shape.back() = 4;
  return floats(DType::kF64, shape, kSquares);
}

AttrList resize(std::string mode, Shape size, bool align_corners = false,
                std::vector<double> scales = {}) {
  return {{"mode", std::move(mode)},
          {"size", std::move(size)},
          {"align_corners", align_corners},
          {"scales", std::move(scales)}};
}

TEST(Resize, BicubicCoefficients) {
  expect_values(
      eval("resize", {squares(2)}, resize("bicubic", {1, 8})), {1, 1, 1, 8},
      {-0.10546875, 0.12109375, 0.45703125, 1.609375, 2.828125, 5.44921875, 7.97265625, 9.52734375},
      1e-12);
  expect_values(eval("resize", {squares(2)}, resize("bicubic", {1, 7}, true)), {1, 1, 1, 7},
                {0, 0.21875, 1, 2.125, 4, 6.78125, 9}, 1e-12);
}

TEST(Resize, LinearAndCorners) {
  expect_values(eval("resize", {squares(2)}, resize("bilinear", {1, 6})), {1, 1, 1, 6},
                {0, 0.5, 1.5, 3.5, 6.5, 9}, 1e-12);
  expect_values(eval("resize", {squares(2)}, resize("bilinear", {1, 7}, true)), {1, 1, 1, 7},
                {0, 0.5, 1, 2.5, 4, 6.5, 9}, 1e-12);
  expect_values(eval("resize", {squares(2)}, resize("bilinear", {1, 1}, true)), {1, 1, 1, 1}, {0});
}

TEST(Resize, UserScaleMovesPositions) {
  expect_values(
      eval("resize", {squares(1)}, resize("linear", {9}, false, {2.3})), {1, 1, 9},
      {0, 0.152173913, 0.586956522, 1.06521739, 2.36956522, 3.67391304, 5.63043478, 7.80434783, 9},
      1e-8);
  expect_values(
      eval("resize", {squares(1)}, resize("linear", {9})), {1, 1, 9},
      {0, 0.166666667, 0.611111111, 1.16666667, 2.5, 3.83333333, 5.94444444, 8.16666667, 9}, 1e-8);
}

TEST(Resize, NearestAndNearestExact) {
  expect_values(eval("resize", {squares(1)}, resize("nearest", {7})), {1, 1, 7},
                {0, 0, 1, 1, 4, 4, 9});
  expect_values(eval("resize", {squares(1)}, resize("nearest", {3})), {1, 1, 3}, {0, 1, 4});
  expect_values(eval("resize", {squares(1)}, resize("nearest_exact", {3})), {1, 1, 3}, {0, 4, 9});
  expect_values(eval("resize", {squares(1)}, resize("nearest_exact", {7})), {1, 1, 7},
                {0, 0, 1, 4, 4, 9, 9});
}

// floor(20 * 1.04) == 20: with two axes, and in linear modes, torch copies an axis whose size
// stays; nearest with one axis goes by the scale.
TEST(Resize, AxisThatKeepsItsSize) {
  auto tail = [](const HostTensor& y) {
    std::vector<double> values = doubles(y);
    return std::vector<double>(values.end() - 3, values.end());
  };
  using D = std::vector<double>;
  EXPECT_EQ(
      tail(eval("resize", {counting({1, 1, 1, 20})}, resize("nearest", {1, 20}, false, {1, 1.04}))),
      (D{18, 19, 20}));
  EXPECT_EQ(tail(eval("resize", {counting({1, 1, 20})}, resize("nearest", {20}, false, {1.04}))),
            (D{17, 18, 19}));
  EXPECT_EQ(tail(eval("resize", {counting({1, 1, 20})}, resize("linear", {20}, false, {1.04}))),
            (D{18, 19, 20}));
}

TEST(Resize, Refusals) {
  const Type image(DType::kF32, {1, 3, 8, 8});
  EXPECT_EQ(refusal("resize", {image}, resize("linear", {4, 4})), "K2205");
  EXPECT_EQ(refusal("resize", {image}, resize("area", {4, 4})), "K2205");
  EXPECT_EQ(refusal("resize", {image}, resize("nearest", {4, 4}, true)), "K2205");
  EXPECT_EQ(refusal("resize", {image}, resize("nearest", {4})), "K2205");
  EXPECT_EQ(refusal("resize", {image}, resize("nearest", {4, 0})), "K2205");
  EXPECT_EQ(refusal("resize", {Type(DType::kF32, {1, 3, 0, 8})}, resize("nearest", {4, 4})),
            "K2204");
}

}  // namespace
}  // namespace kiln

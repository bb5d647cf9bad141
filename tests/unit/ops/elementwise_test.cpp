// Values of elementwise functions where implementations go wrong: ties, signs, wrap-around, NaN.
#include <cmath>
#include <limits>

#include "eval_op.h"

namespace kiln {
namespace {

using testing::Test;
constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
using D = std::vector<double>;
using I = std::vector<int64_t>;

TEST(UnaryOps, RoundTiesToEven) {
  EXPECT_EQ(doubles(eval("round", {vector_of({0.5, 1.5, 2.5, -0.5, -1.5, 2.4999})})),
            (D{0, 2, 2, -0.0, -2, 2}));
  EXPECT_EQ(
      doubles(eval("round", {floats(DType::kF64, {2}, {1.25, -135})}, {{"decimals", int64_t{1}}})),
      (D{1.2, -135}));
  EXPECT_EQ(doubles(eval("round", {vector_of({125, 135, 149})}, {{"decimals", int64_t{-1}}})),
            (D{120, 140, 150}));
}

TEST(UnaryOps, ReluAndAbsKeepNan) {
  const HostTensor x = vector_of({kNan, -1, 2});
  for (const char* op : {"relu", "abs"}) {
    EXPECT_TRUE(std::isnan(eval(op, {x}).get_double(0))) << op;
    EXPECT_EQ(eval(op, {x}).get_double(2), 2) << op;
  }
}

TEST(UnaryOps, IntegersWrap) {
  EXPECT_EQ(integers(eval("neg", {ints(DType::kU8, {2}, {1, 0})})), (I{255, 0}));
  EXPECT_EQ(integers(eval("neg", {ints(DType::kI8, {1}, {-128})})), (I{-128}));
  EXPECT_EQ(integers(eval("abs", {ints(DType::kI8, {1}, {-128})})), (I{-128}));
  EXPECT_EQ(integers(eval("square", {ints(DType::kI8, {1}, {17})})), (I{33}));
  EXPECT_EQ(integers(eval("bitwise_not", {ints(DType::kU8, {2}, {0, 7})})), (I{255, 248}));
  EXPECT_EQ(integers(eval("bitwise_not", {ints(DType::kBool, {2}, {0, 1})})), (I{1, 0}));
}

TEST(UnaryOps, GeluForms) {
  EXPECT_NEAR(eval("gelu", {vector_of({1})}).get_double(0), 0.8413447460685429, 1e-7);
  EXPECT_NEAR(eval("gelu", {vector_of({1})}, {{"approximate", std::string("tanh")}}).get_double(0),
              0.8411919906082768, 1e-7);
  EXPECT_EQ(refusal("gelu", {Type(DType::kF32, {2})}, {{"approximate", std::string("fast")}}),
            "K2205");
}

TEST(UnaryOps, LargeArgumentsDoNotOverflow) {
  EXPECT_EQ(doubles(eval("softplus", {vector_of({100, -200})})), (D{100, 0}));
  EXPECT_EQ(doubles(eval("log_sigmoid", {vector_of({-1000, 1000})})), (D{-1000, 0}));
  EXPECT_EQ(doubles(eval("sigmoid", {vector_of({-1000, 1000})})), (D{0, 1}));
  EXPECT_EQ(doubles(eval("mish", {vector_of({1000})})), (D{1000}));
}

TEST(UnaryOps, DtypeRules) {
  EXPECT_EQ(refusal("exp", {Type(DType::kI32, {2})}), "K2203");
  EXPECT_EQ(refusal("neg", {Type(DType::kBool, {2})}), "K2203");
  EXPECT_EQ(refusal("bitwise_not", {Type(DType::kF32, {2})}), "K2203");
  EXPECT_EQ(refusal("isnan", {Type(DType::kI32, {2})}), "");
  EXPECT_EQ(eval("isnan", {vector_of({kNan, 1})}).dtype(), DType::kBool);
}

TEST(BinaryOps, FloorDivisionHasTheSignOfPython) {
  const D x = {7, -7, 7, -7}, y = {2, 2, -2, -2};
  for (DType dtype : {DType::kF32, DType::kI32}) {
    const HostTensor a = floats(dtype, {4}, x), b = floats(dtype, {4}, y);
    EXPECT_EQ(doubles(eval("floor_div", {a, b})), (D{3, -4, -4, 3}));
    EXPECT_EQ(doubles(eval("remainder", {a, b})), (D{1, 1, -1, -1}));
    EXPECT_EQ(doubles(eval("trunc_div", {a, b})), (D{3, -3, -3, 3}));
    EXPECT_EQ(doubles(eval("fmod", {a, b})), (D{1, -1, 1, -1}));
  }
  // 1 / 0.1 rounds up to 10, but 0.1 in fp64 is a little more than a tenth.
  EXPECT_EQ(
      doubles(eval("floor_div", {floats(DType::kF64, {1}, {1}), floats(DType::kF64, {1}, {0.1})})),
      (D{9}));
}

TEST(BinaryOps, IntegerDivisionByZeroIsAnError) {
  for (const char* op : {"floor_div", "trunc_div", "remainder", "fmod"}) {
    Result<HostTensor> result =
        try_eval(op, {ints(DType::kI64, {2}, {1, 2}), ints(DType::kI64, {2}, {1, 0})});
    ASSERT_FALSE(result.ok()) << op;
    EXPECT_EQ(result.status().code(), "K4201");
    // Nobody divides when there are no elements.
    EXPECT_TRUE(try_eval(op, {HostTensor(DType::kI64, {0}), ints(DType::kI64, {1}, {0})}).ok());
  }
  EXPECT_EQ(eval("floor_div", {vector_of({1}), vector_of({0})}).get_double(0), kInf);
}

TEST(BinaryOps, MostNegativeByMinusOneWraps) {
  const int64_t low = std::numeric_limits<int64_t>::min();
  const HostTensor x = ints(DType::kI64, {1}, {low}), y = ints(DType::kI64, {1}, {-1});
  EXPECT_EQ(integers(eval("floor_div", {x, y})), (I{low}));
  EXPECT_EQ(integers(eval("remainder", {x, y})), (I{0}));
  EXPECT_EQ(integers(eval("mul", {x, y})), (I{low}));
}

TEST(BinaryOps, IntegersBeyondDoublesStayExact) {
  const int64_t big = (int64_t{1} << 53) + 1;
  const HostTensor x = ints(DType::kI64, {1}, {big}), y = ints(DType::kI64, {1}, {big - 1});
  EXPECT_EQ(integers(eval("add", {x, y})), (I{2 * big - 1}));
  EXPECT_EQ(integers(eval("eq", {x, y})), (I{0}));
  EXPECT_EQ(integers(eval("maximum", {x, y})), (I{big}));
}

TEST(BinaryOps, IntegerPower) {
  EXPECT_EQ(integers(eval("pow", {ints(DType::kI32, {6}, {3, 2, 1, -1, 2, 0}),
                                  ints(DType::kI32, {6}, {4, 31, -5, -3, -1, 0})})),
            (I{81, std::numeric_limits<int32_t>::min(), 1, -1, 0, 1}));
}

TEST(BinaryOps, Shifts) {
  EXPECT_EQ(integers(eval("shift_left", {ints(DType::kI8, {4}, {1, 1, 1, -1}),
                                         ints(DType::kI8, {4}, {7, 8, -1, 1})})),
            (I{-128, 0, 0, -2}));
  EXPECT_EQ(integers(eval("shift_right", {ints(DType::kI8, {4}, {-128, -128, 127, -5}),
                                          ints(DType::kI8, {4}, {7, 100, -1, 1})})),
            (I{-1, -1, 0, -3}));
  EXPECT_EQ(integers(eval("shift_right",
                          {ints(DType::kU8, {2}, {255, 255}), ints(DType::kU8, {2}, {7, 8})})),
            (I{1, 0}));
}

TEST(BinaryOps, MaximumPropagatesNan) {
  for (const char* op : {"maximum", "minimum"}) {
    const HostTensor z = eval(op, {vector_of({kNan, 1, 3}), vector_of({1, kNan, 2})});
    EXPECT_TRUE(std::isnan(z.get_double(0)) && std::isnan(z.get_double(1))) << op;
  }
}

TEST(BinaryOps, BoolArithmetic) {
  const HostTensor x = ints(DType::kBool, {4}, {0, 0, 1, 1}),
                   y = ints(DType::kBool, {4}, {0, 1, 0, 1});
  EXPECT_EQ(integers(eval("add", {x, y})), (I{0, 1, 1, 1}));
  EXPECT_EQ(integers(eval("mul", {x, y})), (I{0, 0, 0, 1}));
  EXPECT_EQ(refusal("sub", {Type(DType::kBool, {2}), Type(DType::kBool, {2})}), "K2203");
}

TEST(BinaryOps, OperandsMustAgree) {
  EXPECT_EQ(refusal("add", {Type(DType::kF32, {2}), Type(DType::kF16, {2})}), "K2203");
  EXPECT_EQ(refusal("add", {Type(DType::kF32, {2}), Type(DType::kF32, {3})}), "K2204");
  EXPECT_EQ(refusal("div", {Type(DType::kI32, {2}), Type(DType::kI32, {2})}), "K2203");
  EXPECT_EQ(refusal("add", {Type(DType::kF32, {2})}), "K2201");
}

TEST(CastOp, RoundsTruncatesAndTests) {
  EXPECT_EQ(integers(eval("cast", {vector_of({2.9, -2.9, -0.5})}, {{"dtype", DType::kI32}})),
            (I{2, -2, 0}));
  EXPECT_EQ(integers(eval("cast", {ints(DType::kI32, {2}, {257, -1})}, {{"dtype", DType::kU8}})),
            (I{1, 255}));
  EXPECT_EQ(integers(eval("cast", {vector_of({0, -0.0, 0.1, kNan})}, {{"dtype", DType::kBool}})),
            (I{0, 0, 1, 1}));
  // 1 + 2^-8 is half way between two bf16 numbers: to even.
  EXPECT_EQ(doubles(eval("cast", {vector_of({1.00390625, 1.01171875})}, {{"dtype", DType::kBF16}})),
            (D{1, 1.015625}));
  // Through fp64 this integer would round twice and come out one unit lower.
  const int64_t twice = (int64_t{1} << 54) + (int64_t{1} << 30) + 1;
  EXPECT_EQ(doubles(eval("cast", {ints(DType::kI64, {1}, {twice})}, {{"dtype", DType::kF32}})),
            (D{static_cast<double>(static_cast<float>(twice))}));
}

TEST(ClampOp, BoundsAndNan) {
  const HostTensor y = eval("clamp", {vector_of({-5, 0.5, 5, kNan})},
                            {{"has_min", true}, {"min", -1.0}, {"has_max", true}, {"max", 1.0}});
  EXPECT_EQ(y.get_double(0), -1);
  EXPECT_EQ(y.get_double(1), 0.5);
  EXPECT_EQ(y.get_double(2), 1);
  EXPECT_TRUE(std::isnan(y.get_double(3)));
  EXPECT_EQ(refusal("clamp", {Type(DType::kF32, {2})}), "K2205");
  EXPECT_EQ(refusal("clamp", {Type(DType::kI32, {2})}, {{"has_min", true}, {"min", 0.5}}), "K2205");
}

TEST(WhereOp, TakesBitsNotValues) {
  const HostTensor z =
      eval("where", {ints(DType::kBool, {2}, {1, 0}), vector_of({-0.0, 1}), vector_of({2, kNan})});
  EXPECT_TRUE(std::signbit(z.get_double(0)));
  EXPECT_TRUE(std::isnan(z.get_double(1)));
  EXPECT_EQ(
      refusal("where", {Type(DType::kI32, {2}), Type(DType::kF32, {2}), Type(DType::kF32, {2})}),
      "K2203");
}

}  // namespace
}  // namespace kiln

// Gathering, scattering, sorting: values from PyTorch 2.11, duplicates, bounds.
#include <limits>

#include "expect_values.h"

namespace kiln {
namespace {

using Ints = std::vector<int64_t>;
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

HostTensor ids(std::vector<int64_t> shape, const Ints& values) {
  return ints(DType::kI64, std::move(shape), values);
}
HostTensor from_zero(std::vector<int64_t> shape) {
  HostTensor x(DType::kF32, std::move(shape));
  for (int64_t i = 0; i < x.num_elements(); ++i) x.set_double(i, static_cast<double>(i));
  return x;
}
std::string run_error(const std::string& op, Tensors operands, AttrList attrs) {
  Result<HostTensor> result = try_eval(op, std::move(operands), std::move(attrs));
  return result.ok() ? "" : result.status().code();
}

TEST(Index, NeighbouringAxesKeepTheirPlace) {
  expect_values(eval("index", {from_zero({2, 3, 4}), ids({2}, {2, -3}), ids({2}, {0, 1})},
                     {{"axes", Ints{1, 2}}}),
                {2, 2}, {8, 1, 20, 13});
}

TEST(Index, SeparateAxesGoToTheFront) {
  expect_values(eval("index", {from_zero({2, 3, 4}), ids({2}, {1, 0}), ids({2}, {3, -1})},
                     {{"axes", Ints{0, 2}}}),
                {2, 3}, {15, 19, 23, 3, 7, 11});
  // Not even the first axis is indexed.
  EXPECT_EQ(inferred_shape("index",
                           {Type(DType::kF32, {2, 3, 4, 5}), Type(DType::kI64, {7, 1}),
                            Type(DType::kI64, {6})},
                           {{"axes", Ints{1, 3}}}),
            "[7,6,2,4]");
}

TEST(Index, TensorsBroadcast) {
  expect_values(eval("index", {from_zero({2, 3, 4}), ids({2, 1}, {1, 0}), ids({2}, {0, 2})},
                     {{"axes", Ints{0, 1}}}),
                {2, 2, 4}, {12, 13, 14, 15, 20, 21, 22, 23, 0, 1, 2, 3, 8, 9, 10, 11});
}

TEST(Index, Refusals) {
  const Type x(DType::kF32, {2, 3, 4});
  const Type i(DType::kI64, {5});
  EXPECT_EQ(refusal("index", {x, i}, {{"axes", Ints{3}}}), "K2205");
  EXPECT_EQ(refusal("index", {x, i, i}, {{"axes", Ints{1, 0}}}), "K2205");
  EXPECT_EQ(refusal("index", {x, i}, {{"axes", Ints{0, 1}}}), "K2202");
  EXPECT_EQ(refusal("index", {x, Type(DType::kBool, {5})}, {{"axes", Ints{0}}}), "K2203");
  EXPECT_EQ(refusal("index", {x, i, Type(DType::kI64, {4})}, {{"axes", Ints{0, 1}}}), "K2204");
}

TEST(Indexing, OutOfRangeIsAnError) {
  const HostTensor x = from_zero({3, 2});
  EXPECT_EQ(run_error("index", {x, ids({1}, {3})}, {{"axes", Ints{0}}}), "K4210");
  EXPECT_EQ(run_error("index", {x, ids({1}, {-4})}, {{"axes", Ints{0}}}), "K4210");
  EXPECT_EQ(run_error("index", {x, ids({1}, {-3})}, {{"axes", Ints{0}}}), "");
  EXPECT_EQ(run_error("index_put", {x, from_zero({1, 2}), ids({1}, {3})}, {{"axes", Ints{0}}}),
            "K4210");
  // Only advanced indexing counts from the end.
  EXPECT_EQ(run_error("index_select", {x, ids({1}, {-1})}, {{"axis", int64_t{0}}}), "K4210");
  EXPECT_EQ(run_error("gather", {x, ids({1, 1}, {2})}, {{"axis", int64_t{1}}}), "K4210");
  EXPECT_EQ(run_error("gather", {x, ids({1, 1}, {-1})}, {{"axis", int64_t{1}}}), "K4210");
  EXPECT_EQ(run_error("scatter", {x, ids({1, 1}, {2}), from_zero({1, 1})}, {{"axis", int64_t{1}}}),
            "K4210");
  EXPECT_EQ(run_error("embedding", {x, ids({1}, {3})}, {}), "K4210");
  EXPECT_EQ(run_error("embedding", {x, ids({1}, {-1})}, {}), "K4210");
}

TEST(IndexPut, AccumulatesDuplicates) {
  expect_values(
      eval("index_put", {HostTensor(DType::kF32, {3}), vector_of({1, 2, 4}), ids({3}, {1, 1, -1})},
           {{"axes", Ints{0}}, {"accumulate", true}}),
      {3}, {0, 3, 4});
  expect_values(
      eval("index_put", {HostTensor(DType::kF32, {3}), vector_of({1, 2, 4}), ids({3}, {1, 1, -1})},
           {{"axes", Ints{0}}}),
      {3}, {0, 2, 4});
}

TEST(IndexPut, SumsInDoublePrecision) {
  // In bf16 each step would be lost: 256 + 1 rounds to 256.
  const HostTensor x = floats(DType::kBF16, {1}, {256});
  HostTensor ones(DType::kBF16, {8});
  for (int64_t i = 0; i < 8; ++i) ones.set_double(i, 1);
  expect_values(
      eval("index_put", {x, ones, ids({8}, Ints(8, 0))}, {{"axes", Ints{0}}, {"accumulate", true}}),
      {1}, {264});
}

TEST(IndexPut, SeparateAxes) {
  expect_values(eval("index_put",
                     {HostTensor(DType::kF32, {2, 2, 3}), floats(DType::kF32, {2, 2}, {1, 2, 3, 4}),
                      ids({2}, {0, 1}), ids({2}, {2, 0})},
                     {{"axes", Ints{0, 2}}}),
                {2, 2, 3}, {0, 0, 1, 0, 0, 2, 3, 0, 0, 4, 0, 0});
}

TEST(Scatter, Reductions) {
  const HostTensor x = vector_of({10, 20, 30});
  const HostTensor index = ids({3}, {0, 0, 2});
  const HostTensor src = vector_of({1, 4, 7});
  struct Case {
    const char* reduce;
    bool include_self;
    std::vector<double> expected;
  };
  for (const Case& c : {Case{"add", true, {15, 20, 37}}, Case{"multiply", true, {40, 20, 210}},
                        Case{"multiply", false, {4, 20, 7}}, Case{"mean", true, {5, 20, 18.5}},
                        Case{"mean", false, {2.5, 20, 7}}, Case{"amax", true, {10, 20, 30}},
                        Case{"amax", false, {4, 20, 7}}, Case{"amin", true, {1, 20, 7}},
                        Case{"amin", false, {1, 20, 7}}}) {
    SCOPED_TRACE(c.reduce);
    expect_values(eval("scatter", {x, index, src},
                       {{"axis", int64_t{0}},
                        {"reduce", std::string(c.reduce)},
                        {"include_self", c.include_self}}),
                  {3}, c.expected);
  }
  expect_values(eval("scatter", {x, index, src}, {{"axis", int64_t{0}}}), {3}, {4, 20, 7});
}

TEST(Scatter, IntegerMeanRoundsDownAndNanWins) {
  EXPECT_EQ(integers(eval(
                "scatter", {ids({2}, {0, 5}), ids({2}, {0, 0}), ids({2}, {-3, -4})},
                {{"axis", int64_t{0}}, {"reduce", std::string("mean")}, {"include_self", false}})),
            (Ints{-4, 5}));
  expect_values(eval("scatter", {vector_of({kNan, 1}), ids({2}, {0, 1}), vector_of({5, kNan})},
                     {{"axis", int64_t{0}}, {"reduce", std::string("amax")}}),
                {2}, {kNan, kNan});
}

TEST(Scatter, Refusals) {
  const Type x(DType::kF32, {3, 4});
  const AttrList axis{{"axis", int64_t{1}}};
  EXPECT_EQ(refusal("scatter", {x, Type(DType::kI64, {4, 4}), Type(DType::kF32, {4, 4})}, axis),
            "K2204");
  EXPECT_EQ(refusal("scatter", {x, Type(DType::kI64, {3, 9}), Type(DType::kF32, {3, 8})}, axis),
            "K2204");
  EXPECT_EQ(refusal("scatter", {x, Type(DType::kI64, {3, 9}), Type(DType::kF32, {3, 9})}, axis),
            "");
  EXPECT_EQ(refusal("scatter", {x, Type(DType::kI64, {3, 4}), Type(DType::kF64, {3, 4})}, axis),
            "K2203");
  EXPECT_EQ(refusal("scatter", {x, Type(DType::kI64, {3, 4}), x},
                    {{"axis", int64_t{1}}, {"include_self", false}}),
            "K2205");
}

TEST(Gather, IndexMayBeSmallerOnlyProvably) {
  const DimExpr s = DimExpr::symbol("s");
  const AttrList axis{{"axis", int64_t{1}}};
  EXPECT_EQ(refusal("gather", {Type(DType::kF32, {s + 1, 4}), Type(DType::kI64, {s, 2})}, axis),
            "");
  EXPECT_EQ(refusal("gather", {Type(DType::kF32, {s, 4}), Type(DType::kI64, {2, 2})}, axis),
            "K2204");
}

TEST(Sort, NanIsTheLargestAndTiesKeepTheirPlaces) {
  const HostTensor x = vector_of({2, kNan, 1, 2, -kInf, 0});
  std::vector<HostTensor> up = eval_all("sort", {x}, {{"axis", int64_t{0}}});
  ASSERT_EQ(up.size(), 2u);
  expect_values(up[0], {6}, {-kInf, 0, 1, 2, 2, kNan});
  EXPECT_EQ(integers(up[1]), (Ints{4, 5, 2, 0, 3, 1}));
  std::vector<HostTensor> down =
      eval_all("sort", {x}, {{"axis", int64_t{0}}, {"descending", true}});
  ASSERT_EQ(down.size(), 2u);
  expect_values(down[0], {6}, {kNan, 2, 2, 1, 0, -kInf});
  EXPECT_EQ(integers(down[1]), (Ints{1, 0, 3, 2, 5, 4}));
}

TEST(Sort, LargeIntegersAreNotRounded) {
  const int64_t big = int64_t{1} << 60;
  std::vector<HostTensor> sorted =
      eval_all("sort", {ids({3}, {big + 1, big, big + 2})}, {{"axis", int64_t{0}}});
  ASSERT_EQ(sorted.size(), 2u);
  EXPECT_EQ(integers(sorted[0]), (Ints{big, big + 1, big + 2}));
}

TEST(TopK, LargestAndSmallest) {
  const HostTensor x = vector_of({2, kNan, 1, 2, -kInf, 0});
  const AttrList base{{"k", DimExpr(2)}, {"axis", int64_t{0}}};
  std::vector<HostTensor> top = eval_all("topk", {x}, base);
  ASSERT_EQ(top.size(), 2u);
  expect_values(top[0], {2}, {kNan, 2});
  EXPECT_EQ(integers(top[1]), (Ints{1, 0}));
  AttrList smallest = base;
  smallest.emplace_back("largest", false);
  top = eval_all("topk", {x}, smallest);
  ASSERT_EQ(top.size(), 2u);
  expect_values(top[0], {2}, {-kInf, 0});
  EXPECT_EQ(integers(top[1]), (Ints{4, 5}));
  EXPECT_EQ(refusal("topk", {Type(DType::kF32, {1})}, base), "K2204");
  EXPECT_EQ(refusal("topk", {Type(DType::kF32, {4})}, {{"k", DimExpr(-1)}, {"axis", int64_t{0}}}),
            "K2205");
}

}  // namespace
}  // namespace kiln

// Sizes of kernels: what is baked, what becomes an argument, and what a foreign file may not do.
#include "backends/cuda/runtime/kernel_sizes.h"

#include <gtest/gtest.h>

#include "backends/cuda/runtime/copy_kernel.h"
#include "backends/cuda/runtime/gemm_kernel.h"
#include "backends/cuda/runtime/index_kernel.h"

namespace kiln::cuda {
namespace {

ConcreteView dense(std::vector<int64_t> dims) {
  ConcreteView view;
  view.strides.resize(dims.size());
  int64_t stride = 1;
  for (size_t i = dims.size(); i-- > 0;) {
    view.strides[i] = stride;
    stride *= dims[i];
  }
  view.dims = std::move(dims);
  return view;
}

KernelSizes sizes_of(const char* json) {
  const auto parsed = parse_json(json);
  EXPECT_TRUE(parsed.ok());
  auto sizes = KernelSizes::from_json(*parsed);
  EXPECT_TRUE(sizes.ok()) << sizes.status().to_string();
  return *sizes;
}

TEST(KernelSizes, ConstantsAreBakedAndSymbolsBecomeArguments) {
  NamedSizes<DimExpr> expressions;
  expressions.add("n0", DimExpr::symbol("s"));
  expressions.add("n1", DimExpr(64));
  const KernelSizes sizes(expressions);
  EXPECT_EQ(sizes.to_json().dump(), R"({"n0":null,"n1":64})");
  NamedSizes<int64_t> actual;
  actual.add("n0", 7);
  actual.add("n1", 64);
  std::vector<Argument> arguments;
  ASSERT_TRUE(sizes.bind(actual, &arguments).ok());
  ASSERT_EQ(arguments.size(), 1u);
  EXPECT_EQ(arguments[0].value, 7u);
}

TEST(KernelSizes, RefusesOtherNamesAndOtherNumbers) {
  const KernelSizes sizes = sizes_of(R"({"sizes": {"n0": 4}})");
  std::vector<Argument> arguments;
  NamedSizes<int64_t> other_number, other_name, more;
  other_number.add("n0", 5);
  other_name.add("m0", 4);
  more.add("n0", 4);
  more.add("n1", 4);
  EXPECT_EQ(sizes.bind(other_number, &arguments).code(), "K3212");
  EXPECT_EQ(sizes.bind(other_name, &arguments).code(), "K3212");
  EXPECT_EQ(sizes.bind(more, &arguments).code(), "K3212");
}

TEST(KernelSizes, AStrideThatNothingStepsAlongMayDiffer) {
  const KernelSizes sizes = sizes_of(R"({"sizes": {"a0": 0}})");
  std::vector<Argument> arguments;
  NamedSizes<int64_t> one, several;
  one.add_strides("a", {9}, {1});
  several.add_strides("a", {9}, {2});
  EXPECT_TRUE(sizes.bind(one, &arguments).ok());
  EXPECT_EQ(sizes.bind(several, &arguments).code(), "K3212");
}

TEST(KernelSizes, NamesAreIdentifiersBecauseTheyBecomeSource) {
  for (const char* text :
       {R"({"sizes": {"n0; evil": 1}})", R"({"sizes": {"N": 1}})", R"({"sizes": {"": 1}})",
        R"({"sizes": {"n": "1"}})", R"({"sizes": [1]})", R"({})"}) {
    const auto parsed = parse_json(text);
    ASSERT_TRUE(parsed.ok()) << text;
    EXPECT_EQ(KernelSizes::from_json(*parsed).status().code(), "K3212") << text;
  }
}

TEST(KernelSizes, WideElementsNeedAlignedViews) {
  ConcreteView view = dense({3, 8});
  EXPECT_TRUE(takes_width(view, 1, 4));
  EXPECT_EQ(widened(view, 1, 4).dims, (std::vector<int64_t>{3, 2}));
  EXPECT_EQ(widened(view, 1, 4).strides, (std::vector<int64_t>{2, 1}));
  view.offset = 2;
  EXPECT_FALSE(takes_width(view, 1, 4));
  EXPECT_TRUE(takes_width(view, 1, 2));
  EXPECT_FALSE(takes_width(dense({3, 6}), 1, 4));  // the end of a row
  ConcreteView gaps = dense({3, 8});
  gaps.strides[0] = 9;
  EXPECT_FALSE(takes_width(gaps, 1, 2));
  // The stride of a dim of one element says nothing, whatever it is.
  gaps.dims[0] = 1;
  gaps.strides[0] = 1;
  EXPECT_TRUE(takes_width(gaps, 1, 4));
  EXPECT_EQ(widened(gaps, 1, 4).dims, (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(widened(gaps, 1, 4).strides[1], 1);
}

TEST(KernelSizes, NarrowKernelsRefuseLargeViews) {
  const ConcreteView small = dense({1 << 10, 1 << 20});
  const ConcreteView large = dense({1 << 11, 1 << 20});
  EXPECT_TRUE(check_narrow(false, {&small}).ok());
  EXPECT_EQ(check_narrow(false, {&small, &large}).code(), "K3212");
  EXPECT_TRUE(check_narrow(true, {&small, &large}).ok());
}

TEST(KernelSizes, ProductsWithOtherShapesAreRefused) {
  const ConcreteView a = dense({5, 2, 3}), b = dense({3, 4}), c = dense({5, 2, 4});
  const ConcreteView* none = nullptr;
  EXPECT_TRUE(gemm_sizes(a, b, none, c).ok());
  EXPECT_EQ(gemm_sizes(a, dense({2, 4}), none, c).status().code(), "K3245");
  EXPECT_EQ(gemm_sizes(a, dense({2, 3, 4}), none, c).status().code(), "K3245");
  const ConcreteView bias = dense({3});
  EXPECT_EQ(gemm_sizes(a, b, &bias, c).status().code(), "K3245");
}

TEST(KernelSizes, IndicesThatDoNotBroadcastAreRefused) {
  const ConcreteView table = dense({6, 7, 8});
  const auto good = index_geometry(table, dense({2, 3, 8}), {dense({2, 1}), dense({3})}, {0, 1}, 0,
                                   false);
  ASSERT_TRUE(good.ok());
  EXPECT_EQ(good->n, (std::vector<int64_t>{2, 3, 8}));
  EXPECT_EQ(good->index[0], (std::vector<int64_t>{1, 0, 0}));
  EXPECT_EQ(good->index[1], (std::vector<int64_t>{0, 1, 0}));
  EXPECT_EQ(index_geometry(table, dense({2, 3, 8}), {dense({2, 2}), dense({3})}, {0, 1}, 0, false)
                .status()
                .code(),
            "K3241");
  EXPECT_EQ(
      index_geometry(table, dense({2, 3, 9}), {dense({2, 1}), dense({3})}, {0, 1}, 0, false)
          .status()
          .code(),
      "K3241");
}

TEST(CopyKernel, RefusesWhatDoesNotFitTogether) {
  CopyKernel kernel;
  kernel.rank = 2;
  kernel.bytes = 16;
  kernel.cross = 0;
  EXPECT_EQ(CopyKernel::from_json(kernel.to_json()).status().code(), "K3212");
  kernel.bytes = 4;
  EXPECT_TRUE(CopyKernel::from_json(kernel.to_json()).ok());
  kernel.bytes = 3;
  EXPECT_EQ(CopyKernel::from_json(kernel.to_json()).status().code(), "K3212");
}

}  // namespace
}  // namespace kiln::cuda

// Engines from hand-made plans: binding, errors, staging, aliasing, constants, updates.
#include "runtime/engine.h"

#include <gmock/gmock.h>

#include <thread>

#include "runtime/execution.h"
#include "unit/runtime/plan_builder.h"

namespace kiln {
namespace {

using test::PlanBuilder;
using test::Tensor;
using testing::HasSubstr;

const DimExpr kS0 = DimExpr::symbol("s0");
const DimExpr kS1 = DimExpr::symbol("s1");

std::shared_ptr<Engine> create(EnginePlan plan, std::vector<WeightBytes> weights = {}) {
  auto engine = Engine::create(std::move(plan), std::move(weights), {.threads = 1});
  EXPECT_TRUE(engine.ok()) << engine.status().to_string();
  return engine.ok() ? *engine : nullptr;
}

// y = relu(x * w + b) over [s0, 4], with an intermediate in the arena and b = neg(weight).
EnginePlan affine_plan() {
  PlanBuilder b;
  b.plan.symbols = {{"s0", {0, 8}}};
  const PlanView x = b.input("x", {kS0, 4});
  const PlanView w = b.weight("w", {4});
  const PlanView bias = b.computed("b", {4}, "neg");
  const PlanView product = b.temp({kS0, 4}), sum = b.temp({kS0, 4});
  const PlanView y = b.output("y", {kS0, 4});
  b.tile("mul", {x, w}, product);
  b.tile("add", {product, bias}, sum);
  b.tile("relu", {sum}, y);
  return b.plan;
}

std::vector<float> affine(const std::vector<float>& x, const std::vector<float>& w,
                          const std::vector<float>& b) {
  std::vector<float> y;
  for (size_t i = 0; i < x.size(); ++i) y.push_back(std::max(x[i] * w[i % 4] - b[i % 4], 0.0f));
  return y;
}

const std::vector<float> kW = {1, 2, -3, 4}, kB = {3, 0, -5, 8};

std::shared_ptr<Engine> affine_engine() {
  return create(affine_plan(), {test::weight_bytes(kW), test::weight_bytes(kB)});
}

// y = x + 1 * x, any shape given.
EnginePlan double_plan(const Shape& dims) {
  PlanBuilder b;
  const PlanView x = b.input("x", dims);
  b.tile("add", {x, x}, b.output("y", dims));
  return b.plan;
}

TEST(Engine, RunsAtManyShapes) {
  auto engine = affine_engine();
  auto context = test::context_of(engine);
  for (int round = 0; round < 2; ++round) {
    for (int64_t n : {3, 1, 8, 0, 5}) {
      Tensor x = Tensor::iota({n, 4}, -7), y = Tensor::filled({n, 4}, -1);
      ASSERT_TRUE(context->run({x.view()}, {y.view()}).ok());
      EXPECT_EQ(y.data, affine(x.data, kW, kB));
    }
  }
  EXPECT_EQ(engine->bindings_made(), 5);
}

TEST(Engine, ConditionsHoldAtEveryShapeThatRuns) {
  EnginePlan plan = double_plan({kS0, kS1});
  plan.symbols = {{"s0", {0, 8}}, {"s1", {0, 8}}};
  plan.conditions = {{SizeRelation::kLt, kS0, 2 * kS1, "x must be wide"}};
  auto engine = create(plan);
  auto context = test::context_of(engine);
  for (int round = 0; round < 2; ++round) {
    for (int64_t rows = 0; rows <= 8; ++rows) {
      Tensor x = Tensor::iota({rows, 3}), y = Tensor::filled({rows, 3}, -1);
      const Status status = context->run({x.view()}, {y.view()});
      EXPECT_EQ(status.code(), rows < 6 ? "" : "K4106") << rows;
      EXPECT_EQ(context->infer_shapes({x.view()}).ok(), rows < 6) << rows;
      EXPECT_EQ(status.message().find("x must be wide") != std::string::npos, rows >= 6);
    }
  }
  plan.conditions[0].right = DimExpr::symbol("s2");
  plan.symbols["s2"] = {0, 8};
  EXPECT_EQ(Engine::create(plan, {}, {.threads = 1}).status().code(), "K3105");
}

TEST(Engine, StridesThatThePlanNeeds) {
  EnginePlan plan = double_plan({kS0, 4});
  plan.symbols = {{"s0", {0, 8}}};
  plan.inputs[0].strides = {4, 1};
  auto engine = create(plan);
  auto context = test::context_of(engine);
  const auto run = [&](std::vector<int64_t> shape, std::vector<int64_t> strides) {
    Tensor x = Tensor::iota({4, 4}), y = Tensor::filled(shape, -1);
    TensorView view = x.view();
    view.shape = shape.data();
    view.strides = strides.data();
    return context->run({view}, {y.view()});
  };
  EXPECT_TRUE(run({4, 4}, {4, 1}).ok());
  EXPECT_EQ(run({4, 4}, {1, 4}).code(), "K4115");  // also at a shape that was seen
  EXPECT_TRUE(run({1, 4}, {7, 1}).ok());
  EXPECT_TRUE(run({0, 4}, {1, 1}).ok());
}

TEST(Engine, InfersShapesWithoutBinding) {
  auto engine = affine_engine();
  auto context = test::context_of(engine);
  Tensor x = Tensor::iota({3, 4});
  const auto shapes = context->infer_shapes({x.view()});
  ASSERT_TRUE(shapes.ok());
  EXPECT_EQ((*shapes)[0].shape, (std::vector<int64_t>{3, 4}));
  EXPECT_EQ((*shapes)[0].strides, (std::vector<int64_t>{4, 1}));
  EXPECT_EQ(engine->bindings_made(), 0);
}

TEST(Engine, OutputAllocator) {
  auto context = test::context_of(affine_engine());
  Tensor x = Tensor::iota({2, 4});
  std::vector<float> memory;
  auto outputs = context->run({x.view()}, [&](int output, const TensorSpec& spec, size_t bytes) {
    EXPECT_EQ(output, 0);
    EXPECT_EQ(spec.shape, (std::vector<int64_t>{2, 4}));
    memory.resize(bytes / 4);
    return memory.data();
  });
  ASSERT_TRUE(outputs.ok()) << outputs.status().to_string();
  EXPECT_EQ(memory, affine(x.data, kW, kB));
  EXPECT_EQ((*outputs)[0].data, memory.data());
  EXPECT_EQ((*outputs)[0].shape[0], 2);
  auto refused = context->run({x.view()}, [](int, const TensorSpec&, size_t) { return nullptr; });
  EXPECT_EQ(refused.status().code(), "K4110");
}

TEST(Engine, WrongInputs) {
  auto engine = affine_engine();
  auto context = test::context_of(engine);
  Tensor x = Tensor::iota({2, 4}), y = Tensor::iota({2, 4});
  EXPECT_EQ(context->run({}, {y.view()}).code(), "K4101");
  EXPECT_EQ(context->run({x.view(), x.view()}, {y.view()}).code(), "K4101");
  TensorView view = x.view();
  view.dtype = DType::kI32;
  Status status = context->run({view}, {y.view()});
  EXPECT_EQ(status.code(), "K4102");
  EXPECT_THAT(status.message(),
              testing::AllOf(HasSubstr("'x'"), HasSubstr("i32"), HasSubstr("f32")));
  Tensor flat = Tensor::iota({8});
  status = context->run({flat.view()}, {y.view()});
  EXPECT_EQ(status.code(), "K4104");
  EXPECT_THAT(status.message(), HasSubstr("has 1 dims, expected 2"));
  Tensor many = Tensor::iota({9, 4});
  status = context->run({many.view()}, {y.view()});
  EXPECT_EQ(status.code(), "K4105");
  EXPECT_THAT(status.message(), testing::AllOf(HasSubstr("'x' dim 0 is 9"), HasSubstr("[0, 8]")));
  Tensor wide = Tensor::iota({2, 5});
  EXPECT_EQ(context->run({wide.view()}, {y.view()}).code(), "K4105");
  const int64_t negative[] = {-2, 4};
  view = x.view();
  view.shape = negative;
  EXPECT_EQ(context->run({view}, {y.view()}).code(), "K4105");
  view = x.view();
  view.device.kind = DeviceKind::kCuda;
  EXPECT_EQ(context->run({view}, {y.view()}).code(), "K4107");
  view = x.view();
  view.data = nullptr;
  EXPECT_EQ(context->run({view}, {y.view()}).code(), "K4112");
  // The context still works.
  ASSERT_TRUE(context->run({x.view()}, {y.view()}).ok());
  EXPECT_EQ(y.data, affine(x.data, kW, kB));
}

TEST(Engine, WrongOutputs) {
  auto context = test::context_of(affine_engine());
  Tensor x = Tensor::iota({2, 4}), y = Tensor::iota({2, 4});
  EXPECT_EQ(context->run({x.view()}, std::vector<TensorView>()).code(), "K4108");
  Tensor small = Tensor::iota({1, 4});
  EXPECT_EQ(context->run({x.view()}, {small.view()}).code(), "K4109");
  Tensor flat = Tensor::iota({8});
  EXPECT_EQ(context->run({x.view()}, {flat.view()}).code(), "K4109");
  TensorView view = y.view();
  view.dtype = DType::kI32;
  EXPECT_EQ(context->run({x.view()}, {view}).code(), "K4109");
  view = y.view();
  view.data = nullptr;
  EXPECT_EQ(context->run({x.view()}, {view}).code(), "K4110");
  const int64_t same_place[] = {0, 1};
  view = y.view();
  view.strides = same_place;
  EXPECT_EQ(context->run({x.view()}, {view}).code(), "K4113");
}

TEST(Engine, HugeSizesAreErrors) {
  auto context = test::context_of(create(double_plan({kS0, kS1})));
  float value = 0;
  for (const auto& dims : {std::vector<int64_t>{INT64_MAX, 2},
                           {int64_t{1} << 40, int64_t{1} << 40},
                           {int64_t{1} << 62, 3},
                           {int64_t{1} << 47, 1}}) {
    TensorView view{&value, DType::kF32, Device(), 2, dims.data(), nullptr};
    EXPECT_FALSE(context->run({view}, {view}).ok());
    EXPECT_FALSE(context->run({view}, [&](int, const TensorSpec&, size_t) { return &value; }).ok());
  }
  // As many, but nothing.
  const std::vector<int64_t> dims = {0, INT64_MAX};
  TensorView view{nullptr, DType::kF32, Device(), 2, dims.data(), nullptr};
  EXPECT_TRUE(context->run({view}, {view}).ok());
}

TEST(Engine, RankZero) {
  auto context = test::context_of(create(double_plan({})));
  Tensor x({}, {21}), y({}, {0});
  ASSERT_TRUE(context->run({x.view()}, {y.view()}).ok());
  EXPECT_EQ(y.data[0], 42);
}

TEST(Engine, InputsOfAnyStrides) {
  auto context = test::context_of(create(double_plan({3, 4})));
  Tensor y = Tensor::filled({3, 4}, 0);
  auto expect = [&](Tensor& x) {
    std::vector<float> want;
    for (int64_t i = 0; i < 3; ++i) {
      for (int64_t j = 0; j < 4; ++j) {
        want.push_back(2 *
                       x.data[static_cast<size_t>(x.offset + i * x.strides[0] + j * x.strides[1])]);
      }
    }
    ASSERT_TRUE(context->run({x.view()}, {y.view()}).ok());
    EXPECT_EQ(y.data, want);
  };
  Tensor x = Tensor::iota({3, 4});
  x.strides = {1, 3};  // transposed
  expect(x);
  x.strides = {0, 1};  // expanded
  expect(x);
  x.strides = {0, 0};
  expect(x);
  x.strides = {-4, -1};  // flipped
  x.offset = 11;
  expect(x);
  Tensor wide = Tensor::iota({3, 4});
  wide.data = Tensor::iota({60}).data;
  wide.strides = {20, 2};  // every other column of a wider tensor
  wide.offset = 3;
  expect(wide);
}

TEST(Engine, StridesOfDimsOfSizeOneDoNotMatter) {
  auto context = test::context_of(create(double_plan({1, 4})));
  Tensor x = Tensor::iota({1, 4}), y = Tensor::filled({1, 4}, 0);
  x.strides = {777, 1};
  y.strides = {-5, 1};
  ASSERT_TRUE(context->run({x.view()}, {y.view()}).ok());
  EXPECT_EQ(y.data, (std::vector<float>{0, 2, 4, 6}));
}

TEST(Engine, OutputsOfAnyStrides) {
  auto context = test::context_of(create(double_plan({2, 3})));
  Tensor x = Tensor::iota({2, 3});
  Tensor y = Tensor::filled({20}, -1);
  y.shape = {2, 3};
  y.strides = {-10, 2};
  y.offset = 12;
  ASSERT_TRUE(context->run({x.view()}, {y.view()}).ok());
  std::vector<float> want(20, -1);
  for (size_t i = 0; i < 2; ++i) {
    for (size_t j = 0; j < 3; ++j) want[12 - 10 * i + 2 * j] = 2 * x.data[i * 3 + j];
  }
  EXPECT_EQ(y.data, want);
}

TEST(Engine, UnalignedMemory) {
  auto context = test::context_of(create(double_plan({5})));
  std::vector<char> from(21), to(21);
  const std::vector<float> values = {1, 2, 3, 4, 5};
  memcpy(from.data() + 1, values.data(), 20);
  const int64_t shape[] = {5};
  TensorView x{from.data() + 1, DType::kF32, Device(), 1, shape, nullptr};
  TensorView y{to.data() + 1, DType::kF32, Device(), 1, shape, nullptr};
  ASSERT_TRUE(context->run({x}, {y}).ok());
  std::vector<float> got(5);
  memcpy(got.data(), to.data() + 1, 20);
  EXPECT_EQ(got, (std::vector<float>{2, 4, 6, 8, 10}));
}

// y = x reversed, z = x + x: wrong when y is written over x before z reads it.
EnginePlan two_outputs_plan() {
  PlanBuilder b;
  const PlanView x = b.input("x", {6});
  PlanView reversed = x;
  reversed.strides = {-1};
  reversed.offset = 5;
  b.copy(reversed, b.output("y", {6}));
  b.tile("add", {x, x}, b.output("z", {6}));
  return b.plan;
}

TEST(Engine, OutputMayLieInAnInput) {
  auto context = test::context_of(create(two_outputs_plan()));
  for (int64_t shift : {0, 1, 3, -2}) {
    std::vector<float> memory = {-2, -1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
    const int64_t shape[] = {6};
    TensorView x{memory.data() + 3, DType::kF32, Device(), 1, shape, nullptr};
    TensorView y = x;
    y.data = memory.data() + 3 + shift;
    Tensor z = Tensor::filled({6}, 0);
    ASSERT_TRUE(context->run({x}, {y, z.view()}).ok());
    EXPECT_EQ(z.data, (std::vector<float>{2, 4, 6, 8, 10, 12}));
    const auto* got = static_cast<const float*>(y.data);
    EXPECT_EQ(std::vector<float>(got, got + 6), (std::vector<float>{6, 5, 4, 3, 2, 1}));
  }
}

TEST(Engine, OutputsInterleavedOrShared) {
  auto context = test::context_of(create(two_outputs_plan()));
  Tensor x = Tensor::iota({6});
  std::vector<float> memory(12, -1);
  const int64_t shape[] = {6}, two[] = {2};
  TensorView y{memory.data(), DType::kF32, Device(), 1, shape, two};
  TensorView z{memory.data() + 1, DType::kF32, Device(), 1, shape, two};
  ASSERT_TRUE(context->run({x.view()}, {y, z}).ok());
  EXPECT_EQ(memory, (std::vector<float>{5, 0, 4, 2, 3, 4, 2, 6, 1, 8, 0, 10}));
  EXPECT_EQ(context->run({x.view()}, {y, y}).code(), "K4113");
}

TEST(Engine, InputsMayShareMemory) {
  PlanBuilder b;
  const PlanView x = b.input("x", {3}), y = b.input("y", {3});
  b.tile("mul", {x, y}, b.output("z", {3}));
  auto context = test::context_of(create(b.plan));
  Tensor t = Tensor::iota({4}), z = Tensor::filled({3}, 0);
  t.shape = {3};
  TensorView shifted = t.view();
  shifted.data = t.data.data() + 1;
  ASSERT_TRUE(context->run({t.view(), shifted}, {z.view()}).ok());
  EXPECT_EQ(z.data, (std::vector<float>{0, 2, 6}));
}

// x receives x + y; z = y + y, computed last.
EnginePlan write_plan() {
  PlanBuilder b;
  const PlanView x = b.input("x", {2, 3}), y = b.input("y", {2, 3});
  b.write_back("x_new", 0);
  const PlanView sum = b.temp({2, 3});
  b.tile("add", {x, y}, sum);
  b.copy(sum, x);
  b.tile("add", {y, y}, b.output("z", {2, 3}));
  return b.plan;
}

TEST(Engine, WritesInputs) {
  auto context = test::context_of(create(write_plan()));
  Tensor x = Tensor::iota({2, 3}), y = Tensor::iota({2, 3}, 10), z = Tensor::filled({2, 3}, 0);
  ASSERT_TRUE(context->run({x.view(), y.view()}, {TensorView(), z.view()}).ok());
  EXPECT_EQ(x.data, (std::vector<float>{10, 12, 14, 16, 18, 20}));
  EXPECT_EQ(z.data, (std::vector<float>{20, 22, 24, 26, 28, 30}));
}

TEST(Engine, WritesInputsOfOtherStrides) {
  auto context = test::context_of(create(write_plan()));
  Tensor x = Tensor::iota({2, 3}), y = Tensor::iota({2, 3}, 10), z = Tensor::filled({2, 3}, 0);
  x.strides = {1, 2};  // elements (i, j) at i + 2 j
  ASSERT_TRUE(context->run({x.view(), y.view()}, {TensorView(), z.view()}).ok());
  EXPECT_EQ(x.data, (std::vector<float>{0 + 10, 1 + 13, 2 + 11, 3 + 14, 4 + 12, 5 + 15}));
}

TEST(Engine, RefusesAWrittenInputThatSharesMemory) {
  auto context = test::context_of(create(write_plan()));
  Tensor x = Tensor::iota({2, 3}), y = Tensor::iota({2, 3}, 10), z = Tensor::filled({2, 3}, 0);
  const std::vector<float> before = x.data;
  EXPECT_EQ(context->run({x.view(), x.view()}, {TensorView(), z.view()}).code(), "K4118");
  Tensor expanded = Tensor::iota({2, 3});
  expanded.strides = {0, 1};
  EXPECT_EQ(context->run({expanded.view(), y.view()}, {TensorView(), z.view()}).code(), "K4118");
  EXPECT_EQ(x.data, before);
  // An expanded input that is read only is fine.
  EXPECT_TRUE(context->run({x.view(), expanded.view()}, {TensorView(), z.view()}).ok());
}

TEST(Engine, WritesAnInputBetweenTheElementsOfAnother) {
  auto context = test::context_of(create(write_plan()));
  std::vector<float> memory(12);
  for (size_t i = 0; i < memory.size(); ++i) memory[i] = static_cast<float>(i);
  const std::vector<int64_t> shape{2, 3}, strides{6, 2};
  const TensorView x{memory.data(), DType::kF32, {}, 2, shape.data(), strides.data()};
  const TensorView y{memory.data() + 1, DType::kF32, {}, 2, shape.data(), strides.data()};
  Tensor z = Tensor::filled({2, 3}, 0);
  ASSERT_TRUE(context->run({x, y}, {TensorView(), z.view()}).ok());
  EXPECT_EQ(memory, (std::vector<float>{1, 1, 5, 3, 9, 5, 13, 7, 17, 9, 21, 11}));
}

TEST(Engine, ViewOfInputIsReturnedAsIs) {
  PlanBuilder b;
  const PlanView x = b.input("x", {3});
  PlanOutput view;
  view.signature = b.plan.inputs[0];
  view.kind = PlanOutput::Kind::kViewOfInput;
  view.target = 0;
  b.plan.outputs.push_back(view);
  b.tile("neg", {x}, b.output("y", {3}));
  auto context = test::context_of(create(b.plan));
  Tensor t = Tensor::iota({3}), y = Tensor::filled({3}, 0);
  ASSERT_TRUE(context->run({t.view()}, {TensorView(), y.view()}).ok());
  EXPECT_EQ(y.data, (std::vector<float>{0, -1, -2}));
  auto outputs = context->run({t.view()}, [&](int i, const TensorSpec&, size_t) -> void* {
    EXPECT_EQ(i, 1);
    return y.data.data();
  });
  ASSERT_TRUE(outputs.ok());
  EXPECT_EQ((*outputs)[0].data, t.data.data());
}

TEST(Engine, LeastRecentlyUsedBindingsGo) {
  auto engine = create(double_plan({kS0}));
  auto context = test::context_of(engine);
  auto run = [&](int64_t n) {
    Tensor x = Tensor::iota({n}), y = Tensor::filled({n}, 0);
    ASSERT_TRUE(context->run({x.view()}, {y.view()}).ok());
    for (size_t i = 0; i < y.data.size(); ++i) ASSERT_EQ(y.data[i], 2 * static_cast<float>(i));
  };
  const auto most = static_cast<int64_t>(Engine::kMaxBindings);
  for (int64_t n = 1; n <= most; ++n) run(n);
  EXPECT_EQ(engine->bindings_made(), most);
  run(1);         // refreshes 1 here
  run(most + 1);  // drops 2 here, 1 in the engine, which saw it longest ago
  EXPECT_EQ(engine->bindings_made(), most + 1);
  run(1);
  EXPECT_EQ(engine->bindings_made(), most + 1);
  for (int64_t n = 1; n <= 3 * most; ++n) run(n);
  EXPECT_LE(engine->bindings_made(), 4 * most + 1);
}

TEST(Engine, ContextsShareBindings) {
  auto engine = affine_engine();
  Tensor x = Tensor::iota({2, 4}), y = Tensor::filled({2, 4}, 0);
  for (int i = 0; i < 3; ++i)
    ASSERT_TRUE(test::context_of(engine)->run({x.view()}, {y.view()}).ok());
  EXPECT_EQ(engine->bindings_made(), 1);
}

TEST(Engine, ConstantsAreBorrowedWhereNothingIsComputed) {
  const WeightBytes w = test::weight_bytes(kW);
  auto engine = create(affine_plan(), {w, test::weight_bytes(kB)});
  EXPECT_EQ(engine->constants()->constants[0].data, w.data);
  EXPECT_EQ(engine->constants()->owned_bytes, 16u);
}

TEST(Engine, UpdateWeightsThereAndBack) {
  auto engine = affine_engine();
  auto context = test::context_of(engine);
  Tensor x = Tensor::iota({5, 4}, 0.1f), y = Tensor::filled({5, 4}, 0);
  ASSERT_TRUE(context->run({x.view()}, {y.view()}).ok());
  const std::vector<float> before = y.data;
  const std::vector<float> other_w = {5, 6, 7, 8}, other_b = {1, 1, 1, 1};
  ASSERT_TRUE(
      engine->update_weights({test::weight_bytes(other_w), test::weight_bytes(other_b)}).ok());
  ASSERT_TRUE(context->run({x.view()}, {y.view()}).ok());
  EXPECT_EQ(y.data, affine(x.data, other_w, other_b));
  ASSERT_TRUE(engine->update_weights({test::weight_bytes(kW), test::weight_bytes(kB)}).ok());
  ASSERT_TRUE(context->run({x.view()}, {y.view()}).ok());
  EXPECT_EQ(y.data, before);
  EXPECT_EQ(engine->bindings_made(), 1);
}

TEST(Engine, FailedUpdateKeepsTheOldWeights) {
  auto engine = affine_engine();
  auto context = test::context_of(engine);
  Tensor x = Tensor::iota({2, 4}), y = Tensor::filled({2, 4}, 0);
  EXPECT_EQ(engine->update_weights({test::weight_bytes(kW)}).code(), "K3106");
  EXPECT_EQ(engine->update_weights({test::weight_bytes({1, 2}), test::weight_bytes(kB)}).code(),
            "K3106");
  EXPECT_EQ(engine->update_weights({{nullptr, 16, nullptr}, test::weight_bytes(kB)}).code(),
            "K3106");
  ASSERT_TRUE(context->run({x.view()}, {y.view()}).ok());
  EXPECT_EQ(y.data, affine(x.data, kW, kB));
}

// y = (x * -w + b'), where both factors are computed from weights of their own.
EnginePlan two_computed_plan() {
  test::PlanBuilder builder;
  const PlanView x = builder.input("x", {4});
  const PlanView w = builder.computed("w", {4}, "neg"), b = builder.computed("b", {4}, "neg");
  const PlanView product = builder.temp({4}), y = builder.output("y", {4});
  builder.tile("mul", {x, w}, product);
  builder.tile("add", {product, b}, y);
  return builder.plan;
}

WeightView named(const std::string& name, const std::vector<float>& values) {
  const WeightBytes bytes = test::weight_bytes(values);
  return {name, DType::kF32, {static_cast<int64_t>(values.size())}, bytes.data, bytes.bytes,
          bytes.owner};
}

TEST(Engine, AnUpdateComputesOnlyWhatDependsOnIt) {
  auto engine = create(two_computed_plan(), {test::weight_bytes(kW), test::weight_bytes(kB)});
  const auto old = engine->constants();
  ASSERT_TRUE(engine->update_weights(std::vector<WeightView>{named("b", {9, 8, 7, 6})}).ok());
  const auto now = engine->constants();
  EXPECT_EQ(now->constants[0].data, old->constants[0].data);
  EXPECT_NE(now->constants[1].data, old->constants[1].data);
  EXPECT_EQ(now->owned_bytes, old->owned_bytes);
  Tensor x = Tensor::iota({4}), y = Tensor::filled({4}, 0);
  ASSERT_TRUE(test::context_of(engine)->run({x.view()}, {y.view()}).ok());
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(y.data[i], -(static_cast<float>(i) * kW[i]) - (9 - static_cast<float>(i)));
  }
  EXPECT_EQ(engine->update_weights(std::vector<WeightView>{named("c", kB)}).code(), "K3113");
  EXPECT_EQ(engine->constants(), now);
}

TEST(Engine, EqualConstantsAreHeldOnce) {
  // Values that no other test uses.
  const std::vector<float> a = {101, 102, 103, 104}, b = {201, 202, 203, 204};
  auto first = create(two_computed_plan(), {test::weight_bytes(a), test::weight_bytes(b)});
  EXPECT_EQ(first->constants()->shared_bytes, 0u);
  auto second = create(two_computed_plan(), {test::weight_bytes(a), test::weight_bytes(a)});
  EXPECT_EQ(second->constants()->owned_bytes, 32u);
  EXPECT_EQ(second->constants()->shared_bytes, 32u);
  const void* place = first->constants()->constants[0].data;
  EXPECT_EQ(second->constants()->constants[0].data, place);
  EXPECT_EQ(second->constants()->constants[1].data, place);
  // An update of one does not touch the other.
  ASSERT_TRUE(second->update_weights(std::vector<WeightView>{named("w", b)}).ok());
  EXPECT_EQ(second->constants()->constants[0].data, first->constants()->constants[1].data);
  EXPECT_EQ(first->constants()->constants[0].data, place);
  // It lives as long as one of them.
  first.reset();
  EXPECT_EQ(static_cast<const float*>(second->constants()->constants[1].data)[3], -104.0f);
}

TEST(Engine, OldConstantsLiveWhileSomebodyHoldsThem) {
  auto engine = affine_engine();
  const auto old = engine->constants();
  ASSERT_TRUE(engine->update_weights({test::weight_bytes(kB), test::weight_bytes(kW)}).ok());
  EXPECT_NE(engine->constants(), old);
  const auto* values = static_cast<const float*>(old->constants[1].data);
  EXPECT_EQ(std::vector<float>(values, values + 4), (std::vector<float>{-3, 0, 5, -8}));
  const auto* weight = static_cast<const float*>(old->constants[0].data);
  EXPECT_EQ(std::vector<float>(weight, weight + 4), kW);
}

// The new constants take the place of the old ones, unless somebody may still look at these.
TEST(Engine, AnUpdateWritesMemoryThatNobodyElseHolds) {
  // Values that no other test uses.
  const std::vector<float> a = {301, 302, 303, 304}, b = {401, 402, 403, 404};
  const std::vector<float> c = {501, 502, 503, 504}, d = {601, 602, 603, 604};
  const auto place = [](Engine& engine, size_t i) { return engine.constants()->constants[i].data; };
  const auto value = [&](Engine& engine, size_t i) {
    return static_cast<const float*>(place(engine, i))[3];
  };
  auto engine = create(two_computed_plan(), {test::weight_bytes(a), test::weight_bytes(b)});
  auto context = test::context_of(engine);
  Tensor x = Tensor::iota({4}), y = Tensor::filled({4}, 0);
  ASSERT_TRUE(context->run({x.view()}, {y.view()}).ok());  // a context that ran holds nothing
  const void* const first = place(*engine, 0);
  const void* const second = place(*engine, 1);
  ASSERT_TRUE(engine->update_weights({test::weight_bytes(c), test::weight_bytes(b)}).ok());
  EXPECT_EQ(place(*engine, 0), first);
  EXPECT_EQ(place(*engine, 1), second);
  EXPECT_EQ(value(*engine, 0), -504);
  EXPECT_EQ(value(*engine, 1), -404);
  ASSERT_TRUE(context->run({x.view()}, {y.view()}).ok());
  EXPECT_EQ(y.data[3], -3 * c[3] - b[3]);
  // What another engine shares is not written.
  auto other = create(two_computed_plan(), {test::weight_bytes(c), test::weight_bytes(d)});
  ASSERT_EQ(place(*other, 0), first);
  ASSERT_TRUE(engine->update_weights({test::weight_bytes(a), test::weight_bytes(b)}).ok());
  EXPECT_EQ(place(*other, 0), first);
  EXPECT_EQ(value(*other, 0), -504);
  EXPECT_NE(place(*engine, 0), first);
  EXPECT_EQ(value(*engine, 0), -304);
  // What was written over is not what others get for equal ones, and what is there now is.
  const void* const now = place(*engine, 0);
  ASSERT_TRUE(engine->update_weights({test::weight_bytes(d), test::weight_bytes(b)}).ok());
  other = create(two_computed_plan(), {test::weight_bytes(a), test::weight_bytes(b)});
  EXPECT_NE(place(*other, 0), now);
  EXPECT_EQ(value(*other, 0), -304);
  EXPECT_EQ(place(*other, 1), place(*engine, 1));
}

// A copy that refuses negative numbers.
class PickyStep : public Step {
 public:
  Result<std::unique_ptr<BoundStep>> bind(const BindContext&) const override {
    class Bound : public BoundStep {
     public:
      Status run(const RunArgs& args) override {
        const auto* from = static_cast<const float*>(args.inputs[0]);
        for (int i = 0; i < 4; ++i) {
          if (from[i] < 0) return Status::error("K4999", "negative");
          static_cast<float*>(args.outputs[0])[i] = from[i];
        }
        return {};
      }
      std::string implementation() const override { return "picky"; }
    };
    return std::unique_ptr<BoundStep>(new Bound());
  }
};

// Steps that may fail have failed before anything is written over.
TEST(Engine, AnUpdateThatFailsHalfWayKeepsTheOldConstants) {
  StepRegistry::global().add("test.picky", [](const StepDesc&, const StepEnvironment&) {
    return Result<std::unique_ptr<Step>>(std::make_unique<PickyStep>());
  });
  EnginePlan plan = two_computed_plan();
  plan.init.steps[1].kind = "test.picky";
  const std::vector<float> w = {11, 12, 13, 14}, b = {1, 2, 3, 4};
  auto engine = create(plan, {test::weight_bytes(w), test::weight_bytes(b)});
  auto context = test::context_of(engine);
  Tensor x = Tensor::iota({4}), y = Tensor::filled({4}, 0);
  const auto expect = [&](const std::vector<float>& w_now, const std::vector<float>& b_now) {
    ASSERT_TRUE(context->run({x.view()}, {y.view()}).ok());
    for (size_t i = 0; i < 4; ++i) {
      EXPECT_EQ(y.data[i], -static_cast<float>(i) * w_now[i] + b_now[i]);
    }
  };
  expect(w, b);
  const std::vector<float> other = {21, 22, 23, 24}, bad = {5, 6, 7, -8}, good = {5, 6, 7, 8};
  EXPECT_EQ(engine->update_weights({test::weight_bytes(other), test::weight_bytes(bad)}).code(),
            "K4999");
  expect(w, b);
  ASSERT_TRUE(engine->update_weights({test::weight_bytes(other), test::weight_bytes(good)}).ok());
  expect(other, good);
}

TEST(Engine, WeightsThatDoNotFitThePlan) {
  EXPECT_EQ(Engine::create(affine_plan(), {}, {}).status().code(), "K3106");
  EnginePlan plan = affine_plan();
  plan.weights[0].dims = {int64_t{1} << 40, int64_t{1} << 40};
  EXPECT_EQ(
      Engine::create(plan, {test::weight_bytes(kW), test::weight_bytes(kB)}, {}).status().code(),
      "K3106");
  plan.weights[0].dims = {-4};
  EXPECT_EQ(
      Engine::create(plan, {test::weight_bytes(kW), test::weight_bytes(kB)}, {}).status().code(),
      "K3106");
}

TEST(Engine, PackingStepThatDoesNotPack) {
  PlanBuilder b;
  const PlanView x = b.input("x", {});
  b.weight("w", {});
  b.plan.init.slots.push_back({SlotKind::kOutput, DType::kF32, 0, -1, true});
  b.plan.init.steps.push_back(
      {"copy", {PlanView{0, {}, {}, 0}}, {PlanView{1, {}, {}, 0}}, Json::object(), "", ""});
  b.tile("neg", {x}, b.output("y", {}));
  EXPECT_EQ(Engine::create(b.plan, {test::weight_bytes({1})}, {}).status().code(), "K3107");
}

// --- what binding refuses in a plan from a damaged file

TEST(Engine, ViewsOutsideTheirSlots) {
  for (int which = 0; which < 6; ++which) {
    EnginePlan plan = double_plan({kS0});
    PlanView& view = which % 2 == 0 ? plan.main.steps[0].inputs[0] : plan.main.steps[0].outputs[0];
    if (which / 2 == 0) view.offset = 1;
    if (which / 2 == 1) view.offset = -1;
    if (which / 2 == 2) view.strides[0] = DimExpr(int64_t{1} << 62);
    auto engine = create(plan);
    Tensor x = Tensor::iota({3}), y = Tensor::filled({3}, 0);
    EXPECT_EQ(test::context_of(engine)->run({x.view()}, {y.view()}).code(), "K3110") << which;
  }
}

TEST(Engine, ResultOverItsOperand) {
  PlanBuilder b;
  const PlanView x = b.input("x", {4});
  const PlanView t = b.temp({6});
  PlanView head = t, tail = t;
  head.dims = tail.dims = {4};
  tail.offset = 2;
  b.copy(x, head);
  b.copy(head, tail);
  b.tile("neg", {tail}, b.output("y", {4}));
  auto context = test::context_of(create(b.plan));
  Tensor in = Tensor::iota({4}), out = Tensor::filled({4}, 0);
  EXPECT_EQ(context->run({in.view()}, {out.view()}).code(), "K3111");
}

TEST(Engine, SymbolsThatNothingDetermines) {
  EnginePlan plan = double_plan({kS0 * kS1});
  EXPECT_EQ(Engine::create(plan, {}, {}).status().code(), "K3105");
  plan = double_plan({kS0});
  plan.main.slots.push_back({SlotKind::kTemp, DType::kF32, kS1});
  auto engine = create(plan);
  Tensor x = Tensor::iota({3}), y = Tensor::filled({3}, 0);
  EXPECT_FALSE(test::context_of(engine)->run({x.view()}, {y.view()}).ok());
}

TEST(Engine, NegativeSizesFromExpressions) {
  PlanBuilder b;
  const PlanView x = b.input("x", {kS0});
  PlanView part = x;
  part.dims = {kS0 - 4};
  b.copy(part, b.output("y", {kS0 - 4}));
  auto context = test::context_of(create(b.plan));
  Tensor t = Tensor::iota({3}), y = Tensor::filled({1}, 0);
  EXPECT_EQ(context->infer_shapes({t.view()}).status().code(), "K4103");
  EXPECT_EQ(context->run({t.view()}, {y.view()}).code(), "K4103");
  Tensor five = Tensor::iota({5});
  EXPECT_TRUE(context->run({five.view()}, {y.view()}).ok());
}

TEST(Engine, BuffersTooLargeTogether) {
  PlanBuilder b;
  const PlanView x = b.input("x", {2});
  b.tile("neg", {x}, b.output("y", {2}));
  for (int i = 0; i < 100; ++i) b.temp({DimExpr(int64_t{1} << 44)});
  Tensor in = Tensor::iota({2}), out = Tensor::filled({2}, 0);
  EXPECT_EQ(test::context_of(create(b.plan))->run({in.view()}, {out.view()}).code(), "K4103");
}

}  // namespace
}  // namespace kiln

// Engines and contexts on a GPU that is none: where memory lies, streams, weights, states, faults.
#include <gmock/gmock.h>

#include "runtime/engine_reader.h"
#include "runtime/given_weights.h"
#include "runtime/state.h"
#include "unit/cuda_runtime/device_plan.h"

namespace kiln {
namespace {

using test::DevicePlan;
using test::DeviceTensor;
using ::testing::ElementsAre;

class DeviceEngine : public test::DevicePlanTest {
 protected:
  static StreamHandle stream(uintptr_t number) { return reinterpret_cast<StreamHandle>(number); }
};

// y = (x * 2) * 3
EnginePlan two_steps() {
  DevicePlan b;
  const PlanView x = b.input("x", {4}), between = b.temp({4});
  b.scale(x, between, 2);
  b.scale(between, b.output("y", {4}), 3);
  return b.plan;
}

TEST_F(DeviceEngine, RunsOnTheGivenStreamAndWaitsForNothing) {
  auto context = test::context_of(engine_of(two_steps()));
  DeviceTensor x = tensor({1, 2, 3, 4}), y = tensor({0, 0, 0, 0});
  context->set_stream(stream(5));
  expect_ok(context->run({x.view()}, {y.view()}));
  EXPECT_THAT(y.values(), ElementsAre(6, 12, 18, 24));
  driver().clear_log();
  expect_ok(context->run({x.view()}, {y.view()}));
  EXPECT_EQ(driver().count("synchronize"), 0u);
  EXPECT_EQ(driver().count("alloc"), 0u);
  EXPECT_EQ(driver().count("event"), 0u);
  // Another stream: its work comes after that of the one before.
  context->set_stream(stream(6));
  expect_ok(context->run({x.view()}, {y.view()}));
  EXPECT_EQ(driver().count("event"), 1u);
  EXPECT_EQ(driver().count("wait"), 1u);
}

TEST_F(DeviceEngine, GivesEverythingBack) {
  const size_t before = driver().live_blocks();
  {
    DevicePlan b;
    const PlanView x = b.input("x", {2}), between = b.temp({2});
    b.scale(x, between, 2);
    b.scale(between, b.output("y", {2}), 3);
    b.scale(b.scaled_weight("w", {2}, 2), b.output("z", {2}), 1);
    auto context = test::context_of(engine_of(b.plan, {test::weight_bytes({1, 2})}));
    DeviceTensor in = tensor({1, 2, 0, 0}), y = tensor({0, 0}), z = tensor({0, 0});
    for (int i = 0; i < 4; ++i) {
      TensorView view = in.view();
      const int64_t shape[] = {2};
      const int64_t strides[] = {2};
      view.shape = shape;
      view.strides = strides;
      context->set_stream(stream(static_cast<uintptr_t>(i) % 2));
      expect_ok(context->run({view}, {y.view(), z.view()}));
    }
    EXPECT_THAT(y.values(), ElementsAre(6, 0));
    EXPECT_THAT(z.values(), ElementsAre(2, 4));
  }
  EXPECT_EQ(driver().live_blocks(), before);
}

TEST_F(DeviceEngine, RefusesTensorsOfOtherDevices) {
  auto engine = engine_of(two_steps());
  auto context = test::context_of(engine);
  test::Tensor host({4}, {1, 2, 3, 4});
  DeviceTensor x = tensor({1, 2, 3, 4});
  EXPECT_EQ(context->run({host.view()}, {x.view()}).code(), "K4107");
  EXPECT_EQ(context->run({x.view()}, {host.view()}).code(), "K4109");
  auto other = device_runtime_for("cuda", 1);
  ASSERT_TRUE(other.ok());
  DeviceTensor there(**other, {4}, {1, 2, 3, 4});
  EXPECT_EQ(context->run({there.view()}, {x.view()}).code(), "K4107");
  EngineOptions options;
  options.device_index = 1;
  auto second = test::context_of(engine_of(two_steps(), {}, options));
  DeviceTensor y(**other, {4}, {0, 0, 0, 0});
  expect_ok(second->run({there.view()}, {y.view()}));
  EXPECT_THAT(y.values(), ElementsAre(6, 12, 18, 24));
}

TEST_F(DeviceEngine, WeightsThatAreThereAreBorrowed) {
  DevicePlan b;
  b.scale(b.weight("w", {2}), b.output("y", {2}), 2);
  DeviceTensor weight = tensor({3, 4});
  const WeightBytes here{weight.memory().get(), 8, weight.memory(), device_->device()};
  auto engine = engine_of(b.plan, {here});
  EXPECT_EQ(engine->constants()->constants[0].data, weight.memory().get());
  auto context = test::context_of(engine);
  DeviceTensor y = tensor({0, 0});
  expect_ok(context->run({}, {y.view()}));
  EXPECT_THAT(y.values(), ElementsAre(6, 8));
  // The host's are brought; so are ones that kernels could not read in wide pieces.
  auto brought = engine_of(b.plan, {test::weight_bytes({5, 6})});
  EXPECT_TRUE(driver().is_device(brought->constants()->constants[0].data));
  DeviceTensor longer = tensor({0, 7, 8});
  auto moved = engine_of(b.plan, {{static_cast<char*>(longer.memory().get()) + 4, 8,
                                   longer.memory(), device_->device()}});
  expect_ok(test::context_of(moved)->run({}, {y.view()}));
  EXPECT_THAT(y.values(), ElementsAre(14, 16));
}

TEST_F(DeviceEngine, UpdatesBringOnlyWhatChanged) {
  DevicePlan b;
  b.scale(b.weight("a", {2}), b.output("y", {2}), 1);
  b.scale(b.scaled_weight("b", {2}, 10), b.output("z", {2}), 1);
  auto engine = engine_of(b.plan, {test::weight_bytes({1, 2}), test::weight_bytes({3, 4})});
  auto context = test::context_of(engine);
  DeviceTensor y = tensor({0, 0}), z = tensor({0, 0});
  expect_ok(context->run({}, {y.view(), z.view()}));
  EXPECT_THAT(y.values(), ElementsAre(1, 2));
  EXPECT_THAT(z.values(), ElementsAre(30, 40));
  const void* a = engine->constants()->constants[0].data;
  WeightView host{"b", DType::kF32, {2}, nullptr, 8, nullptr};
  std::vector<float> values = {5, 6};
  host.data = values.data();
  driver().clear_log();
  expect_ok(engine->update_weights({host}));
  EXPECT_EQ(driver().count("memcpy"), 1u);
  EXPECT_EQ(engine->constants()->constants[0].data, a);
  expect_ok(context->run({}, {y.view(), z.view()}));
  EXPECT_THAT(z.values(), ElementsAre(50, 60));
  DeviceTensor fresh = tensor({7, 8});
  WeightView there{
      "a", DType::kF32, {2}, fresh.memory().get(), 8, fresh.memory(), device_->device()};
  expect_ok(engine->update_weights({there}));
  EXPECT_EQ(engine->constants()->constants[0].data, fresh.memory().get());
  expect_ok(context->run({}, {y.view(), z.view()}));
  EXPECT_THAT(y.values(), ElementsAre(7, 8));
  EXPECT_THAT(z.values(), ElementsAre(50, 60));
}

TEST_F(DeviceEngine, FixedWeightsOnADeviceAreCompared) {
  DevicePlan b;
  b.scale(b.weight("w", {2}), b.output("y", {2}), 2);
  const float values[] = {1, 2};
  b.plan.weights[0].fixed_hash = hash128(values, sizeof values).hex();
  auto engine = engine_of(b.plan, {test::weight_bytes({1, 2})});
  DeviceTensor same = tensor({1, 2}), other = tensor({1, 3});
  auto given = [&](DeviceTensor& t) {
    return WeightView{"w", DType::kF32, {2}, t.memory().get(), 8, t.memory(), device_->device()};
  };
  expect_ok(engine->update_weights({given(same)}));
  EXPECT_EQ(engine->update_weights({given(other)}).code(), "K3115");
}

TEST_F(DeviceEngine, OutputsOfOtherStridesAreCopiedByAKernel) {
  DevicePlan b;
  const PlanView x = b.input("x", {2, 3});
  b.scale(x, b.output("y", {2, 3}), 2);
  auto context = test::context_of(engine_of(b.plan));
  DeviceTensor in(*device_, {2, 3}, {1, 2, 3, 4, 5, 6}), out(*device_, {2, 3}, {0, 0, 0, 0, 0, 0});
  out.strides = {1, 2};
  expect_ok(context->run({in.view()}, {out.view()}));
  EXPECT_THAT(out.values(), ElementsAre(2, 8, 4, 10, 6, 12));
}

TEST_F(DeviceEngine, FaultsOfKernelsAreErrors) {
  auto context = test::context_of(engine_of(two_steps()));
  DeviceTensor x = tensor({1, 2, 3, 4}), bad = tensor({1, 2, 3, 2e6}), y = tensor({0, 0, 0, 0});
  expect_ok(context->run({x.view()}, {y.view()}));
  EXPECT_EQ(context->run({bad.view()}, {y.view()}).code(), "K4410");
  expect_ok(context->run({x.view()}, {y.view()}));
}

// total *= 2, written where it lies.
EnginePlan doubling() {
  DevicePlan b;
  const PlanView total = b.input("total", {2});
  b.plan.inputs[0].is_state = true;
  b.plan.weights.push_back({"total", DType::kF32, {2}});
  b.plan.inputs[0].initial = 0;
  b.scale(total, total, 2);
  b.write_back("total_new", 0);
  return b.plan;
}

TEST_F(DeviceEngine, StatesLieOnTheDevice) {
  auto program =
      Program::from_engine(engine_of(doubling(), {test::weight_bytes({1, 10})}), "{}", "{}");
  auto state = program->create_state();
  ASSERT_TRUE(state.ok()) << state.status().to_string();
  auto one = program->create_context(*state), two = program->create_context(*state);
  one->set_stream(stream(1));
  two->set_stream(stream(2));
  expect_ok(one->run({}, std::vector<TensorView>(1)));
  driver().clear_log();
  expect_ok(two->run({}, std::vector<TensorView>(1)));
  EXPECT_EQ(driver().count("wait"), 1u);  // for what the first one did to the state
  test::Tensor host({2}, {0, 0});
  expect_ok((*state)->get("total", host.view()));
  EXPECT_THAT(host.data, ElementsAre(4, 40));
  test::Tensor sparse({2}, {7, 0, 8});
  sparse.strides = {2};
  expect_ok((*state)->set("total", sparse.view()));
  DeviceTensor copy = tensor({0, 0});
  expect_ok((*state)->get("total", copy.view()));
  EXPECT_THAT(copy.values(), ElementsAre(7, 8));
  EXPECT_TRUE(driver().is_device((*state)->view("total")->data));
  expect_ok((*state)->reset());
  sparse.data = {0, 0, 0};
  expect_ok((*state)->get("total", sparse.view()));
  EXPECT_THAT(sparse.data, ElementsAre(1, 0, 10));
}

TEST_F(DeviceEngine, TheBestPlanForADevice) {
  EXPECT_EQ(device_->fitness("cpu:avx2"), -1);
  EXPECT_EQ(device_->fitness("cuda:sm_"), -1);
  EXPECT_EQ(device_->fitness("cuda:sm_9x"), -1);
  const int same = device_->fitness("cuda:sm_90"), older = device_->fitness("cuda:sm_80"),
            oldest = device_->fitness("cuda:sm_75"), newer = device_->fitness("cuda:sm_100"),
            newest = device_->fitness("cuda:sm_120");
  EXPECT_GT(same, older);
  EXPECT_GT(older, oldest);
  EXPECT_GT(oldest, newer);
  EXPECT_GT(newer, newest);
  EXPECT_GT(newest, cpu_device().fitness("cpu:amx"));
}

TEST_F(DeviceEngine, SaysWhyThereIsNoDevice) {
  EngineOptions options;
  options.device_index = 7;
  EXPECT_EQ(Engine::create(two_steps(), {}, options).status().code(), "K5302");
  cuda::set_kernel_compiler(nullptr);
  EnginePlan plan = two_steps();
  plan.kernels[0].params.set("never", "compiled");
  EXPECT_EQ(Engine::create(plan, {}, {}).status().code(), "K5309");
}

}  // namespace
}  // namespace kiln

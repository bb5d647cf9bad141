// What is recorded, what is patched, what is staged and what runs plain.
#include "backends/cuda/runtime/graph_replay.h"

#include <gmock/gmock.h>

#include "unit/cuda_runtime/device_plan.h"

namespace kiln {
namespace {

using test::DevicePlan;
using test::DeviceTensor;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class GraphReplayTest : public test::DevicePlanTest {
 protected:
  // Runs once with fresh tensors and checks y = x * factor.
  void run(ExecutionContext& context, float factor) {
    xs_.push_back(tensor({1, 2}));
    ys_.push_back(tensor({0, 0}));
    run_again(context, factor);
  }
  void run_again(ExecutionContext& context, float factor) {
    expect_ok(context.run({xs_.back().view()}, {ys_.back().view()}));
    EXPECT_THAT(ys_.back().values(), ElementsAre(factor, 2 * factor));
  }
  static const ReplayReport& report(ExecutionContext& context) {
    return *context.impl()->replay_report();
  }
  std::vector<DeviceTensor> xs_, ys_;  // kept, so that each has an address of its own
};

// y = x * 2 * 3 * 4
EnginePlan three_kernels() {
  DevicePlan b;
  const PlanView x = b.input("x", {2}), one = b.temp({2}), two = b.temp({2});
  b.scale(x, one, 2);
  b.scale(one, two, 3);
  b.scale(two, b.output("y", {2}), 4);
  return b.plan;
}

TEST_F(GraphReplayTest, RecordsAtTheSecondRunAndPatchesAddresses) {
  auto context = test::context_of(engine_of(three_kernels()));
  run(*context, 24);
  EXPECT_EQ(report(*context).plain_runs, 1);
  EXPECT_EQ(driver().count("graph launch"), 0u);
  run_again(*context, 24);
  EXPECT_EQ(report(*context).recordings, 1);
  EXPECT_EQ(report(*context).replays, 1);
  driver().clear_log();
  run_again(*context, 24);
  EXPECT_THAT(driver().log(), ElementsAre("graph launch", "launch test_scale", "launch test_scale",
                                          "launch test_scale"));
  EXPECT_EQ(report(*context).patches, 0);
  run(*context, 24);  // other tensors: the first and the last kernel have new addresses
  EXPECT_EQ(report(*context).patches, 2);
  EXPECT_EQ(report(*context).recordings, 1);
  EXPECT_EQ(report(*context).replays, 3);
  EXPECT_TRUE(report(*context).staged.empty());
  ASSERT_EQ(report(*context).spans.size(), 1u);
  EXPECT_EQ(report(*context).spans[0].plain, "");
}

TEST_F(GraphReplayTest, CanBeTurnedOff) {
  EngineOptions options;
  options.replay = false;
  auto context = test::context_of(engine_of(three_kernels(), {}, options));
  for (int i = 0; i < 3; ++i) run(*context, 24);
  EXPECT_EQ(context->impl()->replay_report(), nullptr);
  EXPECT_EQ(driver().count("graph launch"), 0u);
}

// A library's kernel reads the input: its address cannot be changed.
EnginePlan library_first() {
  DevicePlan b;
  const PlanView x = b.input("x", {2}), between = b.temp({2});
  b.library(x, between);
  b.scale(between, b.output("y", {2}), 5);
  return b.plan;
}

TEST_F(GraphReplayTest, StagesWhatALibraryReads) {
  auto context = test::context_of(engine_of(library_first()));
  run(*context, 5);
  for (int i = 0; i < 3; ++i) run_again(*context, 5);  // in place as long as it stays there
  EXPECT_EQ(report(*context).recordings, 1);
  EXPECT_TRUE(report(*context).staged.empty());
  run(*context, 5);
  EXPECT_EQ(report(*context).recordings, 2);
  ASSERT_EQ(report(*context).staged.size(), 1u);
  EXPECT_EQ(report(*context).staged[0].slot, 0);
  EXPECT_EQ(report(*context).staged[0].reason, "test:library");
  driver().clear_log();
  run(*context, 5);
  EXPECT_EQ(report(*context).recordings, 2);
  EXPECT_EQ(driver().count("alloc"), 2u);   // the test's own tensors
  EXPECT_EQ(driver().count("memcpy"), 2u);  // one to the fixed place, one in the graph
}

TEST_F(GraphReplayTest, StagesWhatALibraryWrites) {
  DevicePlan b;
  const PlanView x = b.input("x", {2}), between = b.temp({2});
  b.scale(x, between, 5);
  b.library(between, b.output("y", {2}));
  auto context = test::context_of(engine_of(b.plan));
  for (int i = 0; i < 4; ++i) run(*context, 5);
  ASSERT_EQ(report(*context).staged.size(), 1u);
  EXPECT_EQ(report(*context).staged[0].slot, 2);
  EXPECT_EQ(report(*context).replays, 3);
}

TEST_F(GraphReplayTest, AWrittenInputKeepsWhatIsNotWritten) {
  DevicePlan b;
  const PlanView x = b.input("x", {4}), between = b.temp({2});
  PlanView half = DevicePlan::view(x.slot, {2});
  b.scale(half, between, 3);
  b.library(between, half);  // x[:2] *= 3
  b.write_back("x_new", 0);
  auto context = test::context_of(engine_of(b.plan));
  for (int i = 0; i < 4; ++i) {
    DeviceTensor x_of_run = tensor({1, 2, 3, 4});
    xs_.push_back(x_of_run);
    expect_ok(context->run({x_of_run.view()}, std::vector<TensorView>(1)));
    EXPECT_THAT(x_of_run.values(), ElementsAre(3, 6, 3, 4));
  }
  EXPECT_EQ(report(*context).staged.size(), 1u);
}

TEST_F(GraphReplayTest, NewConstantsAreRecordedAgain) {
  DevicePlan b;
  const PlanView between = b.temp({2});
  b.input("x", {2});
  b.scale(b.weight("w", {2}), between, 2);
  b.scale(between, b.output("y", {2}), 1);
  auto engine = engine_of(b.plan, {test::weight_bytes({1, 2})});
  auto context = test::context_of(engine);
  for (int i = 0; i < 3; ++i) run(*context, 2);
  EXPECT_EQ(report(*context).recordings, 1);
  expect_ok(engine->update_weights(std::vector<WeightBytes>{test::weight_bytes({10, 20})}));
  run(*context, 20);
  EXPECT_EQ(report(*context).recordings, 2);
  run(*context, 20);
  EXPECT_EQ(report(*context).recordings, 2);
}

TEST_F(GraphReplayTest, ALargerShapeMovesTheMemoryOfASmallerOne) {
  DevicePlan b;
  const DimExpr n = DimExpr::symbol("n");
  b.plan.symbols["n"] = {1, 1000};
  const PlanView x = b.input("x", {n}), between = b.temp({n});
  b.scale(x, between, 2);
  b.scale(between, b.output("y", {n}), 3);
  auto context = test::context_of(engine_of(b.plan));
  for (int i = 0; i < 3; ++i) run(*context, 6);
  EXPECT_EQ(report(*context).recordings, 1);
  DeviceTensor large = tensor(std::vector<float>(500, 1)), out = tensor(std::vector<float>(500, 0));
  for (int i = 0; i < 2; ++i) {
    expect_ok(context->run({large.view()}, {out.view()}));
    EXPECT_EQ(out.values()[499], 6);
  }
  EXPECT_EQ(report(*context).recordings, 1);  // of the large shape
  run(*context, 6);
  EXPECT_EQ(report(*context).recordings, 2);
  run(*context, 6);
  EXPECT_EQ(report(*context).recordings, 2);
}

TEST_F(GraphReplayTest, SomebodyElsesRecordingIsNotDisturbed) {
  auto context = test::context_of(engine_of(three_kernels()));
  for (int i = 0; i < 2; ++i) run(*context, 24);
  const int64_t replays = report(*context).replays;
  driver().foreign_capture = true;
  xs_.push_back(tensor({1, 2}));
  ys_.push_back(tensor({0, 0}));
  driver().clear_log();
  context->set_stream(reinterpret_cast<void*>(uintptr_t{9}));
  run_again(*context, 24);
  EXPECT_THAT(driver().log(),
              ElementsAre("launch test_scale", "launch test_scale", "launch test_scale"));
  EXPECT_EQ(report(*context).replays, replays);
  driver().foreign_capture = false;
  run(*context, 24);
  EXPECT_EQ(report(*context).replays, replays + 1);
}

TEST_F(GraphReplayTest, WhatCannotBeRecordedRunsPlainAndSaysWhy) {
  auto context = test::context_of(engine_of(three_kernels()));
  run(*context, 24);
  driver().fail_next("cuGraphInstantiateWithFlags", 801);
  run(*context, 24);
  ASSERT_EQ(report(*context).spans.size(), 1u);
  EXPECT_THAT(report(*context).spans[0].plain, HasSubstr("cuGraphInstantiate"));
  run(*context, 24);
  EXPECT_EQ(driver().count("graph launch"), 0u);
}

TEST_F(GraphReplayTest, AFailedPatchLeavesNoOldAddressBehind) {
  auto context = test::context_of(engine_of(three_kernels()));
  for (int i = 0; i < 2; ++i) run(*context, 24);
  xs_.push_back(tensor({1, 2}));
  ys_.push_back(tensor({0, 0}));
  driver().fail_next("cuGraphExecKernelNodeSetParams", 1);
  EXPECT_EQ(context->run({xs_.back().view()}, {ys_.back().view()}).code(), "K5304");
  run_again(*context, 24);
  EXPECT_EQ(report(*context).recordings, 2);
}

TEST_F(GraphReplayTest, ASingleKernelIsNotWorthAGraph) {
  DevicePlan b;
  b.scale(b.input("x", {2}), b.output("y", {2}), 7);
  auto context = test::context_of(engine_of(b.plan));
  for (int i = 0; i < 3; ++i) run(*context, 7);
  EXPECT_EQ(report(*context).spans[0].plain, "a single kernel");
  EXPECT_EQ(report(*context).recordings, 0);
}

// x * 2 * 3, then a call of the host that adds one, then * 4 * 5.
struct DeviceObject : HostObject {
  explicit DeviceObject(DeviceTensor given) : tensor(std::move(given)) { view = tensor.view(); }
  DeviceTensor tensor;
};

class AddingHost : public Host {
 public:
  explicit AddingHost(DeviceRuntime& device) : device_(device) {}
  std::string name() const override { return "adding"; }
  Result<std::unique_ptr<HostCall>> prepare(const Call&, int, const Device& device) override {
    EXPECT_EQ(device, device_.device());
    class AddOne : public HostCall {
     public:
      explicit AddOne(AddingHost& host) : host_(host) {}
      Status run(const std::vector<HostOperand>& operands, const std::vector<int64_t>&,
                 const std::vector<HostExpected>&, void*,
                 std::vector<std::shared_ptr<HostObject>>& results) override {
        EXPECT_EQ(operands[0].view.device, host_.device_.device());
        const auto* from = static_cast<const float*>(operands[0].view.data);
        auto object = std::make_shared<DeviceObject>(
            DeviceTensor(host_.device_, {2}, {from[0] + 1, from[1] + 1}));
        host_.kept.push_back(object);
        results.push_back(std::move(object));
        return {};
      }

     private:
      AddingHost& host_;
    };
    return std::unique_ptr<HostCall>(new AddOne(*this));
  }
  std::vector<std::shared_ptr<HostObject>> kept;  // each result at an address of its own

 private:
  DeviceRuntime& device_;
};

EnginePlan around_a_call(bool library) {
  DevicePlan b;
  const PlanView x = b.input("x", {2}), one = b.temp({2}), two = b.temp({2}), four = b.temp({2});
  const PlanView added = DevicePlan::view(b.slot({SlotKind::kHost, DType::kF32, 2}), {2});
  b.scale(x, one, 2);
  b.scale(one, two, 3);
  Json params = Json::object();
  params.set("call", "aten::add_one(%0)");
  b.plan.main.steps.push_back({"host.call", {two}, {added}, params, "", "add_one"});
  if (library) {
    b.library(added, four);
  } else {
    b.scale(added, four, 1);
  }
  b.scale(four, b.output("y", {2}), 5);
  return b.plan;
}

TEST_F(GraphReplayTest, CallsOfTheHostRunBetweenSpans) {
  for (bool library : {false, true}) {
    AddingHost host(*device_);
    EngineOptions options;
    options.host = &host;
    auto context = test::context_of(engine_of(around_a_call(library), {}, options));
    for (int i = 0; i < 4; ++i) {
      xs_.push_back(tensor({1, 2}));
      ys_.push_back(tensor({0, 0}));
      expect_ok(context->run({xs_.back().view()}, {ys_.back().view()}));
      EXPECT_THAT(ys_.back().values(), ElementsAre(35, 65));
    }
    const ReplayReport& done = report(*context);
    ASSERT_EQ(done.spans.size(), 3u);
    EXPECT_THAT(done.spans[1].plain, HasSubstr("a call of the host"));
    EXPECT_EQ(done.spans[2].plain, "");
    EXPECT_EQ(done.replays, 6);
    EXPECT_EQ(done.staged.size(), library ? 1u : 0u);
  }
}

}  // namespace
}  // namespace kiln

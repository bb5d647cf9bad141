// State: what a program keeps from run to run, and outputs that are views.
#include <gmock/gmock.h>

#include <numeric>

#include "core/view_chain.h"
#include "runtime/execution.h"
#include "runtime/plan_run.h"
#include "unit/runtime/plan_builder.h"

namespace kiln {
namespace {

using test::PlanBuilder;
using test::Tensor;

// total += x, written where it is; y = total + total. `total` starts as a weight, `zeros` unused.
EnginePlan counting_plan() {
  PlanBuilder b;
  const PlanView x = b.input("x", {3}), total = b.input("block.total", {3});
  b.input("zeros", {2, 2});
  b.plan.weights.push_back({"block.total", DType::kF32, {3}});
  b.plan.inputs[1].is_state = b.plan.inputs[2].is_state = true;
  b.plan.inputs[1].initial = 0;
  b.tile("add", {total, x}, total);
  b.tile("add", {total, total}, b.output("y", {3}));
  b.write_back("total_new", 1);
  PlanOutput view;
  view.signature = {"last", DType::kF32, {2}, {}, false};
  view.kind = PlanOutput::Kind::kViewOfInput;
  view.target = 1;
  view.view = {{ViewOp::Kind::kSlice, {0, 1, 3, 1}}};
  b.plan.outputs.push_back(view);
  return b.plan;
}

std::shared_ptr<Program> counting_program() {
  auto engine = Engine::create(counting_plan(), {test::weight_bytes({10, 20, 30})}, {});
  EXPECT_TRUE(engine.ok()) << engine.status().to_string();
  return Program::from_engine(*engine, "{}", "{}");
}

std::vector<float> run(ExecutionContext& context, const Status& expected = {}) {
  Tensor x({3}, {1, 2, 3}), y = Tensor::filled({3}, 0);
  const Status status = context.run({x.view()}, {y.view(), TensorView(), TensorView()});
  EXPECT_EQ(status.code(), expected.code()) << status.to_string();
  return y.data;
}

TEST(State, EachContextHasItsOwn) {
  auto program = counting_program();
  ASSERT_EQ(program->inputs().size(), 1u);
  ASSERT_EQ(program->state_infos().size(), 2u);
  EXPECT_EQ(program->state_infos()[0].name, "block.total");
  EXPECT_EQ(program->outputs()[1].role, TensorInfo::Role::kWritesInput);
  EXPECT_EQ(program->outputs()[1].target, 1);
  auto one = program->create_context(), two = program->create_context();
  EXPECT_EQ(run(*one), (std::vector<float>{22, 44, 66}));
  EXPECT_EQ(run(*one), (std::vector<float>{24, 48, 72}));
  EXPECT_EQ(run(*two), (std::vector<float>{22, 44, 66}));
}

TEST(State, SharedReadWrittenAndReset) {
  auto program = counting_program();
  auto made = program->create_state();
  ASSERT_TRUE(made.ok());
  std::shared_ptr<State> state = *made;
  auto one = program->create_context(state), two = program->create_context(state);
  run(*one);
  EXPECT_EQ(run(*two), (std::vector<float>{24, 48, 72}));
  Tensor value = Tensor::filled({3}, 0), zeros = Tensor::filled({2, 2}, 5);
  ASSERT_TRUE(state->get("block.total", value.view()).ok());
  EXPECT_EQ(value.data, (std::vector<float>{12, 24, 36}));
  ASSERT_TRUE(state->get("zeros", zeros.view()).ok());
  EXPECT_EQ(zeros.data, (std::vector<float>{0, 0, 0, 0}));
  Tensor strided = Tensor::iota({3, 2});
  strided.shape = {3};
  strided.strides = {2};
  ASSERT_TRUE(state->set("block.total", strided.view()).ok());  // 0, 2, 4
  EXPECT_EQ(run(*one), (std::vector<float>{2, 8, 14}));
  ASSERT_TRUE(state->reset().ok());
  EXPECT_EQ(run(*one), (std::vector<float>{22, 44, 66}));
  EXPECT_EQ(state->get("total", value.view()).code(), "K4116");
  EXPECT_EQ(state->set("block.total", zeros.view()).code(), "K4117");
  EXPECT_EQ(state->view("total").status().code(), "K4116");
}

TEST(State, OfAnotherProgram) {
  PlanBuilder b;
  const PlanView x = b.input("x", {3});
  const PlanView other = b.input("other", {3});
  b.plan.inputs[1].is_state = true;
  b.tile("add", {x, other}, b.output("y", {3}));
  auto engine = Engine::create(b.plan, {}, {});
  ASSERT_TRUE(engine.ok()) << engine.status().to_string();
  auto state = Program::from_engine(*engine, "{}", "{}")->create_state();
  ASSERT_TRUE(state.ok());
  auto context = counting_program()->create_context(*state);
  run(*context, Status::error("K4116", ""));
}

TEST(State, GivenByTheCallerInPlaceOfTheContexts) {
  auto context = counting_program()->create_context();
  Tensor x({3}, {1, 2, 3}), total({3}, {0, 0, 0}), zeros = Tensor::filled({2, 2}, 0),
                                                   y = Tensor::filled({3}, 0);
  auto outputs = context->run({x.view(), total.view(), zeros.view()},
                              [&](int, const TensorSpec&, size_t) { return y.data.data(); });
  ASSERT_TRUE(outputs.ok()) << outputs.status().to_string();
  EXPECT_EQ(total.data, (std::vector<float>{1, 2, 3}));
  EXPECT_EQ((*outputs)[1].data, total.data.data());
  EXPECT_EQ((*outputs)[2].data, total.data.data() + 1);
  EXPECT_EQ((*outputs)[2].shape[0], 2);
}

TEST(State, BadPlansAreRefused) {
  const std::pair<const char*, void (*)(EnginePlan&)> broken[] = {
      {"starts from no weight", [](EnginePlan& p) { p.inputs[1].initial = 7; }},
      {"another type", [](EnginePlan& p) { p.weights[0].dims = {4}; }},
      {"another type", [](EnginePlan& p) { p.weights[0].dtype = DType::kF64; }},
      {"comes after state", [](EnginePlan& p) { p.inputs[2].is_state = false; }},
      {"is no state", [](EnginePlan& p) { p.inputs[0].initial = 0; }},
      {"repeats the name", [](EnginePlan& p) { p.inputs[2].name = "block.total"; }},
      {"no fixed size",
       [](EnginePlan& p) {
         p.inputs[2].dims = {DimExpr::symbol("s"), 2};
       }},
      {"read-only", [](EnginePlan& p) { p.outputs.erase(p.outputs.begin() + 1); }},
      {"does not fit", [](EnginePlan& p) { p.outputs[2].view[0].args[0] = 1; }},
      {"does not fit", [](EnginePlan& p) { p.outputs[2].view[0].args.pop_back(); }},
      {"does not fit",
       [](EnginePlan& p) {
         p.outputs[2].signature.dims = {2, 2};
       }},
      {"no view", [](EnginePlan& p) { p.outputs[0].view = p.outputs[2].view; }},
      {"refers to no input", [](EnginePlan& p) { p.outputs[2].target = 3; }},
      {"view of no result",
       [](EnginePlan& p) {
         p.outputs[2].kind = PlanOutput::Kind::kViewOfOutput;
         p.outputs[2].target = 2;
       }},
  };
  ASSERT_TRUE(verify(counting_plan()).ok());
  for (const auto& [what, change] : broken) {
    EnginePlan plan = counting_plan();
    change(plan);
    const Status status = verify(plan);
    EXPECT_EQ(status.code(), "K3101") << what;
    EXPECT_THAT(status.message(), testing::HasSubstr(what));
  }
  const Json json = to_json(counting_plan());
  const auto again = engine_plan_from_json(json);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(to_json(*again), json);
  EXPECT_EQ(again->inputs[1].initial, 0);
  EXPECT_EQ(again->outputs[2].view, counting_plan().outputs[2].view);
}

// Views whose sizes depend on symbols may lie: they are checked when the sizes are known.
TEST(State, ViewsThatLeaveTheirInputAreRefusedAtRun) {
  for (const DimExpr& end : {DimExpr(5), DimExpr::symbol("s0") + 1}) {
    PlanBuilder b;
    b.plan.symbols = {{"s0", {1, 4}}};
    const DimExpr s0 = DimExpr::symbol("s0");
    const PlanView x = b.input("x", {s0});
    b.tile("neg", {x}, b.output("y", {s0}));
    PlanOutput view;
    view.signature = {"v", DType::kF32, {end}, {}, false};
    view.kind = PlanOutput::Kind::kViewOfInput;
    view.target = 0;
    view.view = {{ViewOp::Kind::kSlice, {0, 0, end, 1}}};
    b.plan.outputs.push_back(view);
    auto engine = Engine::create(b.plan, {}, {});
    ASSERT_TRUE(engine.ok()) << engine.status().to_string();
    Tensor t = Tensor::iota({4}), y = Tensor::filled({4}, 0);
    const auto outputs = test::context_of(*engine)->run(
        {t.view()}, [&](int, const TensorSpec&, size_t) { return y.data.data(); });
    EXPECT_EQ(outputs.status().code(), "K4103");
  }
}

TEST(State, ViewsOfOutputsAndCopiesOfViews) {
  PlanBuilder b;
  const PlanView x = b.input("x", {2, 3});
  b.tile("neg", {x}, b.output("y", {2, 3}));
  PlanOutput view;
  view.signature = {"t", DType::kF32, {3, 2}, {}, false};
  view.kind = PlanOutput::Kind::kViewOfOutput;
  view.target = 0;
  view.view = {{ViewOp::Kind::kPermute, {1, 0}}};
  b.plan.outputs.push_back(view);
  auto engine = Engine::create(b.plan, {}, {});
  ASSERT_TRUE(engine.ok()) << engine.status().to_string();
  auto context = test::context_of(*engine);
  Tensor in = Tensor::iota({2, 3}), y = Tensor::filled({2, 3}, 0), t = Tensor::filled({3, 2}, 0);
  auto outputs =
      context->run({in.view()}, [&](int, const TensorSpec&, size_t) { return y.data.data(); });
  ASSERT_TRUE(outputs.ok());
  EXPECT_EQ((*outputs)[1].data, y.data.data());
  EXPECT_EQ((*outputs)[1].strides[0], 1);
  EXPECT_EQ((*outputs)[1].strides[1], 3);
  ASSERT_TRUE(context->run({in.view()}, {y.view(), t.view()}).ok());
  EXPECT_EQ(t.data, (std::vector<float>{0, -3, -1, -4, -2, -5}));
}

TEST(ViewChain, OnStridesOfAnyKind) {
  const auto window = [](std::vector<ConcreteViewOp> ops, StridedWindow from) {
    const Status status = apply_views(ops, &from);
    return status.ok() ? from : StridedWindow{{}, {}, -1};
  };
  using Kind = ViewOp::Kind;
  // The transpose of a 4x6 matrix in a larger buffer.
  const StridedWindow t{{6, 4}, {1, 10}, 3};
  EXPECT_EQ(window({{Kind::kSlice, {0, 1, 6, 2}}}, t).offset, 4);
  EXPECT_EQ(window({{Kind::kSlice, {0, 1, 6, 2}}}, t).strides, (std::vector<int64_t>{2, 10}));
  EXPECT_EQ(window({{Kind::kReshape, {2, 3, 4}}}, t).strides, (std::vector<int64_t>{3, 1, 10}));
  EXPECT_EQ(window({{Kind::kReshape, {24}}}, t).offset, -1);
  EXPECT_EQ(window({{Kind::kExpand, {2, 6, 4}}}, t).strides, (std::vector<int64_t>{0, 1, 10}));
  EXPECT_EQ(window({{Kind::kExpand, {6, 5}}}, t).offset, -1);
  EXPECT_EQ(window({{Kind::kPermute, {1, 1}}}, t).offset, -1);
  EXPECT_EQ(window({{Kind::kSlice, {0, 1, 7, 1}}}, t).offset, -1);
  EXPECT_EQ(window({{Kind::kSlice, {0, 6, 6, 1}}}, t).offset, 3) << "nothing is at 6";
  EXPECT_EQ(window({{Kind::kReshape, {-1, -24}}}, t).offset, -1);
}

// Steps that touch a place which one of them writes are a chain, directly or through others; those
// that read the same input are not.
TEST(PlanChains, WhoSharesAPlaceThatIsWritten) {
  Plan plan;
  for (SlotKind kind : {SlotKind::kInput, SlotKind::kTemp, SlotKind::kTemp, SlotKind::kOutput,
                        SlotKind::kOutput, SlotKind::kOutput}) {
    plan.slots.push_back({kind, DType::kF32, 4});
  }
  const auto step = [&](const std::vector<int>& in, int out) {
    StepDesc desc{"copy", {}, {{out, {4}, {1}, 0}}, Json::object(), "", ""};
    for (int slot : in) desc.inputs.push_back({slot, {4}, {1}, 0});
    plan.steps.push_back(std::move(desc));
  };
  step({0}, 1);
  step({0}, 4);
  step({0}, 2);
  step({1}, 3);
  step({0}, 4);
  step({2, 0}, 5);
  EXPECT_EQ(plan_chains(plan), (std::vector<int>{0, 1, 2, 0, 1, 2}));
  step({1, 2}, 3);
  EXPECT_EQ(plan_chains(plan), (std::vector<int>{0, 1, 0, 0, 1, 0, 0}));
}

}  // namespace
}  // namespace kiln

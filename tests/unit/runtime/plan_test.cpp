// verify() and the JSON form of plans.
#include "runtime/plan.h"

#include <gmock/gmock.h>

#include "unit/runtime/plan_builder.h"

namespace kiln {
namespace {

using test::PlanBuilder;
using testing::HasSubstr;

const DimExpr kS0 = DimExpr::symbol("s0");

EnginePlan sample() {
  PlanBuilder b;
  b.plan.symbols = {{"s0", {2, 100}}, {"big", {0, DimRange::kNoBound}}};
  const PlanView x = b.input("x", {kS0, 4}), state = b.input("state", {kS0, 4});
  b.plan.conditions = {{SizeRelation::kEq, DimExpr::mod(kS0, 2), 0, "x.size(0) % 2 == 0"},
                       {SizeRelation::kLe, 3 * kS0, DimExpr::symbol("big"), "\"three\" times"}};
  b.plan.inputs[0].order = {1, 0};
  b.plan.inputs[0].strides = {1, kS0};
  const PlanView w = b.weight("w", {4}), c = b.computed("v", {4}, "exp");
  const PlanView t = b.temp({kS0, 4});
  b.tile("mul", {x, w}, t);
  b.tile("add", {t, c}, b.output("y", {kS0, 4}));
  b.write_back("state_new", 1);
  b.copy(t, state);
  b.plan.main.steps[0].origin = "layer \"1\" (model.py:3)";
  return b.plan;
}

TEST(Plan, JsonRoundTrip) {
  EnginePlan plan = sample();
  PlanOutput view;
  view.signature = plan.inputs[0];
  view.kind = PlanOutput::Kind::kViewOfInput;
  view.target = 0;
  plan.outputs.push_back(view);
  PlanOutput number;
  number.signature.is_object = true;
  number.signature.scalar = DType::kF64;
  plan.outputs.push_back(number);
  plan.inputs.push_back({"opaque", DType::kF32, {}, {}, true});
  plan.main.slots.push_back({SlotKind::kObject, DType::kI64, 0, 2});
  plan.main.slots.push_back({SlotKind::kHost, DType::kBF16, kS0 * kS0 - 3});
  plan.init.slots.push_back({SlotKind::kOutput, DType::kF32, 0, -1, true});
  const Json json = to_json(plan);
  const auto again = engine_plan_from_json(json);
  ASSERT_TRUE(again.ok()) << again.status().to_string();
  EXPECT_EQ(to_json(*again), json);
  EXPECT_EQ(to_json(*again).dump(), json.dump());
  EXPECT_EQ(again->symbols, plan.symbols);
  EXPECT_EQ(again->conditions, plan.conditions);
  EXPECT_EQ(again->outputs.back().signature.scalar, DType::kF64);
  EXPECT_EQ(again->inputs[0].order, plan.inputs[0].order);
  EXPECT_EQ(again->inputs[0].strides, plan.inputs[0].strides);
  EXPECT_EQ(again->main.slots.back().num_elements, plan.main.slots.back().num_elements);
  EXPECT_EQ(again->main.steps[0].origin, plan.main.steps[0].origin);
  const auto parsed = parse_json(json.dump());
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(*parsed, json);
}

TEST(Plan, SampleIsValid) { EXPECT_TRUE(verify(sample()).ok()) << verify(sample()).to_string(); }

struct Broken {
  const char* what;  // part of the message
  void (*change)(EnginePlan&);
};

class PlanVerify : public testing::TestWithParam<Broken> {};

TEST_P(PlanVerify, Refuses) {
  EnginePlan plan = sample();
  GetParam().change(plan);
  const Status status = verify(plan);
  EXPECT_EQ(status.code(), "K3101");
  EXPECT_THAT(status.message(), HasSubstr(GetParam().what));
}

const Broken kBroken[] = {
    {"no kind of number", [](EnginePlan& p) { p.outputs[0].signature.scalar = DType::kF32; }},
    {"unknown symbol: s1", [](EnginePlan& p) { p.conditions[1].right = DimExpr::symbol("s1"); }},
    {"names no slot", [](EnginePlan& p) { p.main.steps[0].inputs[0].slot = 99; }},
    {"names no slot", [](EnginePlan& p) { p.main.steps[0].outputs[0].slot = -1; }},
    {"wrong rank", [](EnginePlan& p) { p.main.steps[0].inputs[0].strides.pop_back(); }},
    {"was not written", [](EnginePlan& p) { std::swap(p.main.steps[0], p.main.steps[1]); }},
    {"read-only", [](EnginePlan& p) { p.main.steps[0].outputs[0].slot = 0; }},
    {"read-only", [](EnginePlan& p) { p.main.steps[0].outputs[0].slot = 2; }},
    {"read-only", [](EnginePlan& p) { p.init.steps[0].outputs[0].slot = 0; }},
    {"never written", [](EnginePlan& p) { p.main.steps.erase(p.main.steps.begin() + 1); }},
    {"no such position", [](EnginePlan& p) { p.main.slots[0].index = 7; }},
    {"no such position", [](EnginePlan& p) { p.main.slots[0].index = -1; }},
    {"repeats a position", [](EnginePlan& p) { p.main.slots[1].index = 0; }},
    {"never computed", [](EnginePlan& p) { p.constants[0] = 55; }},
    {"another kind", [](EnginePlan& p) { p.main.slots[2].packed = true; }},
    {"cannot be packed", [](EnginePlan& p) { p.main.slots[4].packed = true; }},
    {"never computed", [](EnginePlan& p) { p.init.steps.clear(); }},
    {"input's signature", [](EnginePlan& p) { p.main.slots[0].num_elements = 3; }},
    {"input's signature", [](EnginePlan& p) { p.main.slots[0].dtype = DType::kF64; }},
    {"output's signature", [](EnginePlan& p) { p.main.slots[5].num_elements = 3; }},
    {"no permutation",
     [](EnginePlan& p) {
       p.inputs[0].order = {0, 0};
     }},
    {"no permutation",
     [](EnginePlan& p) {
       p.inputs[0].order = {0, 2};
     }},
    {"no permutation", [](EnginePlan& p) { p.outputs[0].signature.order = {0}; }},
    {"too many dims", [](EnginePlan& p) { p.inputs[0].dims.assign(17, 1); }},
    {"refers to no input", [](EnginePlan& p) { p.outputs[1].target = 5; }},
    {"refers to no input", [](EnginePlan& p) { p.outputs[1].target = -1; }},
    {"is a constant", [](EnginePlan& p) { p.init.slots[0].kind = SlotKind::kConstant; }},
    {"init plans do not have", [](EnginePlan& p) { p.init.slots[2].kind = SlotKind::kHost; }},
    {"init plans do not have", [](EnginePlan& p) { p.init.slots[2].kind = SlotKind::kObject; }},
    {"calls the host",
     [](EnginePlan& p) {
       p.init.steps.push_back({"host.call", {}, {}, Json::object(), "", ""});
     }},
    {"wrong kind", [](EnginePlan& p) { p.main.steps[0].kind = "host.call"; }},
    {"no such position",
     [](EnginePlan& p) {
       p.main.slots.push_back({SlotKind::kObject, DType::kI64, 0, 1000});
     }},
    {"takes a host object", [](EnginePlan& p) { p.main.slots[4].kind = SlotKind::kObject; }},
};

INSTANTIATE_TEST_SUITE_P(All, PlanVerify, testing::ValuesIn(kBroken));

TEST(Plan, JsonOfWrongKind) {
  const Json good = to_json(sample());
  ASSERT_TRUE(engine_plan_from_json(good).ok());
  for (const char* key :
       {"target", "symbols", "weights", "inputs", "outputs", "constants", "init", "main"}) {
    for (const Json& wrong : {Json(), Json(3), Json("text"), Json(Json::Array{Json(1)}),
                              Json(Json::Array{Json("x")}), Json(Json::Array{Json::object()})}) {
      if (good.find(key)->kind() == wrong.kind() && !wrong.is_array()) continue;
      if (std::string(key) == "constants" && wrong.is_array() && wrong[0].is_int()) continue;
      Json json = good;
      json.set(key, wrong);
      EXPECT_FALSE(engine_plan_from_json(json).ok()) << key << " " << wrong.dump();
    }
  }
  EXPECT_FALSE(engine_plan_from_json(Json()).ok());
}

}  // namespace
}  // namespace kiln

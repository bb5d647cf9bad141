// Plans from strangers: whatever the params and views of a oneDNN step say, the answer is a typed
// error or a run that stays inside its buffers.
#include <gtest/gtest.h>

#include <functional>

#include "backends/cpu/runtime/dnnl_api.h"
#include "unit/cpu_compile/lowered_program.h"

namespace kiln {
namespace {

using cpu_compile_test::bytes_of;
using cpu_compile_test::lower;
using cpu_compile_test::Program;

class DnnlHostileParams : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto api = dnnl_api();
    if (api.ok()) return;
    if (api.status().code() == "K5101") GTEST_SKIP() << api.status().to_string();
    FAIL() << api.status().to_string();
  }
};

StepDesc& step_of(Plan& plan, const std::string& kind) {
  for (StepDesc& step : plan.steps) {
    if (step.kind == kind) return step;
  }
  ADD_FAILURE() << "no step " << kind;
  return plan.steps.at(0);
}

// The code with which loading or running the damaged plan ends; "" when it runs.
std::string outcome(Program& program, const std::function<void(EnginePlan&)>& damage) {
  EnginePlan plan = program.plan;
  damage(plan);
  auto engine = Engine::create(plan, bytes_of(program), {});
  if (!engine.ok()) return engine.status().code();
  Program damaged;
  damaged.engine = std::move(engine).value();
  const auto result =
      cpu_compile_test::run(damaged, cpu_compile_test::random_inputs(program, {}));
  return result.ok() ? "" : result.status().code();
}

Json* find(Json& json, std::initializer_list<const char*> path) {
  Json* at = &json;
  for (const char* key : path) {
    at = at->as_object().find(key);
    if (at == nullptr) ADD_FAILURE() << "no member " << key;
  }
  return at;
}

Program conv_program() {
  return lower(R"(
weights { %w0 = parameter "w" : f32[8,4,3,3] %w1 = parameter "b" : f32[8] }
init { const %c0 = %w0 : f32[8,4,3,3] const %c1 = %w1 : f32[8] }
main(%x: f32[2,4,6,6], %r: f32[2,8,6,6]) {
  %0 = conv(%x, %c0, %c1) {padding=[1,1]} : f32[2,8,6,6]
  %1 = add(%0, %r) : f32[2,8,6,6]
  return %1
})",
               "assign_layouts,fuse_epilogues");
}

TEST_F(DnnlHostileParams, Convolution) {
  Program p = conv_program();
  ASSERT_NE(p.engine, nullptr);
  ASSERT_EQ(outcome(p, [](EnginePlan&) {}), "");
  auto conv = [](EnginePlan& plan) -> StepDesc& { return step_of(plan.main, "dnnl.conv"); };
  auto set = [&](std::initializer_list<const char*> path, Json value) {
    return outcome(p, [&](EnginePlan& plan) { *find(conv(plan).params, path) = value; });
  };
  const Json huge(int64_t{1} << 62);
  EXPECT_EQ(set({"conv"}, Json(3)), "K3220");
  EXPECT_EQ(set({"bias"}, Json(3)), "K3012");
  EXPECT_EQ(set({"bias"}, Json(false)), "K3221");
  EXPECT_EQ(set({"conv", "groups"}, Json(0)), "K3012");
  EXPECT_EQ(set({"conv", "groups"}, Json(3)), "K3220");
  EXPECT_EQ(set({"conv", "groups"}, huge), "K3012");
  EXPECT_EQ(set({"conv", "stride"}, Json(std::vector<int64_t>{0, 1})), "K3220");
  EXPECT_EQ(set({"conv", "stride"}, Json(std::vector<int64_t>{1})), "K3220");
  EXPECT_EQ(set({"conv", "stride"}, Json(std::vector<int64_t>{2, 2})), "K3221");
  EXPECT_EQ(set({"conv", "padding_begin"}, Json(std::vector<int64_t>{-1, 0})), "K3220");
  EXPECT_EQ(set({"conv", "padding_end"}, Json(std::vector<int64_t>{2, 1})), "K3221");
  EXPECT_EQ(set({"conv", "dilation"}, Json(std::vector<int64_t>{2, 1})), "K3221");
  EXPECT_EQ(set({"conv", "weights"}, Json(std::vector<int64_t>{8, 4, 5, 5})), "K3220");
  EXPECT_EQ(set({"conv", "weights"}, Json(std::vector<int64_t>{1 << 30, 1 << 30, 1 << 20, 1})),
            "K3220");
  EXPECT_EQ(set({"conv", "transposed"}, Json(true)), "K3220");
  EXPECT_EQ(set({"pack", "src"}, Json(std::vector<int64_t>{1 << 30, 4, 1 << 30, 1 << 30})),
            "K3220");
  EXPECT_EQ(set({"pack", "src"}, Json(std::vector<int64_t>{2, 5, 6, 6})), "K3220");
  EXPECT_EQ(set({"pack", "threads"}, Json(0)), "K3012");
  EXPECT_EQ(set({"pack", "dtype"}, Json("f64")), "K3220");
  EXPECT_EQ(set({"pack", "tensors"}, Json::array()), "K3220");
  // Another question than the packing step's.
  EXPECT_EQ(set({"pack", "src"}, Json(std::vector<int64_t>{1, 4, 6, 6})), "K3220");
  EXPECT_EQ(set({"post_ops"}, Json::array()), "K3221");
  EXPECT_EQ(outcome(p, [&](EnginePlan& plan) { conv(plan).params.set("surprise", Json(1)); }),
            "K3220");
  for (const char* kind : {"sum", "nonsense"}) {
    Json op = Json::object();
    op.set("kind", kind);
    EXPECT_EQ(set({"post_ops"}, Json(Json::Array{op})), "K3220");
  }
  // More tensors than operands; a post-op without one.
  Json add = Json::object();
  add.set("kind", "add");
  EXPECT_EQ(set({"post_ops"}, Json(Json::Array{add, add})), "K3221");
}

TEST_F(DnnlHostileParams, ConvolutionViews) {
  Program p = conv_program();
  ASSERT_NE(p.engine, nullptr);
  auto damage = [&](const std::function<void(StepDesc&)>& change) {
    return outcome(p, [&](EnginePlan& plan) { change(step_of(plan.main, "dnnl.conv")); });
  };
  EXPECT_EQ(damage([](StepDesc& s) { s.inputs.pop_back(); }), "K3221");
  EXPECT_EQ(damage([](StepDesc& s) { s.inputs.resize(1); }), "K3221");
  EXPECT_EQ(damage([](StepDesc& s) { s.inputs.push_back(s.inputs[0]); }), "K3221");
  EXPECT_EQ(damage([](StepDesc& s) { s.outputs.push_back(s.outputs[0]); }), "K3221");
  EXPECT_EQ(damage([](StepDesc& s) { std::swap(s.inputs[0], s.inputs[1]); }), "K3221");
  EXPECT_EQ(damage([](StepDesc& s) { s.inputs[1] = s.inputs[0]; }), "K3222");
  EXPECT_EQ(damage([](StepDesc& s) { s.inputs[2] = s.inputs[0]; }), "K3221");
  EXPECT_EQ(damage([](StepDesc& s) { s.inputs[2].dims[0] = 7; }), "K3221");
  EXPECT_EQ(damage([](StepDesc& s) { s.inputs[2].strides[0] = 0; }), "K3221");
  EXPECT_EQ(damage([](StepDesc& s) { s.inputs[0].dims[2] = 5; }), "K3221");
  EXPECT_EQ(damage([](StepDesc& s) { s.outputs[0].dims[0] = 1; }), "K3221");
  EXPECT_EQ(damage([](StepDesc& s) { s.inputs[3].dims[3] = 5; }), "K4601");
  EXPECT_EQ(damage([](StepDesc& s) { s.inputs[0].strides[0] = 0; }), "K4601");
  EXPECT_EQ(damage([](StepDesc& s) { s.inputs[0].strides[0] = 100000; }), "K3110");
  EXPECT_EQ(damage([](StepDesc& s) { s.inputs[0].offset = 1; }), "K3110");
  EXPECT_EQ(damage([](StepDesc& s) { s.inputs[1].offset = 64; }), "K3101");
}

TEST_F(DnnlHostileParams, PackingSteps) {
  Program p = conv_program();
  ASSERT_NE(p.engine, nullptr);
  auto damage = [&](const std::function<void(EnginePlan&, StepDesc&)>& change) {
    return outcome(p, [&](EnginePlan& plan) {
      change(plan, step_of(plan.init, "dnnl.pack_conv"));
    });
  };
  // The same step twice, each with its own idea of the size.
  EXPECT_EQ(damage([](EnginePlan& plan, StepDesc& s) {
              const StepDesc copy = s;
              plan.init.steps.push_back(copy);
            }),
            "K3101");
  // Packed with another question: the bytes do not fit the convolution.
  EXPECT_EQ(damage([](EnginePlan&, StepDesc& s) {
              *s.params.as_object().find("src") = Json(std::vector<int64_t>{2, 4, 9, 9});
              *s.params.as_object().find("tensors") =
                  Json(Json::Array{Json(std::vector<int64_t>{2, 8, 9, 9})});
            }),
            "K3222");
  // Factors that are none: of another number, not side by side, too many operands.
  const auto factors = [](StepDesc& s, std::vector<DimExpr> dims, std::vector<DimExpr> strides) {
    PlanView view = s.inputs[0];
    view.dims = std::move(dims);
    view.strides = std::move(strides);
    s.inputs.push_back(std::move(view));
  };
  EXPECT_EQ(damage([&](EnginePlan&, StepDesc& s) { factors(s, {8}, {1}); }), "");
  EXPECT_EQ(damage([&](EnginePlan&, StepDesc& s) { factors(s, {7}, {1}); }), "K3221");
  EXPECT_EQ(damage([&](EnginePlan&, StepDesc& s) { factors(s, {8}, {2}); }), "K3221");
  EXPECT_EQ(damage([&](EnginePlan&, StepDesc& s) { factors(s, {8, 1}, {1, 1}); }), "K3221");
  EXPECT_EQ(damage([&](EnginePlan&, StepDesc& s) {
              factors(s, {8}, {1});
              factors(s, {8}, {1});
            }),
            "K3221");
  // Weights of another shape; a plain output, which is too small.
  EXPECT_EQ(damage([](EnginePlan&, StepDesc& s) { s.inputs[0].dims[0] = 7; }), "K3221");
  EXPECT_EQ(damage([](EnginePlan& plan, StepDesc& s) {
              Slot plain{SlotKind::kTemp, DType::kF32, 1};
              plan.init.slots.push_back(plain);
              StepDesc copy = s;
              copy.outputs[0].slot = static_cast<int>(plan.init.slots.size()) - 1;
              plan.init.steps.push_back(copy);
            }),
            "K3221");
  EXPECT_EQ(damage([](EnginePlan& plan, StepDesc& s) {
              Slot plain{SlotKind::kOutput, DType::kF32, 1};
              plan.init.slots.push_back(plain);
              StepDesc copy = s;
              copy.outputs[0].slot = static_cast<int>(plan.init.slots.size()) - 1;
              plan.init.steps.push_back(copy);
            }),
            "K3221");
  // Reading packed bytes as numbers.
  EXPECT_EQ(damage([](EnginePlan& plan, StepDesc& s) {
              StepDesc copy{"copy", {s.outputs[0]}, {s.outputs[0]}, Json::object(), "", ""};
              plan.init.steps.push_back(copy);
            }),
            "K3101");
}

TEST_F(DnnlHostileParams, Matmul) {
  Program p = lower(R"(
weights { %w0 = parameter "w" : f32[8,4] %w1 = parameter "b" : f32[8] }
init { const %c0 = %w0 : f32[8,4] const %c1 = %w1 : f32[8] }
main(%x: f32[5,4], %r: f32[5,8]) {
  %0 = linear(%x, %c0, %c1) : f32[5,8]
  %1 = add(%0, %r) : f32[5,8]
  return %1
})",
                    "assign_layouts,fuse_epilogues");
  ASSERT_NE(p.engine, nullptr);
  ASSERT_EQ(outcome(p, [](EnginePlan&) {}), "");
  auto matmul = [](EnginePlan& plan) -> StepDesc& { return step_of(plan.main, "dnnl.matmul"); };
  auto set = [&](std::initializer_list<const char*> path, Json value) {
    return outcome(p, [&](EnginePlan& plan) { *find(matmul(plan).params, path) = value; });
  };
  auto damage = [&](const std::function<void(StepDesc&)>& change) {
    return outcome(p, [&](EnginePlan& plan) { change(matmul(plan)); });
  };
  EXPECT_EQ(set({"pack", "k"}, Json(0)), "K3012");
  EXPECT_EQ(set({"pack", "k"}, Json(int64_t{1} << 40)), "K3012");
  EXPECT_EQ(set({"pack", "k"}, Json(5)), "K3221");
  EXPECT_EQ(set({"pack", "transposed"}, Json(false)), "K3222");
  EXPECT_EQ(set({"pack", "dtype"}, Json("bf16")), "K3221");
  EXPECT_EQ(set({"pack"}, Json()), "K3220");
  EXPECT_EQ(damage([](StepDesc& s) { s.inputs[0].dims[1] = 3; }), "K3221");
  EXPECT_EQ(damage([](StepDesc& s) { s.inputs[0].dims[0] = 4; }), "K3221");
  EXPECT_EQ(damage([](StepDesc& s) { s.outputs[0].dims[0] = 4; }), "K3221");
  EXPECT_EQ(damage([](StepDesc& s) { s.inputs[3].dims[0] = 4; }), "K4601");
  EXPECT_EQ(damage([](StepDesc& s) { s.inputs[0].strides[0] = 0; }), "K4601");
  EXPECT_EQ(damage([](StepDesc& s) { s.outputs[0].strides[0] = 0; }), "K4601");
  EXPECT_EQ(damage([](StepDesc& s) { s.inputs[2].dims[0] = 4; }), "K3221");
  EXPECT_EQ(damage([](StepDesc& s) { s.inputs[1] = s.inputs[0]; }), "K3222");
  // The tensor of the post-op, of one row: repeated, which is no harm.
  EXPECT_EQ(damage([](StepDesc& s) { s.inputs[3].strides[0] = 0; }), "");
}

TEST_F(DnnlHostileParams, Pool) {
  Program p = lower(
      "main(%x: f32[1,4,8,8]) { %0 = max_pool(%x) {kernel=[3,3], stride=[2,2], padding=[1,1]} : "
      "f32[1,4,4,4] return %0 }",
      "assign_layouts");
  ASSERT_NE(p.engine, nullptr);
  ASSERT_EQ(outcome(p, [](EnginePlan&) {}), "");
  auto set = [&](const char* key, Json value) {
    return outcome(p, [&](EnginePlan& plan) {
      *find(step_of(plan.main, "dnnl.pool").params, {key}) = value;
    });
  };
  auto two = [](int64_t a, int64_t b) { return Json(std::vector<int64_t>{a, b}); };
  EXPECT_EQ(set("kind", Json("median")), "K3220");
  EXPECT_EQ(set("kernel", two(-1, 3)), "K3220");
  EXPECT_EQ(set("kernel", Json(std::vector<int64_t>{3})), "K3220");
  EXPECT_EQ(set("kernel", two(1 << 20, 1 << 20)), "");  // windows that hang over the end
  EXPECT_EQ(set("stride", two(0, 1)), "K3220");
  EXPECT_EQ(set("stride", two(1, 1)), "K3221");
  EXPECT_EQ(set("dilation", two(1 << 20, 1 << 20)), "");
  EXPECT_EQ(set("padding", two(3, 3)), "K3221");
  EXPECT_EQ(set("padding", two(int64_t{1} << 40, 1)), "K3220");
  EXPECT_EQ(outcome(p, [](EnginePlan& plan) {
              step_of(plan.main, "dnnl.pool").outputs[0].dims[1] = 3;
            }),
            "K3221");
}

}  // namespace
}  // namespace kiln

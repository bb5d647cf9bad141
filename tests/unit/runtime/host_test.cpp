// Host calls: operands, results, objects, errors, lifetimes, with a host made for the test.
#include "runtime/host.h"

#include <gmock/gmock.h>

#include <atomic>
#include <functional>
#include <map>

#include "runtime/engine_reader.h"
#include "runtime/execution.h"
#include "unit/runtime/plan_builder.h"

namespace kiln {
namespace {

using test::PlanBuilder;
using test::Tensor;
using testing::HasSubstr;

const DimExpr kS0 = DimExpr::symbol("s0");

std::atomic<int> live_objects{0};

struct FakeObject : HostObject {
  std::vector<float> data;
  std::vector<int64_t> shape, strides;
  int number = 0;

  FakeObject() { ++live_objects; }
  ~FakeObject() override { --live_objects; }

  // A contiguous tensor of that shape.
  static std::shared_ptr<FakeObject> tensor(std::vector<int64_t> dims) {
    auto object = std::make_shared<FakeObject>();
    object->shape = std::move(dims);
    object->strides.resize(object->shape.size());
    int64_t total = 1;
    for (size_t i = object->shape.size(); i-- > 0;) {
      object->strides[i] = total;
      total *= object->shape[i];
    }
    object->data.assign(static_cast<size_t>(total), 0);
    object->describe();
    return object;
  }
  void describe() {
    view = {data.data(),  DType::kF32,   Device(), static_cast<int>(shape.size()),
            shape.data(), strides.data()};
  }
};

struct Operands {
  const std::vector<HostOperand>& values;
  const std::vector<int64_t>& dims;
  const std::vector<HostExpected>& expected;
};
using Results = std::vector<std::shared_ptr<HostObject>>;
using Function = std::function<Status(const Operands&, Results&)>;

class FakeHost : public Host {
 public:
  std::map<std::string, Function> functions;
  std::vector<std::string> prepared;

  std::string name() const override { return "fake"; }
  Result<std::unique_ptr<HostCall>> prepare(const Call& call, int, const Device&) override {
    prepared.push_back(call.to_string());
    auto found = functions.find(call.full_name());
    if (found == functions.end()) {
      return Status::error("K4301", "no such operator: " + call.full_name());
    }
    class FakeCall : public HostCall {
     public:
      explicit FakeCall(Function function) : function_(std::move(function)) {}
      Status run(const std::vector<HostOperand>& operands, const std::vector<int64_t>& dims,
                 const std::vector<HostExpected>& expected, void*, Results& results) override {
        return function_({operands, dims, expected}, results);
      }

     private:
      Function function_;
    };
    return std::unique_ptr<HostCall>(new FakeCall(found->second));
  }
};

// 10 * x as a fresh contiguous tensor, x with any strides of rank <= 2.
Status times_ten(const Operands& in, Results& results) {
  const TensorView& x = in.values[0].view;
  auto result = FakeObject::tensor({x.shape, x.shape + x.rank});
  const int64_t rows = x.rank > 0 ? x.shape[0] : 1, columns = x.rank > 1 ? x.shape[1] : 1;
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) {
      const int64_t at = (x.rank > 0 ? i * x.strides[0] : 0) + (x.rank > 1 ? j * x.strides[1] : 0);
      result->data[static_cast<size_t>(i * columns + j)] =
          10 * static_cast<const float*>(x.data)[at];
    }
  }
  results.push_back(std::move(result));
  return {};
}

StepDesc host_call(const std::string& text, std::vector<PlanView> inputs,
                   std::vector<PlanView> outputs) {
  Json params = Json::object();
  params.set("call", text);
  return {"host.call", std::move(inputs), std::move(outputs), std::move(params), "m (f.py:1)", ""};
}

PlanView host_tensor(PlanBuilder& b, const Shape& dims) {
  return PlanBuilder::view(b.slot({SlotKind::kHost, DType::kF32, num_elements(dims)}), dims);
}

PlanView host_object(PlanBuilder& b) {
  return {b.slot({SlotKind::kObject, DType::kI64, 0}), {}, {}, 0};
}

std::shared_ptr<Engine> create(EnginePlan plan, FakeHost& host) {
  auto engine = Engine::create(std::move(plan), {}, {.threads = 1, .host = &host});
  EXPECT_TRUE(engine.ok()) << engine.status().to_string();
  return engine.ok() ? *engine : nullptr;
}

// y = -(10 * -x) over [s0, 3]
EnginePlan simple_plan() {
  PlanBuilder b;
  const PlanView x = b.input("x", {kS0, 3});
  const PlanView t = b.temp({kS0, 3}), h = host_tensor(b, {kS0, 3});
  b.tile("neg", {x}, t);
  b.plan.main.steps.push_back(host_call("test::ten(%0)", {t}, {h}));
  b.tile("neg", {h}, b.output("y", {kS0, 3}));
  return b.plan;
}

TEST(HostCall, BetweenNativeSteps) {
  FakeHost host;
  host.functions["test::ten"] = times_ten;
  auto context = test::context_of(create(simple_plan(), host));
  EXPECT_THAT(host.prepared, testing::ElementsAre("test::ten(%0)"));
  for (int64_t n : {2, 5, 2, 0, 1}) {
    Tensor x = Tensor::iota({n, 3}), y = Tensor::filled({n, 3}, 0);
    ASSERT_TRUE(context->run({x.view()}, {y.view()}).ok());
    for (size_t i = 0; i < y.data.size(); ++i) EXPECT_EQ(y.data[i], 10 * static_cast<float>(i));
    EXPECT_EQ(live_objects, 0) << "the result goes after its last use";
  }
}

TEST(HostCall, StridedOperandsAndExpectedResults) {
  FakeHost host;
  host.functions["test::ten"] = [](const Operands& in, Results& results) {
    EXPECT_EQ(in.values[0].view.strides[0], 1);
    EXPECT_EQ(in.values[0].view.strides[1], 2);
    EXPECT_FALSE(in.expected[0].is_object);
    EXPECT_EQ(in.expected[0].spec.shape, (std::vector<int64_t>{3, 2}));
    EXPECT_EQ(in.expected[0].spec.strides, (std::vector<int64_t>{2, 1}));
    EXPECT_EQ(in.dims, (std::vector<int64_t>{2, 7}));
    return times_ten(in, results);
  };
  PlanBuilder b;
  PlanView x = b.input("x", {kS0, 3});
  const PlanView transposed{x.slot, {3, kS0}, {1, kS0}, 0};
  const PlanView h = host_tensor(b, {3, kS0});
  b.plan.main.steps.push_back(
      host_call("test::ten(%0, ?s0, 5, [?s0 + 5, \"text\"])", {transposed}, {h}));
  b.tile("relu", {h}, b.output("y", {3, kS0}));
  auto context = test::context_of(create(b.plan, host));
  Tensor in = Tensor::iota({2, 3}), y = Tensor::filled({3, 2}, 0);
  const Status status = context->run({in.view()}, {y.view()});
  ASSERT_TRUE(status.ok()) << status.to_string();
  EXPECT_EQ(y.data, (std::vector<float>{0, 20, 10, 30, 20, 40}));
}

TEST(HostCall, ErrorsRiseWithTheOperatorsName) {
  FakeHost host;
  bool fail = true;
  host.functions["test::ten"] = [&](const Operands& in, Results& results) {
    if (fail) return Status::error("K4303", "index out of range");
    return times_ten(in, results);
  };
  auto context = test::context_of(create(simple_plan(), host));
  Tensor x = Tensor::iota({2, 3}), y = Tensor::filled({2, 3}, 0);
  const Status status = context->run({x.view()}, {y.view()});
  EXPECT_EQ(status.code(), "K4303");
  EXPECT_THAT(status.to_string(), HasSubstr("test::ten"));
  EXPECT_EQ(live_objects, 0);
  fail = false;
  EXPECT_TRUE(context->run({x.view()}, {y.view()}).ok());
}

TEST(HostCall, ResultsThatDoNotFitAreRefused) {
  FakeHost host;
  Function change;
  host.functions["test::ten"] = [&](const Operands& in, Results& results) {
    KILN_RETURN_IF_ERROR(times_ten(in, results));
    return change(in, results);
  };
  auto context = test::context_of(create(simple_plan(), host));
  auto code_after = [&](const std::function<void(FakeObject&)>& edit) {
    change = [&](const Operands&, Results& results) {
      edit(static_cast<FakeObject&>(*results[0]));
      return Status();
    };
    Tensor x = Tensor::iota({2, 3}), y = Tensor::filled({2, 3}, 0);
    return context->run({x.view()}, {y.view()}).code();
  };
  EXPECT_EQ(code_after([](FakeObject&) {}), "");
  EXPECT_EQ(code_after([](FakeObject& o) { o.view.dtype = DType::kI32; }), "K4302");
  EXPECT_EQ(code_after([](FakeObject& o) { o.view.rank = 1; }), "K4302");
  EXPECT_EQ(code_after([](FakeObject& o) { o.shape[0] = 1; }), "K4302");
  EXPECT_EQ(code_after([](FakeObject& o) {
              o.strides = {1, 2};
              o.describe();
            }),
            "K4302");
  EXPECT_EQ(code_after([](FakeObject& o) { o.view.data = nullptr; }), "K4302");
  EXPECT_EQ(code_after([](FakeObject& o) { o.view.strides = nullptr; }), "");
  change = [](const Operands&, Results& results) {
    results[0] = nullptr;
    return Status();
  };
  Tensor x = Tensor::iota({2, 3}), y = Tensor::filled({2, 3}, 0);
  EXPECT_EQ(context->run({x.view()}, {y.view()}).code(), "K4302");
  change = [](const Operands&, Results& results) {
    results.clear();
    return Status();
  };
  EXPECT_EQ(context->run({x.view()}, {y.view()}).code(), "K4302");
  EXPECT_EQ(live_objects, 0);
}

// x -> list of two (object) -> first and second
EnginePlan object_plan() {
  PlanBuilder b;
  const PlanView x = b.input("x", {3});
  const PlanView object = host_object(b);
  const PlanView first = host_tensor(b, {3}), second = host_tensor(b, {3});
  b.plan.main.steps.push_back(host_call("test::list(%0)", {x}, {object}));
  b.plan.main.steps.push_back(host_call("test::get(%0, 1)", {object}, {second}));
  b.plan.main.steps.push_back(host_call("test::get(%0, 0)", {object}, {first}));
  b.plan.main.steps.push_back(host_call("test::alive(%0)", {second}, {host_tensor(b, {3})}));
  b.tile("add", {first, second}, b.output("y", {3}));
  return b.plan;
}

TEST(HostCall, ObjectsGoAfterTheirLastUse) {
  FakeHost host;
  int alive = -1;
  host.functions["test::list"] = [](const Operands& in, Results& results) {
    EXPECT_TRUE(in.expected[0].is_object);
    auto object = std::make_shared<FakeObject>();
    object->number = 7;
    results.push_back(std::move(object));
    return Status();
  };
  host.functions["test::get"] = [](const Operands& in, Results& results) {
    auto* object = static_cast<FakeObject*>(in.values[0].object);
    if (object == nullptr) return Status::error("K4303", "no object");
    auto result = FakeObject::tensor({3});
    result->data.assign(3, static_cast<float>(object->number));
    results.push_back(std::move(result));
    return Status();
  };
  host.functions["test::alive"] = [&](const Operands& in, Results& results) {
    alive = live_objects;
    return times_ten(in, results);
  };
  auto context = test::context_of(create(object_plan(), host));
  Tensor x = Tensor::iota({3}), y = Tensor::filled({3}, 0);
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(context->run({x.view()}, {y.view()}).ok());
    EXPECT_EQ(y.data, (std::vector<float>{14, 14, 14}));
    EXPECT_EQ(alive, 2);  // the list has gone, the two tensors are there
    EXPECT_EQ(live_objects, 0);
  }
}

TEST(HostCall, ObjectsOfTheCaller) {
  FakeHost host;
  host.functions["test::next"] = [](const Operands& in, Results& results) {
    auto object = std::make_shared<FakeObject>();
    object->number = static_cast<FakeObject*>(in.values[0].object)->number + 1;
    results.push_back(std::move(object));
    return Status();
  };
  PlanBuilder b;
  b.plan.inputs.push_back({"scalar", DType::kF32, {}, {}, true});
  const PlanView in{b.slot({SlotKind::kObject, DType::kI64, 0, 0}), {}, {}, 0};
  PlanOutput output;
  output.signature.name = "next";
  output.signature.is_object = true;
  b.plan.outputs.push_back(output);
  const PlanView out{b.slot({SlotKind::kObject, DType::kI64, 0, 0}), {}, {}, 0};
  b.plan.main.steps.push_back(host_call("test::next(%0)", {in}, {out}));
  auto engine = create(b.plan, host);
  ExecutionContext::Impl context(engine);
  const std::vector<TensorView> none(1);
  for (int i = 0; i < 3; ++i) {
    auto object = std::make_shared<FakeObject>();
    object->number = i;
    ASSERT_TRUE(context.prepare(none).ok());
    context.set_input_object(0, std::move(object));
    const Status status = context.run(none, none);
    ASSERT_TRUE(status.ok()) << status.to_string();
    {
      const auto result = context.take_output_object(0);
      ASSERT_NE(result, nullptr);
      EXPECT_EQ(static_cast<FakeObject&>(*result).number, i + 1);
    }
    EXPECT_EQ(live_objects, 0) << "neither input nor output is kept";
  }
  // An object that was not given is an error, not the one of the run before.
  ASSERT_TRUE(context.prepare(none).ok());
  EXPECT_EQ(context.run(none, none).code(), "K4303");
}

TEST(HostCall, WithoutHostOrOperator) {
  EXPECT_EQ(Engine::create(simple_plan(), {}, {}).status().code(), "K3302");
  FakeHost host;
  EXPECT_EQ(Engine::create(simple_plan(), {}, {.host = &host}).status().code(), "K4301");
}

TEST(HostCall, MalformedCalls) {
  FakeHost host;
  host.functions["test::ten"] = times_ten;
  for (const char* text :
       {"test::ten(%1)", "test::ten([[%0, %7]])", "test::ten(", "", "test::ten(%-1)"}) {
    EnginePlan plan = simple_plan();
    plan.main.steps[1].params.set("call", text);
    EXPECT_FALSE(Engine::create(plan, {}, {.host = &host}).ok()) << text;
  }
}

TEST(HostCall, ResultMustFillItsBuffer) {
  FakeHost host;
  host.functions["test::ten"] = times_ten;
  EnginePlan plan = simple_plan();
  plan.main.slots[2].num_elements = kS0 * 3 + 1;  // later steps could read what nobody wrote
  auto context = test::context_of(create(plan, host));
  Tensor x = Tensor::iota({2, 3}), y = Tensor::filled({2, 3}, 0);
  EXPECT_EQ(context->run({x.view()}, {y.view()}).code(), "K3111");
  plan = simple_plan();
  plan.main.steps[1].outputs[0].strides = {0, 1};
  context = test::context_of(create(plan, host));
  EXPECT_EQ(context->run({x.view()}, {y.view()}).code(), "K3111");
}

TEST(HostCall, OnlyHarmlessOperatorsUnlessAllowed) {
  EnginePlan plan = simple_plan();
  const Status status = check_host_calls(plan, {});
  EXPECT_EQ(status.code(), "K3301");
  EXPECT_THAT(status.to_string(), testing::AllOf(HasSubstr("test::ten"), HasSubstr("allow_ops")));
  LoadOptions options;
  options.allow_ops = {"test::ten"};
  EXPECT_TRUE(check_host_calls(plan, options).ok());
  options = {};
  options.trust = true;
  EXPECT_TRUE(check_host_calls(plan, options).ok());
  for (const auto& [text, harmless] : std::vector<std::pair<const char*, bool>>{
           {"aten::relu(%0)", true},
           {"aten::add.Tensor(%0, %0, 1)", true},
           {"aten::add.out(%0, %0, 1)", false},
           {"aten::add_.Tensor(%0, %0, 1)", false},
           {"aten::as_strided(%0, [2], [1], 0)", false},
           {"aten::set_(%0)", false},
           {"aten::resize_(%0, [5])", false},
           {"aten::from_file(\"/etc/passwd\", False, 1)", false},
           {"aten::gelu(%0, \"tanh\")", true},
           {"aten::gelu(%0, \"other\")", false},
           {"aten::zeros([2], \"torch.complex64\", none, none, none)", true},
           {"aten::mul.int(%0, 2)", true},
           {"prim::max.int(%0, 2)", true},
           {"prim::max.int_list([%0], [2])", false},
           {"prim::Print(%0)", false},
           {"aten::lstm.input(%0, [%0], [%0], true, 1, 0.0, false, false, false)", true},
           {"aten::lstm.data(%0, %0, [%0], [%0], true, 1, 0.0, false, false)", false},
           {"evil::relu(%0)", false}}) {
    plan.main.steps[1].params.set("call", text);
    EXPECT_EQ(check_host_calls(plan, {}).ok(), harmless) << text;
  }
  // Nor may the init plan hide one.
  EnginePlan hidden = simple_plan();
  std::swap(hidden.init.steps, hidden.main.steps);
  EXPECT_EQ(check_host_calls(hidden, {}).code(), "K3301");
}

}  // namespace
}  // namespace kiln

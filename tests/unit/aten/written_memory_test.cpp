// Writes that schemas hide, that the host performs, or that a captured program states at its end.
#include "unit/aten/capture_harness.h"

namespace kiln::test {
namespace {

const char* const kToSparse = "t::pairs(Tensor(a) self) -> Tensor(a)";
const char* const kWrite = "t::write_(Tensor(a!) self) -> Tensor(a!)";

TEST(WrittenMemory, BatchNormInTrainingWritesItsStatistics) {
  Program p;
  Handle x = p.input("x", meta({"8", "2"}));
  Handle mean = p.weight("mean", counting({2}), "buffer");
  Handle variance = p.weight("variance", counting({2}), "buffer");
  auto arguments = [&](bool training) {
    return std::vector<CaptureArg>{v(x),           none(),    none(),     v(mean),    v(variance),
                                   flag(training), real(0.1), real(1e-5), flag(false)};
  };
  Handle y = p.call("aten::batch_norm", arguments(true), meta({"8", "2"}));
  EXPECT_EQ(p.last_record().op, "aten::batch_norm");
  EXPECT_FALSE(p.last_record().native);
  p.output(y);
  Module& module = p.finish();
  ASSERT_EQ(module.outputs.size(), 3u);
  for (size_t i : {1u, 2u}) {
    EXPECT_EQ(module.outputs[i].kind, OutputSpec::Kind::kWriteInput);
    EXPECT_EQ(module.inputs[i].kind, InputSpec::Kind::kState);
  }
  EXPECT_EQ(module.main.nodes().front()->get_string("effect"), "write");
}

TEST(WrittenMemory, BatchNormInEvalWritesNothing) {
  Program p;
  Handle x = p.input("x", meta({"8", "2"}));
  Handle mean = p.weight("mean", counting({2}), "buffer");
  Handle variance = p.weight("variance", counting({2}), "buffer");
  p.output(p.call(
      "aten::batch_norm",
      {v(x), none(), none(), v(mean), v(variance), flag(false), real(0.1), real(1e-5), flag(false)},
      meta({"8", "2"})));
  EXPECT_TRUE(p.last_record().native);
  EXPECT_EQ(p.finish().outputs.size(), 1u);
}

TEST(WrittenMemory, InstanceNormThatUpdatesStatisticsWritesThem) {
  Program p;
  Handle x = p.input("x", meta({"2", "2", "4"}));
  Handle mean = p.weight("mean", counting({2}), "buffer");
  p.output(p.call(
      "aten::instance_norm",
      {v(x), none(), none(), v(mean), none(), flag(true), real(0.1), real(1e-5), flag(false)},
      meta({"2", "2", "4"})));
  Module& module = p.finish();
  ASSERT_EQ(module.outputs.size(), 2u);
  EXPECT_EQ(module.outputs[1].kind, OutputSpec::Kind::kWriteInput);
  EXPECT_EQ(module.main.nodes().front()->num_results(), 2);
}

TEST(WrittenMemory, WritesThroughViewsOfTheHostReachTheWhole) {
  Program p;
  Handle x = p.input("x", meta({"4"}));
  Handle made = p.call("t::make", {v(x)}, opaque("complex"), "t::make(Tensor self) -> Tensor");
  Handle part = p.call("aten::select.int", {v(made), num(0), num(1)}, opaque("complex"));
  p.call("t::write_", {v(part)}, opaque("complex"), kWrite);
  p.output(made);
  Module& module = p.finish();
  Node* last = module.main.outputs()[0]->producer();
  EXPECT_EQ(std::get<Call>(last->attr("call")).to_string(), "aten::select_scatter(%1, %0, 0, 1)");
}

TEST(WrittenMemory, ViewsThatOnlyTheHostHoldsCannotBeWritten) {
  Program p;
  Handle x = p.input("x", meta({"2"}));
  Handle pairs = p.call("t::pairs", {v(x)}, opaque("complex"), kToSparse);
  for (Handle handle : {pairs, x}) {
    const CaptureMeta result = handle == x ? meta({"2"}) : opaque("complex");
    auto refused = p.builder.call("t::write_", "", {v(handle)}, {result}, {"", ""}, kWrite);
    EXPECT_EQ(refused.status().code(), "K1304");
  }
}

TEST(WrittenMemory, WhatOnlyTheHostHoldsCanBeWrittenWhereItIsAlone) {
  Program p;
  Handle x = p.input("x", meta({"2"}));
  Handle made = p.call("t::make", {v(x)}, opaque("complex"), "t::make(Tensor self) -> Tensor");
  p.call("t::write_", {v(made)}, opaque("complex"), kWrite);
  p.output(p.call("t::real", {v(made)}, meta({"2"}), "t::real(Tensor self) -> Tensor"));
  Module& module = p.finish();
  ASSERT_EQ(module.main.nodes().size(), 3u);
  // The last call reads what the write gave: the second result, after the returned tensor.
  EXPECT_EQ(module.main.outputs()[0]->producer()->operand(0)->producer(),
            std::next(module.main.nodes().begin())->get());
}

TEST(WrittenMemory, AnInputOfTheHostThatIsWrittenIsRefused) {
  Program p;
  Handle z = p.input("z", opaque("complex"));
  p.call("t::write_", {v(z)}, opaque("complex"), kWrite);
  p.output(p.call("t::real", {v(z)}, meta({"2"}), "t::real(Tensor self) -> Tensor"));
  EXPECT_EQ(p.builder.finish().status().code(), "K1304");
}

TEST(WrittenMemory, AWrittenBufferOverTheMemoryOfAnotherIsRefused) {
  auto memory = std::make_shared<HostTensor>(counting({4}));
  for (int64_t offset : {0, 2}) {
    Program p;
    auto buffer = [&](const std::string& name, int64_t start) {
      CaptureWeight weight;
      weight.shape = {2};
      weight.data = memory->bytes() + start * 4;
      weight.owner = memory;
      return *p.builder.weight(name, weight, "buffer");
    };
    Handle part = buffer("part", 0), other = buffer("other", offset == 0 ? 1 : 2);
    Handle x = p.input("x", meta({"2"}));
    p.call("aten::add_.Tensor", {v(part), v(x), num(1)}, meta({"2"}));
    p.output(p.call("aten::add.Tensor", {v(other), v(x), num(1)}, meta({"2"})));
    EXPECT_EQ(p.builder.finish().status().code(), offset == 0 ? "K1130" : "");
  }
}

// x' = x + 1 is written into x and returned: it is x that comes back.
TEST(WrittenMemory, AWrittenInputThatIsReturnedIsTheInput) {
  Program p;
  Handle x = p.input("x", meta({"2"}));
  Handle y = p.input("y", meta({"2"}));
  Handle next = p.call("aten::add.Tensor", {v(x), num(1), num(1)}, meta({"2"}));
  ASSERT_TRUE(p.builder.mutates_input("x", next).ok());
  ASSERT_TRUE(p.builder.mutates_input("y", x).ok());  // another input's value: y comes back as y
  p.output(next);
  p.output(x);
  Module& module = p.finish();
  EXPECT_EQ(module.outputs[0].kind, OutputSpec::Kind::kViewOfInput);
  EXPECT_EQ(module.outputs[0].target, 0);
  EXPECT_EQ(module.outputs[1].target, 0);
  (void)y;
}

// The host returns what it wrote to each tensor of a list, after the results of the operator.
TEST(WrittenMemory, ListsThatAreWritten) {
  Program p;
  Handle x = p.input("x", meta({"2"}));
  Handle y = p.call("aten::neg", {v(x)}, meta({"2"}));
  p.calls("t::add_all_", {list({v(y), v(x)}), num(1)}, {},
          "t::add_all_(Tensor(a!)[] self, Scalar by) -> ()");
  p.output(y);
  Module& module = p.finish();
  ASSERT_EQ(module.outputs.size(), 2u);
  EXPECT_EQ(module.outputs[1].kind, OutputSpec::Kind::kWriteInput);
  for (int i : {0, 1}) {
    Value* after = module.main.outputs()[static_cast<size_t>(i)];
    EXPECT_TRUE(after->producer()->is("aten.call"));
    EXPECT_EQ(after, after->producer()->result(i));
  }
}

TEST(WrittenMemory, TensorsThatAreWrittenTogetherShareNoMemory) {
  const char* const kSchema = "t::write_all_(Tensor(a!)[] self) -> ()";
  const auto part = [](Program& p, Handle x, int64_t start, int64_t end) {
    const CaptureMeta column = meta({"2", "1"}, DType::kF32, {"3", "1"});
    return p.call("aten::slice.Tensor", {v(x), num(1), num(start), num(end)}, column);
  };
  for (int64_t start : {0, 1}) {
    Program p;
    Handle x = p.input("x", meta({"2", "3"}));
    const auto written = p.builder.call(
        "t::write_all_", "", {list({v(part(p, x, 0, 1)), v(part(p, x, start, start + 1))})}, {},
        {"", ""}, kSchema);
    EXPECT_EQ(written.status().code(), start == 0 ? "K1304" : "");
  }
}

// The name says in place, the schema that the result is another tensor.
TEST(WrittenMemory, TheSchemaSaysWhatIsReturned) {
  Program p;
  Handle x = p.input("x", meta({"2"}));
  p.output(p.call("t::step_", {v(x)}, meta({"2"}), "t::step_(Tensor(a!) self) -> Tensor"));
  EXPECT_EQ(p.finish().outputs[0].kind, OutputSpec::Kind::kResult);
}

TEST(WrittenMemory, DropoutOfTheHostGivesItsOperandBackInEval) {
  for (bool training : {false, true}) {
    Program p;
    p.builder.keep_in_torch({"aten::dropout"}, {});
    Handle x = p.input("x", meta({"2"}));
    Handle y = p.call("aten::dropout", {v(x), real(0.5), flag(training)}, meta({"2"}));
    const auto written = p.builder.call("aten::relu_", "", {v(y)}, {meta({"2"})}, {"", ""}, "");
    EXPECT_EQ(written.status().code(), training ? "" : "K1304");
  }
}

TEST(WrittenMemory, NumbersKeepTheirExpression) {
  Program p;
  p.symbol("s0", -4, 4);
  CaptureMeta number;
  number.scalar = 'i';
  ASSERT_TRUE(p.builder.scalar_input("n", number, "s0").ok());
  Handle x = p.input("x", meta({"2"}));
  p.output(p.call("aten::mul.Tensor", {v(x), expr("s0")}, meta({"2"})));
  Module& module = p.finish();
  EXPECT_EQ(module.inputs[0].number, DimExpr::symbol("s0"));
  EXPECT_EQ(print(**parse_module(print(module))), print(module));
}

}  // namespace
}  // namespace kiln::test

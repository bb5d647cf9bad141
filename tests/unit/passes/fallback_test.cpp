// What legalize and partition leave behind for the report; the text tests see only the IR.
#include <gtest/gtest.h>

#include "passes/aten_emission.h"
#include "passes/backend_support.h"
#include "passes/partition.h"
#include "passes/pass_manager.h"

namespace kiln {
namespace {

class RefusesExp : public BackendSupport {
 public:
  Status supports(Node& node) override {
    if (!node.is("exp")) return {};
    return Status::error("K2711", "no kernel for exp");
  }
};

std::unique_ptr<Module> parse_ok(const char* text) {
  Result<std::unique_ptr<Module>> module = parse_module(text);
  EXPECT_TRUE(module.ok()) << module.status().to_string();
  if (!module.ok()) return nullptr;
  EXPECT_TRUE(verify(**module).ok()) << verify(**module).to_string();
  return std::move(module).value();
}

constexpr const char* kThreeRuns = R"(
main(%x: f32[2]) {
  %0 = relu(%x) : f32[2]
  %1 = exp(%0) : f32[2] loc("block.0" "m.py:7")
  %2 = neg(%1) : f32[2] loc("block.1" "m.py:8")
  %3 = exp(%2) : f32[2] loc("block.2" "m.py:9")
  %4 = abs(%3) : f32[2]
  %5 = neg(%4) : f32[2]
  return %5
})";

class FallbackTest : public ::testing::Test {
 protected:
  void SetUp() override {
    options_.check_claims = true;
    options_.reproducers = false;
    context_.provide<BackendSupport>(&backend_);
    context_.provide(&log_);
    context_.provide(&info_);
    context_.provide(&wishes_);
  }

  void run(const char* pipeline, Module& module) {
    PassManager manager(options_, &context_);
    Result<bool> changed = manager.run(pipeline, module);
    ASSERT_TRUE(changed.ok()) << changed.status().to_string();
  }

  RefusesExp backend_;
  FallbackLog log_;
  PartitionInfo info_;
  BuildWishes wishes_;
  PassContext context_;
  PassOptions options_;
};

TEST_F(FallbackTest, RefusedNodesAreLoggedWithReasonAndOrigin) {
  std::unique_ptr<Module> module = parse_ok(kThreeRuns);
  ASSERT_NE(module, nullptr);
  run("legalize, partition", *module);
  ASSERT_EQ(log_.entries.size(), 2u);
  EXPECT_EQ(log_.entries[0].op, "exp");
  EXPECT_EQ(log_.entries[0].aten, "aten::exp");
  EXPECT_EQ(log_.entries[0].code, "K2711");
  EXPECT_EQ(log_.entries[0].reason, "no kernel for exp");
  EXPECT_EQ(log_.entries[0].origin, (Origin{"block.0", "m.py:7"}));
  EXPECT_EQ(log_.entries[1].origin, (Origin{"block.2", "m.py:9"}));
  EXPECT_EQ(info_.segments, 3);
  EXPECT_EQ(info_.aten_calls, 2);
}

TEST_F(FallbackTest, ShortRunsGoBackWithTheirOwnReason) {
  wishes_.min_block_size = 2;
  std::unique_ptr<Module> module = parse_ok(kThreeRuns);
  ASSERT_NE(module, nullptr);
  run("legalize, partition", *module);
  // Both exp; then relu in front of the first call and neg between the two.
  ASSERT_EQ(log_.entries.size(), 4u);
  EXPECT_EQ(log_.entries[2].op, "relu");
  EXPECT_EQ(log_.entries[2].code, "K2712");
  EXPECT_EQ(log_.entries[2].reason, "block of fewer than 2 native ops (min_block_size)");
  EXPECT_EQ(log_.entries[3].op, "neg");
  EXPECT_EQ(log_.entries[3].origin, (Origin{"block.1", "m.py:8"}));
  EXPECT_EQ(info_.segments, 1);
  EXPECT_EQ(info_.aten_calls, 4);
}

TEST_F(FallbackTest, NoCallsMakeOneSegment) {
  std::unique_ptr<Module> module = parse_ok(
      "main(%x: f32[2]) {\n  %0 = relu(%x) : f32[2]\n"
      "  return %0\n}\n");
  ASSERT_NE(module, nullptr);
  run("legalize, partition", *module);
  EXPECT_TRUE(log_.entries.empty());
  EXPECT_EQ(info_.segments, 1);
  EXPECT_EQ(info_.aten_calls, 0);
}

// K calls make at most K + 1 runs, whatever the order in which nodes come.
TEST_F(FallbackTest, IndependentChainsShareRuns) {
  std::string text = "main(%x: f32[2]) {\n";
  std::string outputs;
  int number = 0;
  constexpr int kChains = 5;
  for (int chain = 0; chain < kChains; ++chain) {
    std::string value = "%x";
    for (const char* op : {"relu", "exp", "neg", "exp", "abs"}) {
      const std::string result = "%" + std::to_string(number++);
      text += "  " + result + " = " + op + "(" + value + ") : f32[2]\n";
      value = result;
    }
    outputs += (chain == 0 ? " " : ", ") + value;
  }
  text += "  return" + outputs + "\n}\n";
  std::unique_ptr<Module> module = parse_ok(text.c_str());
  ASSERT_NE(module, nullptr);
  run("legalize, partition", *module);
  EXPECT_EQ(info_.aten_calls, 2 * kChains);
  EXPECT_EQ(info_.segments, 3);
}

TEST(AtenEmission, FailureLeavesTheGraphAsItWas) {
  std::unique_ptr<Module> module = parse_ok(
      "main(%x: f32[2]) {\n  %0 = constant() {value=f32[2](1.0, 2.0)} : f32[2]\n"
      "  %1 = add(%x, %0) : f32[2]\n  return %1\n}\n");
  ASSERT_NE(module, nullptr);
  const std::string before = print(*module);
  Result<std::string> calls = replace_by_aten(module->main.snapshot()[0]);
  ASSERT_FALSE(calls.ok());
  EXPECT_EQ(calls.status().code(), "K2206");
  EXPECT_EQ(print(*module), before);
}

TEST(AtenEmission, OneOperandHoweverOftenItIsNamed) {
  std::unique_ptr<Module> module =
      parse_ok("main(%x: f32[2]) {\n  %0 = add(%x, %x) : f32[2]\n  return %0\n}\n");
  ASSERT_NE(module, nullptr);
  Result<std::string> calls = replace_by_aten(module->main.snapshot()[0]);
  ASSERT_TRUE(calls.ok()) << calls.status().to_string();
  EXPECT_EQ(*calls, "aten::add.Tensor");
  EXPECT_EQ(print(*module),
            "main(%x: f32[2]) {\n"
            "  %0 = aten.call(%x) {call=aten::add.Tensor(%0, %0, 1)} : f32[2]\n"
            "  return %0\n}\n");
}

}  // namespace
}  // namespace kiln

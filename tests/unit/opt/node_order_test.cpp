#include "kiln-opt/node_order.h"

#include <gtest/gtest.h>

#include <set>

namespace kiln {
namespace {

constexpr const char* kText = R"(weights {
  %w0 = parameter "b" : f32[2]
  %w1 = parameter "a" : f32[2]
}
init {
  %0 = neg(%w0) : f32[2]
  %1 = exp(%w1) : f32[2]
  const %c0 = %0 : f32[2]
  const %c1 = %1 : f32[2]
}
main(%x: f32[2]) {
  %0 = aten.call() {call=my::random(), effect="random"} : f32[2]
  %1 = add(%x, %c1) : f32[2] loc("m" "f.py:1")
  %2 = add(%c0, %x) : f32[2]
  %3 = sub(%1, %2) : f32[2]
  %4 = aten.call() {call=my::random(), effect="random"} : f32[2]
  %5 = mul(%4, %0) : f32[2]
  %6 = neg(%x) : f32[2]
  return %3, %5
}
)";

std::unique_ptr<Module> parse_ok() {
  Result<std::unique_ptr<Module>> module = parse_module(kText);
  EXPECT_TRUE(module.ok()) << module.status().to_string();
  return module.ok() ? std::move(module).value() : nullptr;
}

TEST(NodeOrder, ShufflesAreLegalVariedAndCanonicallyEqual) {
  std::unique_ptr<Module> original = parse_ok();
  const std::string canonical = print(*canonical_copy(*original));
  std::set<std::string> texts;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    std::unique_ptr<Module> module = original->clone();
    shuffle_nodes(*module, seed);
    ASSERT_TRUE(verify(*module).ok()) << verify(*module).to_string();
    EXPECT_EQ(print(*canonical_copy(*module)), canonical);
    texts.insert(print(*module));
    // The calls with effects stay in order.
    std::vector<Node*> calls;
    for (Node* node : module->main.snapshot()) {
      if (node->is("aten.call")) calls.push_back(node);
    }
    EXPECT_EQ(calls[1]->result()->uses()[0].operand, 0);
  }
  EXPECT_GT(texts.size(), 20u);
}

TEST(NodeOrder, CanonicalFormIsVerifiedAndDropsWhatDoesNotCount) {
  std::unique_ptr<Module> module = parse_ok();
  std::unique_ptr<Module> canonical = canonical_copy(*module);
  EXPECT_TRUE(verify(*canonical).ok()) << verify(*canonical).to_string();
  EXPECT_EQ(canonical->main.nodes().size(), 6u);
  EXPECT_EQ(canonical->weights[0].name, "a");
  EXPECT_EQ(print(*canonical).find("loc("), std::string::npos);
  EXPECT_EQ(print(*canonical_copy(*canonical)), print(*canonical));
}

TEST(NodeOrder, CanonicalFormSeesRealDifferences) {
  std::unique_ptr<Module> module = parse_ok();
  const std::string canonical = print(*canonical_copy(*module));
  Node* sub = module->main.snapshot()[3];
  sub->set_operands({sub->operand(1), sub->operand(0)});
  EXPECT_NE(print(*canonical_copy(*module)), canonical);
}

}  // namespace
}  // namespace kiln

// The two ops whose meaning their nodes carry: aten.call and fused.
#include <gtest/gtest.h>

#include "ir/module.h"
#include "ir/op_def.h"
#include "ops/effects.h"

namespace kiln {
namespace {

const OpDef& op(std::string_view name) { return OpRegistry::global().get(name); }

Call call_of(CallArg::List args) { return Call{"mylib::frobnicate", "", std::move(args)}; }

// verify() of an aten.call with two operands and this call.
std::string verdict(Call call, const std::string& effect = "none") {
  Graph graph;
  Value* x = graph.add_input(Type(DType::kF32, {2}));
  Value* y = graph.add_input(Type(HostObjectType{"list"}));
  Node* node = graph.create_unchecked(op("aten.call"), {x, y}, {std::move(call), effect},
                                      {Type(DType::kF32, {2})});
  return verify_op(*node).code();
}

TEST(AtenCall, OperandsAndArgumentsMustMatch) {
  const CallArg first{CallArg::Operand{0}};
  const CallArg second{CallArg::Operand{1}};
  EXPECT_EQ(verdict(call_of({first, second})), "");
  EXPECT_EQ(verdict(call_of({CallArg::List{CallArg(3), second}, first, CallArg(0.5)})), "");
  EXPECT_EQ(verdict(call_of({first})), "K2205");
  EXPECT_EQ(verdict(call_of({first, second, CallArg{CallArg::Operand{2}}})), "K2205");
  EXPECT_EQ(verdict(call_of({first, second, CallArg{CallArg::Operand{-1}}})), "K2205");
  EXPECT_EQ(verdict(Call{"frobnicate", "", {first, second}}), "K2205");
  EXPECT_EQ(verdict(call_of({first, second}), "sometimes"), "K2205");
}

TEST(AtenCall, EffectIsPerNode) {
  for (const auto& [effect, expected] : {std::pair<std::string, bool>{"none", false},
                                         {"random", true},
                                         {"write", true},
                                         {"unknown", true}}) {
    Graph graph;
    Node* node = graph.create_unchecked(op("aten.call"), {}, {call_of({}), effect},
                                        {Type(DType::kF32, {2})});
    EXPECT_EQ(has_effect(*node), expected) << effect;
  }
  Graph graph;
  Value* x = graph.add_input(Type(DType::kF32, {2}));
  Result<Node*> relu = graph.create(op("relu"), {x});
  ASSERT_TRUE(relu.ok());
  EXPECT_FALSE(has_effect(**relu));
}

std::unique_ptr<Graph> relu_body(Type type) {
  auto body = std::make_unique<Graph>();
  Value* x = body->add_input(std::move(type));
  Result<Node*> relu = body->create(op("relu"), {x});
  EXPECT_TRUE(relu.ok());
  body->add_output((*relu)->result());
  return body;
}

Result<Node*> make_fused(Graph& graph, std::vector<Value*> operands,
                         std::vector<std::unique_ptr<Graph>> bodies) {
  return graph.create(op("fused"), std::move(operands), {}, nullptr, {}, std::move(bodies));
}

TEST(Fused, TypesComeFromTheBody) {
  Graph graph;
  const Type type(DType::kF32, {DimExpr::symbol("b"), 3});
  Value* x = graph.add_input(type);
  std::vector<std::unique_ptr<Graph>> bodies;
  bodies.push_back(relu_body(type));
  Result<Node*> node = make_fused(graph, {x}, std::move(bodies));
  ASSERT_TRUE(node.ok()) << node.status().to_string();
  ASSERT_EQ((*node)->num_results(), 1);
  EXPECT_EQ((*node)->result()->type, type);
}

TEST(Fused, BodyMustFitTheOperands) {
  Graph graph;
  Value* x = graph.add_input(Type(DType::kF32, {3}));
  EXPECT_EQ(make_fused(graph, {x}, {}).status().code(), "K2205");
  std::vector<std::unique_ptr<Graph>> other_shape;
  other_shape.push_back(relu_body(Type(DType::kF32, {4})));
  EXPECT_EQ(make_fused(graph, {x}, std::move(other_shape)).status().code(), "K2204");
  std::vector<std::unique_ptr<Graph>> more_operands;
  more_operands.push_back(relu_body(Type(DType::kF32, {3})));
  EXPECT_EQ(make_fused(graph, {x, x}, std::move(more_operands)).status().code(), "K2202");
  std::vector<std::unique_ptr<Graph>> constants;
  constants.push_back(relu_body(Type(DType::kF32, {3})));
  constants.back()->add_constant(Type(DType::kF32, {3}));
  EXPECT_EQ(make_fused(graph, {x}, std::move(constants)).status().code(), "K2205");
}

}  // namespace
}  // namespace kiln

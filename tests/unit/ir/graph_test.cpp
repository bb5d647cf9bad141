#include "ir/graph.h"

#include <gtest/gtest.h>

#include "base/check.h"
#include "ir/module.h"
#include "ir/op_def.h"

namespace kiln {
namespace {

const OpDef& op(const char* name) { return OpRegistry::global().get(name); }

Node* add(Graph& graph, Value* a, Value* b, Node* before = nullptr) {
  Result<Node*> node = graph.create(op("t_add"), {a, b}, {}, before);
  EXPECT_TRUE(node.ok()) << node.status().to_string();
  return *node;
}

TEST(Graph, CreateInfersAndPadsAbsentOperands) {
  Graph graph;
  Value* x = graph.add_input(Type(DType::kF32, {DimExpr::symbol("b"), 4}), "x");
  Node* node = add(graph, x, x);
  EXPECT_EQ(node->num_operands(), 3);
  EXPECT_EQ(node->operand(2), nullptr);
  EXPECT_FALSE(node->has_operand(2));
  EXPECT_EQ(node->result()->type, x->type);
  EXPECT_EQ(x->uses(), (std::vector<Use>{{node, 0}, {node, 1}}));
  EXPECT_TRUE(verify(graph).ok());
}

TEST(Graph, CreateRefusesWithCodesAndLeavesNothingBehind) {
  Graph graph;
  Value* x = graph.add_input(Type(DType::kF32, {4}));
  Value* y = graph.add_input(Type(DType::kF32, {5}));
  Value* scalar = graph.add_input(Type(ScalarType::kI64));
  auto code = [&](const char* name, std::vector<Value*> operands, AttrList attrs = {}) {
    return graph.create(op(name), std::move(operands), std::move(attrs)).status().code();
  };
  EXPECT_EQ(code("t_add", {x}), "K2201");
  EXPECT_EQ(code("t_add", {x, nullptr}), "K2201");
  EXPECT_EQ(code("t_add", {x, x, x, x}), "K2201");
  EXPECT_EQ(code("t_add", {x, scalar}), "K2213");
  EXPECT_EQ(code("t_add", {x, y}), "K2205");
  EXPECT_EQ(code("t_attrs", {x}, {{"unknown", true}}), "K2211");
  EXPECT_EQ(code("t_attrs", {x}, {{"n", 1.5}}), "K2212");
  EXPECT_EQ(code("t_attrs", {x}, {{"n", 101}}), "K2207");
  EXPECT_EQ(code("t_required", {x}), "K2212");
  EXPECT_TRUE(graph.empty());
  EXPECT_TRUE(x->uses().empty());
  const Status status = graph.create(op("t_add"), {x, y}).status();
  EXPECT_NE(status.to_string().find("t_add"), std::string::npos) << status.to_string();
}

TEST(Graph, AttributesConvertOnlyWhereNothingIsLost) {
  Graph graph;
  Value* x = graph.add_input(Type(DType::kF32, {4}));
  Result<Node*> node = graph.create(
      op("t_attrs"), {x},
      {{"eps", 2}, {"size", 7}, {"sizes", std::vector<int64_t>{1, 2}}, {"mode", "text"}});
  ASSERT_TRUE(node.ok()) << node.status().to_string();
  EXPECT_EQ((*node)->get_float("eps"), 2.0);
  EXPECT_EQ((*node)->get_dim("size"), DimExpr(7));
  EXPECT_EQ((*node)->get_dims("sizes"), (std::vector<DimExpr>{1, 2}));
  EXPECT_EQ((*node)->get_string("mode"), "text");
  EXPECT_EQ((*node)->get_int("n"), 3);
  EXPECT_THROW((*node)->set_attr("n", 1.0), InternalError);
  EXPECT_THROW((*node)->attr("nothing"), InternalError);
}

TEST(Graph, ReplaceAllUsesCoversOutputsAndKeepsOrder) {
  Graph graph;
  Value* x = graph.add_input(Type(DType::kF32, {4}));
  Value* y = graph.add_input(Type(DType::kF32, {4}));
  Node* first = add(graph, x, y);
  Node* second = add(graph, first->result(), first->result());
  graph.add_output(first->result());
  graph.add_output(second->result());
  EXPECT_FALSE(first->result()->has_one_use());
  EXPECT_TRUE(second->result()->has_one_use());
  graph.replace_all_uses(first->result(), y);
  EXPECT_EQ(graph.outputs()[0], y);
  EXPECT_EQ(second->operand(0), y);
  EXPECT_TRUE(first->result()->uses().empty());
  graph.erase(first);
  EXPECT_TRUE(verify(graph).ok());
  EXPECT_EQ(graph.nodes().size(), 1u);
}

TEST(Graph, EraseOfAUsedNodeIsABug) {
  Graph graph;
  Value* x = graph.add_input(Type(DType::kF32, {4}));
  Node* first = add(graph, x, x);
  Node* second = add(graph, first->result(), x);
  EXPECT_THROW(graph.erase(first), InternalError);
  EXPECT_THROW(graph.erase_input(0), InternalError);
  graph.add_output(second->result());
  EXPECT_THROW(graph.erase(second), InternalError);
}

TEST(Graph, InsertAndMoveKeepPositions) {
  Graph graph;
  Value* x = graph.add_input(Type(DType::kF32, {4}));
  Node* last = add(graph, x, x);
  Node* first = add(graph, x, x, last);
  EXPECT_EQ(graph.snapshot(), (std::vector<Node*>{first, last}));
  EXPECT_EQ(graph.next(first), last);
  EXPECT_EQ(graph.next(last), nullptr);
  graph.move_before(first, nullptr);
  EXPECT_EQ(graph.snapshot(), (std::vector<Node*>{last, first}));
  graph.move_before(first, last);
  EXPECT_EQ(graph.snapshot(), (std::vector<Node*>{first, last}));
}

TEST(Graph, ErasingArgumentsRenumbers) {
  Graph graph;
  graph.add_input(Type(DType::kF32, {1}));
  Value* y = graph.add_input(Type(DType::kF32, {2}));
  graph.add_constant(Type(DType::kF32, {1}));
  Value* c = graph.add_constant(Type(DType::kF32, {2}));
  graph.erase_input(0);
  graph.erase_constant(0);
  EXPECT_EQ(y->index(), 0);
  EXPECT_EQ(c->index(), 0);
  EXPECT_TRUE(c->is_constant_argument());
  EXPECT_TRUE(verify(graph).ok());
}

TEST(Graph, OperandsOfOtherGraphsAreABug) {
  Graph graph;
  Graph other;
  Value* x = graph.add_input(Type(DType::kF32, {4}));
  Value* y = other.add_input(Type(DType::kF32, {4}));
  EXPECT_THROW((void)graph.create(op("t_add"), {x, y}), InternalError);
}

TEST(Graph, ReinferFollowsOperandsAndKeepsLayouts) {
  Graph graph;
  Value* x = graph.add_input(Type(DType::kF32, {1, 2, 3, 4}));
  Node* node = add(graph, x, x);
  node->result()->tensor().layout = Layout::channels_last(4);
  Result<bool> changed = node->reinfer();
  ASSERT_TRUE(changed.ok());
  EXPECT_FALSE(*changed);
  x->tensor().dtype = DType::kF16;
  changed = node->reinfer();
  ASSERT_TRUE(changed.ok());
  EXPECT_TRUE(*changed);
  EXPECT_EQ(node->result()->dtype(), DType::kF16);
  EXPECT_EQ(node->result()->tensor().layout, Layout::channels_last(4));
}

TEST(Graph, InferredResultsTakeTheDeviceOfTheOperand) {
  Graph graph;
  Value* x = graph.add_input(Type(DType::kF32, {4}));
  x->tensor().device = Device{DeviceKind::kCuda, 1};
  EXPECT_EQ(add(graph, x, x)->result()->tensor().device, (Device{DeviceKind::kCuda, 1}));
}

TEST(Module, ConstantsAreMadeOnceAndPruned) {
  Module module;
  Weight weight;
  weight.name = "w";
  weight.type = TensorType{DType::kF32, {4}, {}, {}};
  Value* w = module.add_weight(weight);
  weight.name = "unused";
  module.add_weight(weight);
  Node* sum = add(module.init, w, w);
  Value* constant = module.constant_for(sum->result());
  EXPECT_EQ(module.constant_for(sum->result()), constant);
  Value* dead = module.constant_for(w);
  EXPECT_NE(dead, constant);
  EXPECT_EQ(module.init_value(constant), sum->result());
  module.main.add_output(constant);
  module.outputs.emplace_back();
  ASSERT_TRUE(verify(module).ok()) << verify(module).to_string();
  EXPECT_TRUE(module.prune());
  EXPECT_FALSE(module.prune());
  EXPECT_EQ(module.main.constants(), std::vector<Value*>{constant});
  ASSERT_EQ(module.weights.size(), 1u);
  EXPECT_EQ(module.weights[0].name, "w");
  EXPECT_TRUE(verify(module).ok());
}

TEST(Module, CloneIsDeepAndEqual) {
  Module module;
  Weight weight;
  weight.name = "w";
  weight.type = TensorType{DType::kF32, {4}, {}, {}};
  Value* constant = module.constant_for(module.add_weight(weight));
  Node* node = add(module.main, constant, constant);
  node->origin = {"block", "m.py:3"};
  module.main.add_output(node->result());
  module.outputs.emplace_back();
  std::unique_ptr<Module> copy = module.clone();
  EXPECT_EQ(print(*copy), print(module));
  EXPECT_EQ(fingerprint(*copy), fingerprint(module));
  copy->main.replace_all_uses(copy->main.outputs()[0], copy->main.constants()[0]);
  EXPECT_NE(fingerprint(*copy), fingerprint(module));
  EXPECT_TRUE(verify(module).ok());
}

}  // namespace
}  // namespace kiln

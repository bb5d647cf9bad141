// The TorchScript importer in a process without Python: what it makes of graphs, which calls are
// left for the program, and what it refuses. The whole door is tested from Python.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/ir/irparser.h>

#include "base/json.h"
#include "torch/torchscript/compile_method.h"
#include "torch/torchscript/import.h"

namespace kiln::torchscript {
namespace {

using torch::jit::CompilationUnit;
using torch::jit::Module;

struct Imported {
  Status status;
  ImportFailure failure;
  ImportedProgram program;
  std::vector<std::string> calls;   // operators, in order; why, where one stays in PyTorch
  std::string output;               // the description of what comes back
  std::vector<std::string> inputs;  // dims of each tensor: "[2,\"s0\"]"

  // Code and message of an import that must not succeed.
  std::string refusal() const { return status.code() + ": " + status.message(); }
};

Imported import(const Callee& callee, const Arguments& arguments) {
  Imported result;
  CaptureBuilder capture;
  const ImportOptions options;
  auto imported = import_callee(callee, arguments, options, capture, &result.failure);
  for (const auto& record : capture.records()) {
    result.calls.push_back(record.native ? record.op : record.op + ": " + record.reason);
  }
  result.status = imported.status();
  if (!imported.ok()) return result;
  result.program = std::move(*imported);
  const auto description = parse_json(result.program.metadata);
  EXPECT_TRUE(description.ok());
  result.output = description->find("output_tree")->dump();
  for (const Json& input : description->find("inputs")->as_array()) {
    result.inputs.push_back(input.as_array()[3].dump());
  }
  return result;
}

Arguments arguments_of(std::vector<c10::IValue> values) {
  Arguments arguments;
  arguments.positional = values.size();
  arguments.values = std::move(values);
  return arguments;
}

// x of [2, 4], or of the dims and ranges that are given.
Arguments tensor_argument(std::vector<CaptureDim> dims = {}, SymbolRanges symbols = {}) {
  Arguments arguments = arguments_of({at::ones({2, 4})});
  if (!dims.empty()) arguments.dims.emplace_back(arguments.values[0].toTensor(), std::move(dims));
  arguments.symbols = std::move(symbols);
  return arguments;
}

// A module whose forward is the body, of arguments (self, x: Tensor).
Module module_of_body(const std::string& body, const std::string& result = "Tensor") {
  Module module("Test");
  module.register_parameter("weight", at::ones({4}), false);
  module.register_buffer("count", at::zeros({1}));
  std::string text = "def forward(self, x: Tensor) -> " + result + ":\n";
  size_t from = 0;
  while (from < body.size()) {
    const size_t end = std::min(body.find('\n', from), body.size());
    text += "  " + body.substr(from, end - from) + "\n";
    from = end + 1;
  }
  module.define(text);
  return module;
}

Imported import_body(const std::string& body, const std::string& result = "Tensor",
                     const Arguments& arguments = tensor_argument()) {
  const Module module = module_of_body(body, result);
  Callee callee{&module.get_method("forward").function(), module};
  return import(callee, arguments);
}

// A function given as the text of its graph.
Imported import_graph(const std::string& text, const Arguments& arguments = tensor_argument()) {
  auto graph = std::make_shared<torch::jit::Graph>();
  torch::jit::parseIR(text, graph.get());
  CompilationUnit unit;
  torch::jit::Function* function = unit.create_function("f", graph);
  return import(Callee{function, std::nullopt}, arguments);
}

using Calls = std::vector<std::string>;

std::string constant(const std::string& value) {
  return R"({"kind":"const","value":)" + value + "}";
}
std::string expression(const std::string& text) {
  return R"({"kind":"expr","text":")" + text + "\"}";
}

// ---- what is evaluated

TEST(TorchScriptImport, ConstantsAreFolded) {
  const auto numbers = import_body("return 3 * 4 + len('abc') - x.dim()", "int");
  EXPECT_TRUE(numbers.status.ok()) << numbers.status.to_string();
  EXPECT_EQ(numbers.output, constant("13"));
  EXPECT_EQ(numbers.calls, Calls{});
  EXPECT_EQ(import_body("return '{}-{}'.format('a', x.size(1))", "str").output,
            constant("\"a-4\""));
  // Tensors made of numbers are computed; only their use is a call.
  const auto tensors = import_body("n = torch.tensor(3) * 2\nreturn x + n");
  EXPECT_EQ(tensors.calls, (Calls{"aten::full", "aten::add.Tensor"}));
}

TEST(TorchScriptImport, ListsAlias) {
  EXPECT_EQ(import_graph(R"IR(
graph(%x : Tensor):
  %one : int = prim::Constant[value=1]()
  %two : int = prim::Constant[value=2]()
  %list : int[] = prim::ListConstruct(%one)
  %pair : (int[], int[]) = prim::TupleConstruct(%list, %list)
  %same : int[], %other : int[] = prim::TupleUnpack(%pair)
  %a : int[] = aten::append(%same, %two)
  %b : int[] = aten::append(%list, %two)
  %length : int = aten::len(%other)
  return (%length)
)IR")
                .output,
            constant("3"));
  // A list of tensors that is filled in a loop.
  const auto parts = import_body(
      "parts: List[Tensor] = []\nalias = parts\nfor i in range(3):\n  alias.append(x[:, i])\n"
      "return torch.stack(parts)");
  EXPECT_EQ(parts.calls,
            (Calls{"aten::slice.Tensor", "aten::select.int", "aten::slice.Tensor",
                   "aten::select.int", "aten::slice.Tensor", "aten::select.int", "aten::stack"}));
}

TEST(TorchScriptImport, LoopsAreUnrolled) {
  EXPECT_EQ(import_body("for i in range(3):\n  x = x + i\nreturn x").calls,
            (Calls{"aten::add.Scalar", "aten::add.Scalar", "aten::add.Scalar"}));
  EXPECT_EQ(import_body("i = 0\nwhile True:\n  i += 2\n  if i > 5:\n    break\n  x = x.relu()\n"
                        "return x")
                .calls,
            (Calls{"aten::relu", "aten::relu"}));
  EXPECT_EQ(
      import_body("n = 0\nfor i in range(3):\n  for j in range(i):\n    n += j\nreturn n", "int")
          .output,
      constant("1"));
}

TEST(TorchScriptImport, EarlyReturnEndsTheFunction) {
  EXPECT_EQ(import_body("if x.size(0) == 2:\n  return x.relu()\nfor i in range(9):\n  x = x + 1\n"
                        "return x")
                .calls,
            Calls{"aten::relu"});
  EXPECT_EQ(import_body("for i in range(9):\n  x = x.relu()\n  if i == 1:\n    return x + 1\n"
                        "return x")
                .calls,
            (Calls{"aten::relu", "aten::relu", "aten::add.Scalar"}));
}

TEST(TorchScriptImport, GraphsTakeTheBranchOfTheirCondition) {
  const std::string graph = R"IR(
graph(%x : Tensor):
  %zero : int = prim::Constant[value=0]()
  %size : int = aten::size(%x, %zero)
  %limit : int = prim::Constant[value=LIMIT]()
  %small : bool = aten::lt(%size, %limit)
  %y : Tensor = prim::If(%small)
    block0():
      %a : Tensor = aten::relu(%x)
      -> (%a)
    block1():
      %b : Tensor = aten::neg(%x)
      -> (%b)
  return (%y)
)IR";
  auto with = [&](const std::string& limit) {
    return std::string(graph).replace(graph.find("LIMIT"), 5, limit);
  };
  EXPECT_EQ(import_graph(with("3")).calls, Calls{"aten::relu"});
  EXPECT_EQ(import_graph(with("2")).calls, Calls{"aten::neg"});
  // Where the size varies, its range decides, or nothing does.
  const Arguments varied = tensor_argument({"s0", "4"}, {{"s0", {2, 8}}});
  EXPECT_EQ(import_graph(with("9"), varied).calls, Calls{"aten::relu"});
  EXPECT_EQ(import_graph(with("2"), varied).calls, Calls{"aten::neg"});
  const auto open = import_graph(with("5"), varied);
  EXPECT_EQ(open.status.code(), "K1145");
  EXPECT_NE(open.failure.reason.find("a branch depends on sizes that vary: s0 < 5"),
            std::string::npos)
      << open.failure.reason;
}

// ---- sizes that vary

TEST(TorchScriptImport, SizesAreExpressions) {
  const Arguments varied = tensor_argument({"s0", "4"}, {{"s0", {1, 16}}});
  EXPECT_EQ(import_body("return x.size(0) * 2 + 1", "int", varied).output, expression("2*s0 + 1"));
  EXPECT_EQ(import_body("return (x.size(0) + 1) // 3", "int", varied).output,
            expression("floordiv(s0 + 1, 3)"));
  EXPECT_EQ(import_body("return torch.cat([x, x[1:]]).size(0)", "int", varied).output,
            expression("2*s0 - 1"));
  EXPECT_EQ(import_body("return x.numel() == 4 * x.size(0)", "bool", varied).output,
            constant("true"));
}

TEST(TorchScriptImport, ABranchThatRaisesIsACondition) {
  const Arguments varied = tensor_argument({"s0", "4"}, {{"s0", {1, 16}}});
  const auto imported =
      import_body("assert x.size(0) % 3 == 0, 'thirds'\nreturn x.relu()", "Tensor", varied);
  ASSERT_TRUE(imported.status.ok()) << imported.status.to_string();
  ASSERT_EQ(imported.program.conditions.size(), 1u);
  EXPECT_EQ(imported.program.conditions[0][0], "eq");
  EXPECT_EQ(imported.program.conditions[0][1], "mod(s0, 3)");
  EXPECT_EQ(imported.program.conditions[0][2], "0");
}

// A view demands as many elements; the symbol becomes a multiple of what that takes.
TEST(TorchScriptImport, ViewsSayWhatSizesAreMultiplesOf) {
  const SymbolRanges ranges{{"n", {3, 20}}};
  const Arguments varied = tensor_argument({"2", "n"}, ranges);
  struct Case {
    const char* body;
    const char* dims;
  };
  for (const Case& c :
       {Case{"return x.view(2, x.size(1) // 2, 2)", R"([2,"2*n_2"])"},
        Case{"return x.reshape(2, -1, 3)", R"([2,"3*n_3"])"},
        Case{"return x.unflatten(1, (-1, 5))", R"([2,"5*n_5"])"},
        Case{"return x.view(-1, 4)", R"([2,"2*n_2"])"},
        Case{"x = x.view(2, -1, 2).flatten(1)\nreturn x.view(2, x.size(1) // 3, 3)",
             R"([2,"6*n_2_3"])"},
        Case{"assert x.size(1) % 2 == 0\nreturn x.view(2, x.size(1) // 2, 2)", R"([2,"2*n_2"])"},
        Case{"return x.view(2, x.size(1), 1)", R"([2,"n"])"}}) {
    const auto imported = import_body(c.body, "Tensor", varied);
    ASSERT_TRUE(imported.status.ok()) << c.body << ": " << imported.status.to_string();
    EXPECT_EQ(imported.inputs, Calls{c.dims}) << c.body;
  }
  // Which of the sizes it is, is open; so is whether there are elements at all.
  for (const Arguments& any : {tensor_argument({"m", "n"}, {{"m", {1, 8}}, {"n", {3, 20}}}),
                               tensor_argument({"m", "n"}, {{"m", {0, 8}}, {"n", {3, 20}}})}) {
    EXPECT_EQ(import_body("return x.view(-1, 4)", "Tensor", any).inputs, Calls{R"(["m","n"])"});
  }
  EXPECT_EQ(import_body("return x.view(x.size(0), -1, 2)", "Tensor",
                        tensor_argument({"m", "n"}, {{"m", {0, 8}}, {"n", {3, 20}}}))
                .inputs,
            Calls{R"(["m","n"])"});
  const auto impossible = import_body("return x.view(2, -1, 32)", "Tensor", varied);
  EXPECT_EQ(impossible.status.code(), "K1146");
  EXPECT_NE(impossible.status.message().find("no size from 3 to 20 is a multiple of 32"),
            std::string::npos)
      << impossible.status.to_string();
}

// ---- state

TEST(TorchScriptImport, WeightsKeepTheirNames) {
  const auto imported = import_body("return x * self.weight");
  ASSERT_EQ(imported.program.weights.size(), 1u);
  EXPECT_EQ(imported.program.weights[0].first, "weight");
}

TEST(TorchScriptImport, TheModuleIsNotWritten) {
  const Module module = module_of_body("self.count.add_(1)\nreturn x + self.count");
  Callee callee{&module.get_method("forward").function(), module};
  const auto imported = import(callee, tensor_argument());
  ASSERT_TRUE(imported.status.ok()) << imported.status.to_string();
  EXPECT_EQ(imported.calls, (Calls{"aten::add_.Scalar", "aten::add.Tensor"}));
  EXPECT_EQ(module.attr("count").toTensor().item<float>(), 0);
}

// ---- results

// Here it is PyTorch's kernel that says the shapes, and that there is no second tensor.
TEST(TorchScriptImport, AResultThatAnOperatorDoesNotGiveIsNone) {
  const std::string call =
      "w = torch.ones([12, 4])\nb = torch.ones([12])\nout = torch.ones([4, 4])\n"
      "y = x.unsqueeze(0)\n"
      "z, weights = torch._native_multi_head_attention(y, y, y, 4, 2, w, b, out, b[:4], None, ";
  for (const std::string weights : {"False", "True"}) {
    const auto imported = import_body(call + weights + ", True, None)\nreturn z");
    ASSERT_TRUE(imported.status.ok()) << imported.status.to_string();
    EXPECT_EQ(imported.calls.back(), "aten::_native_multi_head_attention");
  }
  EXPECT_TRUE(import_body(call + "True, True, None)\nreturn weights").status.ok());
  const auto none = import_body(call + "False, True, None)\nreturn weights");
  EXPECT_EQ(none.status.code(), "K1145");
  EXPECT_NE(none.failure.reason.find("an output that cannot be returned"), std::string::npos);
}

// ---- what is refused

TEST(TorchScriptImport, WhatOnlyRunningRevealsStops) {
  struct Case {
    const char *body, *result, *reason;
  };
  for (const Case& c :
       {Case{"if bool(x.sum() > 0):\n  x = x + 1\nreturn x", "Tensor",
             "a branch depends on the value of a tensor"},
        Case{"return torch.linalg_lstsq(x, x)[1]", "Tensor", "depends on the values of a tensor"},
        // These have no kernel for tensors without data; zeros would give another size, or raise.
        Case{"return torch.tensor_split(x, x.sum().long().reshape(1))[0]", "Tensor",
             "depends on the values of a tensor"},
        Case{"n = x.sum(1).long()[:1]\n"
             "return torch._pack_padded_sequence(x.unsqueeze(0), n, True)[0]",
             "Tensor", "depends on the values of a tensor"},
        Case{"for i in range(int(x.sum())):\n  x = x + 1\nreturn x", "Tensor",
             "the number of a loop's iterations varies"},
        Case{"n = 0\nfor i in range(300000):\n  n += i\nreturn x + n", "Tensor",
             "a loop that unrolls to more than 200000 calls"},
        Case{"return str(x)", "str", "a text is made of what only a call of the program knows"}}) {
    const auto imported = import_body(c.body, c.result);
    EXPECT_EQ(imported.status.code(), "K1145") << c.body;
    EXPECT_NE(imported.failure.reason.find(c.reason), std::string::npos)
        << c.body << ": " << imported.failure.reason;
    EXPECT_EQ(imported.failure.function, "forward");
  }
}

TEST(TorchScriptImport, WhatTheProgramRaisesIsSaid) {
  struct Case {
    const char *body, *message;
  };
  for (const Case& c :
       {Case{"assert x.dim() == 3, 'not today'\nreturn x", "AssertionError: not today"},
        Case{"l: List[int] = []\nreturn x + l[0]", "list index out of range"},
        Case{"return x.view(3, 3)", "shape '[3, 3]' is invalid for input of size 8"},
        Case{"return x @ x", "mat1 and mat2 shapes cannot be multiplied"}}) {
    const auto imported = import_body(c.body);
    EXPECT_EQ(imported.status.code(), "K1146") << c.body;
    EXPECT_NE(imported.status.message().find(c.message), std::string::npos)
        << c.body << ": " << imported.status.to_string();
  }
}

// ---- the whole way

TEST(TorchScriptImport, CompiledModulesComputeWhatTheModuleDoes) {
  Module module("Test");
  module.register_parameter("weight", at::randn({6, 4, 3, 3}), false);
  module.define(R"(
def forward(self, x: Tensor):
  y = torch.conv2d(x, self.weight, None, [1, 1], [1, 1])
  return torch.relu(y)
)");
  for (const auto format : {at::MemoryFormat::Contiguous, at::MemoryFormat::ChannelsLast}) {
    ScriptInput input;
    input.min = {1, 4, 5, 5};
    input.opt = {2, 4, 5, 5};
    input.max = {3, 4, 5, 5};
    input.format = format;
    ArgumentBuilder builder(at::kCPU);
    const auto example = builder.example(input, "x");
    ASSERT_TRUE(example.ok()) << example.status().to_string();
    const auto arguments =
        builder.finish({*example}, module.get_method("forward").function().getSchema());
    ASSERT_TRUE(arguments.ok()) << arguments.status().to_string();
    const auto compiled = compile_method(module, "forward", *arguments, {});
    ASSERT_TRUE(compiled.ok()) << compiled.status().to_string();
    auto made = module_of(*compiled, {});
    ASSERT_TRUE(made.ok()) << made.status().to_string();
    const at::Tensor x = at::randn({3, 4, 5, 5}).contiguous(format);
    const at::Tensor got = made->forward({x}).toTensor();
    const at::Tensor expected = module.forward({x}).toTensor();
    EXPECT_TRUE(at::allclose(got, expected, 1e-4, 1e-5));
    EXPECT_EQ(got.strides(), expected.strides());
  }
}

}  // namespace
}  // namespace kiln::torchscript

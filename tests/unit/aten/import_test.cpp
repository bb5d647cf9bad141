// What the importer does around the rules: defaults, reasons, records, refusals that leave nothing.
#include "aten/import_rule.h"
#include "aten/schema_defaults.h"
#include "unit/aten/capture_harness.h"

namespace kiln::test {
namespace {

TEST(Import, LeftOutArgumentsTakeTheSchemasDefaults) {
  Program p;
  Handle x = p.input("x", meta({"2", "3"}));
  Handle w = p.weight("w", counting({4, 3}));
  p.output(p.call("aten::linear", {v(x), v(w)}, meta({"2", "4"})));
  EXPECT_TRUE(p.last_record().native);
  EXPECT_EQ(values(p.run({f32({2, 3}, {1, 0, 0, 0, 1, 1})})[0]),
            (std::vector<double>{0, 3, 6, 9, 3, 9, 15, 21}));
}

TEST(Import, ConditionsBeyondTheRangesAreKept) {
  Program p;
  CaptureBuilder& b = p.builder;
  ASSERT_TRUE(b.symbol("n", 2, 64).ok());
  ASSERT_TRUE(b.symbol("m", 8, 32).ok());
  EXPECT_TRUE(b.condition("eq", "mod(n, 2)", "0", "even").value());
  EXPECT_TRUE(b.condition("ge", "n", "m", "n not below m").value());
  EXPECT_TRUE(b.condition("gt", "n", "m", "n above m").value());
  EXPECT_TRUE(b.condition("eq", "mod(n, 2)", "0", "even again").value());
  // What the ranges imply.
  EXPECT_FALSE(b.condition("le", "n", "64", "").value());
  EXPECT_FALSE(b.condition("ne", "n", "m + 64", "").value());
  EXPECT_FALSE(b.condition("eq", "mod(4*n, 2)", "0", "").value());
  // What they exclude, and nonsense.
  const Status never = b.condition("lt", "n", "2", "n below 2").status();
  EXPECT_EQ(never.code(), "K1131");
  EXPECT_NE(never.message().find("n below 2"), std::string::npos);
  EXPECT_EQ(b.condition("is", "n", "m", "").status().code(), "K1131");
  EXPECT_EQ(b.condition("eq", "n +", "m", "").status().code(), "K2102");
  const Handle x = p.input("x", meta({"n", "m"}));
  p.output(p.call("aten::neg", {v(x)}, meta({"n", "m"})));
  const std::vector<SizeCondition>& kept = p.finish().conditions;
  ASSERT_EQ(kept.size(), 3u);
  EXPECT_EQ(kept[0].to_string(), "mod(n, 2) == 0");
  EXPECT_EQ(kept[0].text, "even");
  EXPECT_EQ(kept[1].to_string(), "m <= n");
  EXPECT_EQ(kept[2].to_string(), "m < n");
}

TEST(Import, UnknownOperatorStaysACallWithItsReason) {
  Program p;
  Handle x = p.input("x", meta({"2"}));
  Handle y = p.call("aten::erfinv", {v(x)}, meta({"2"}));
  const auto& record = p.last_record();
  EXPECT_EQ(record.op, "aten::erfinv");
  EXPECT_FALSE(record.native);
  EXPECT_EQ(record.code, "K1300");
  EXPECT_EQ(record.origin.module_path, "block.0");
  p.output(y);
  ASSERT_EQ(p.count("aten.call"), 1);
  Node* node = p.finish().main.nodes().front().get();
  EXPECT_EQ(node->origin.location, "model.py:7");
  EXPECT_EQ(node->get_string("effect"), "none");
}

TEST(Import, RefusalRemovesTheNodesOfTheRule) {
  Program p;
  Handle x = p.input("x", meta({"2", "2"}));
  Handle other = p.input("other", meta({"2", "2"}, DType::kI64));
  // Promotion casts first, then the op refuses floats.
  p.output(p.call("aten::bitwise_and.Tensor", {v(x), v(other)}, meta({"2", "2"})));
  EXPECT_EQ(p.last_record().code, "K2203");
  EXPECT_EQ(p.finish().main.nodes().size(), 1u);
  EXPECT_EQ(p.count("aten.call"), 1);
}

TEST(Import, ResultThatDiffersFromCaptureIsRefused) {
  Program p;
  Handle x = p.input("x", meta({"2", "3"}));
  p.call("aten::t", {v(x)}, meta({"2", "3"}));
  EXPECT_EQ(p.last_record().code, "K1305");
  p.call("aten::neg", {v(x)}, meta({"2", "3"}, DType::kF64));
  EXPECT_EQ(p.last_record().code, "K1305");
}

// Captures also come from files.
TEST(Import, NonsenseIsRefusedNotRead) {
  Program p;
  Handle x = p.input("x", meta({"2", "3"}));
  Handle scalar = p.input("scalar", meta({}));
  auto refused = [&](const std::string& name, std::vector<CaptureArg> args,
                     std::vector<CaptureMeta> results) {
    p.calls(name, args, results);
    EXPECT_FALSE(p.last_record().native) << name;
  };
  const CaptureMeta m = meta({"2", "3"});
  refused("aten::relu", {v(x)}, {});
  refused("aten::relu", {v(x)}, {m, m});
  refused("aten::relu", {num(3)}, {m});
  refused("aten::cat", {v(x), num(7)}, {m});
  refused("aten::stack", {list({v(x), v(scalar)}), num(2)}, {meta({"2", "3", "2"})});
  refused("aten::transpose.int", {v(x), num(0), num(5)}, {m});
  refused("aten::permute", {v(x), nums({0, 0})}, {m});
  refused("aten::movedim.intlist", {v(x), nums({0, 1}), nums({1, 1})}, {m});
  refused("aten::select.int", {v(scalar), num(0), num(0)}, {meta({})});
  refused("aten::rot90", {v(x), num(1), nums({0, 9})}, {m});
  refused("aten::tensordot", {v(x), v(x), nums({9}), nums({0})}, {m});
  refused("aten::adaptive_avg_pool2d", {v(x), nums({1, 1, 1})}, {m});
  refused("aten::chunk", {v(x), num(0), num(0)}, {m});
  refused("aten::unflatten.int", {v(scalar), num(0), nums({2})}, {m});
  refused("aten::pixel_shuffle", {v(x), num(4000000000)}, {m});
  refused("aten::einsum", {str("ijk->i"), list({v(x)})}, {m});
  refused("aten::einsum", {str("...ijk->i"), list({v(x)})}, {m});
  refused("aten::outer", {v(scalar), v(scalar)}, {m});
  refused("aten::view", {v(x), nums({-1, -1})}, {m});
  refused("aten::softmax.int", {v(x), num(2)}, {m});
  refused("aten::index.Tensor", {v(x), list({none(), none(), v(x)})}, {m});
  refused("aten::to.device", {v(x), {Device{DeviceKind::kCuda, 0}}, dtype(DType::kF32)}, {m});
}

TEST(Import, ValuesOfPyTorchMakeFurtherCallsStay) {
  Program p;
  Handle x = p.input("x", meta({"2"}));
  Handle z = p.call("aten::nonzero", {v(x)}, opaque("tensor of data-dependent shape"));
  EXPECT_EQ(p.last_record().code, "K1302");
  p.output(p.call("aten::neg", {v(z)}, opaque("tensor of data-dependent shape")));
  EXPECT_EQ(p.last_record().code, "K1302");
  EXPECT_EQ(p.count("aten.call"), 2);
}

TEST(Import, FunctionsOfNumbersAreTorchScriptsOperators) {
  Program p;
  const auto number = [](char kind) {
    CaptureMeta result;
    result.scalar = kind;
    return result;
  };
  const Handle x = p.input("x", meta({"2"}));
  const Handle n = p.call("aten::_local_scalar_dense", {v(x)}, number('i'));
  const Handle f = p.call("aten::_local_scalar_dense", {v(x)}, number('f'));
  const Handle b = p.call("aten::_local_scalar_dense", {v(x)}, number('b'));
  const auto operator_of = [&](const char* function, const std::vector<CaptureArg>& args,
                               char kind) -> std::string {
    const auto made = p.builder.call(function, "", args, {number(kind)}, {}, "");
    return made.ok() ? p.last_record().op : made.status().code();
  };
  EXPECT_EQ(operator_of("_operator::mul", {v(n), num(2)}, 'i'), "aten::mul.int");
  EXPECT_EQ(operator_of("_operator::mul", {real(0.5), v(n)}, 'f'), "aten::mul.float_int");
  EXPECT_EQ(operator_of("_operator::truediv", {v(n), num(2)}, 'f'), "aten::div.int");
  EXPECT_EQ(operator_of("_operator::truediv", {v(f), v(n)}, 'f'), "aten::div");
  EXPECT_EQ(operator_of("_operator::mod", {v(n), num(2)}, 'i'), "aten::remainder.int");
  EXPECT_EQ(operator_of("_operator::pow", {v(n), num(2)}, 'i'), "aten::pow.int_to_int");
  EXPECT_EQ(operator_of("_operator::pow", {v(n), num(-2)}, 'f'), "aten::pow.int");
  EXPECT_EQ(operator_of("_operator::ge", {v(n), num(0)}, 'b'), "aten::ge.int");
  EXPECT_EQ(operator_of("_operator::and_", {v(b), v(b)}, 'b'), "aten::__and__.bool");
  EXPECT_EQ(operator_of("torch::sym_max", {v(n), num(1)}, 'i'), "prim::max.int");
  EXPECT_EQ(operator_of("torch::sym_not", {v(b)}, 'b'), "aten::__not__");
  EXPECT_EQ(operator_of("math::ceil", {v(f)}, 'i'), "aten::ceil.float");
  EXPECT_EQ(operator_of("torch::sym_float", {v(n)}, 'f'), "aten::Float.int");
  EXPECT_EQ(operator_of("math::tanh", {v(f)}, 'f'), "K1128");
  EXPECT_EQ(operator_of("_operator::mul", {v(n), v(x)}, 'i'), "K1128");
  EXPECT_EQ(operator_of("_operator::add", {v(n), v(b)}, 'i'), "K1128");
  EXPECT_EQ(operator_of("_operator::mul", {v(n)}, 'i'), "K1128");
}

TEST(Import, KeptByTheUsersWish) {
  Program p;
  p.builder.keep_in_torch({"aten::relu", "aten::add.Tensor"}, {"block"});
  Handle x = p.input("x", meta({"2"}));
  auto call = [&](const char* name, const char* overload, std::vector<CaptureArg> args,
                  const char* module) {
    auto handles = p.builder.call(name, overload, args, {meta({"2"})}, {module, ""}, "");
    EXPECT_TRUE(handles.ok());
    return p.last_record().code;
  };
  EXPECT_EQ(call("aten::relu", "", {v(x)}, "head"), "K1310");
  EXPECT_EQ(call("aten::add", "Tensor", {v(x), v(x)}, "head"), "K1310");
  EXPECT_EQ(call("aten::add", "Scalar", {v(x), num(1)}, "head"), "");
  EXPECT_EQ(call("aten::neg", "", {v(x)}, "block.1"), "K1310");
  EXPECT_EQ(call("aten::neg", "", {v(x)}, "blocks"), "");
}

TEST(Import, AssertionsOnMetadataComputeNothing) {
  Program p;
  Handle x = p.input("x", meta({"2"}));
  p.calls("aten::_assert_tensor_metadata", {v(x)}, {});
  EXPECT_TRUE(p.last_record().native);
  p.calls("aten::_assert_async.msg", {v(x), str("positive")}, {},
          "aten::_assert_async.msg(Tensor self, str assert_msg) -> ()");
  EXPECT_FALSE(p.last_record().native);
  p.output(p.call("aten::neg", {v(x)}, meta({"2"})));
  ASSERT_EQ(p.count("aten.call"), 1);
  EXPECT_EQ(p.finish().main.nodes().front()->get_string("effect"), "unknown");
}

TEST(Import, WrongStreamsAreErrors) {
  Program p;
  Handle x = p.input("x", meta({"2"}));
  auto code = [&](const char* name, std::vector<CaptureArg> args) {
    auto handles = p.builder.call(name, "", args, {meta({"2"})}, {}, "");
    return handles.ok() ? p.last_record().code : std::string(handles.status().code());
  };
  EXPECT_EQ(code("aten::neg", {v(99)}), "K1122");
  EXPECT_EQ(code("aten::neg", {v(x), num(1)}), "K1124");
  EXPECT_EQ(code("aten::linear", {v(x)}), "K1124");
  EXPECT_EQ(p.builder.symbol("s", 4, 3).code(), "K1126");
  EXPECT_FALSE(p.builder.input("y", meta({"s +"})).ok());
  EXPECT_EQ(p.builder.input("z", meta({"2", "2"}, DType::kF32, {"1"})).status().code(), "K1129");
}

TEST(Import, ConstantsWithStridesAreReadInOrder) {
  Program p;
  const std::vector<float> memory{0, 1, 2, 3, 4, 5};
  CaptureWeight weight;
  weight.shape = {3, 2};
  weight.strides = {1, 3};  // the transpose of a 2 x 3 matrix
  weight.data = memory.data();
  auto handle = p.builder.weight("w", weight, "parameter");
  ASSERT_TRUE(handle.ok());
  Handle x = p.input("x", meta({"3", "2"}));
  p.output(p.call("aten::add.Tensor", {v(x), v(*handle)}, meta({"3", "2"})));
  EXPECT_EQ(values(p.run({f32({3, 2}, {0, 0, 0, 0, 0, 0})})[0]),
            (std::vector<double>{0, 3, 1, 4, 2, 5}));
}

TEST(Import, OutputsKeepTheMemoryOrderOfCapture) {
  Program p;
  Handle x = p.input("x", meta({"1", "3", "2", "2"}, DType::kF32, {"12", "1", "6", "3"}));
  p.output(
      p.call("aten::relu", {v(x)}, meta({"1", "3", "2", "2"}, DType::kF32, {"12", "1", "6", "3"})));
  EXPECT_EQ(p.finish().inputs[0].order, (std::vector<int>{0, 2, 3, 1}));
  EXPECT_EQ(p.finish().outputs[0].order, (std::vector<int>{0, 2, 3, 1}));
}

// ---- schemas

TEST(Schema, PrintsWhatItParsed) {
  for (const char* text :
       {"aten::add_.Tensor(Tensor(a!) self, Tensor other, *, Scalar alpha=1) -> Tensor(a!)",
        "aten::split.Tensor(Tensor(a -> *) self, SymInt split_size, int dim=0) -> Tensor(a)[]",
        "aten::conv2d.padding(Tensor input, Tensor weight, Tensor? bias=None, SymInt[2] "
        "stride=[1, 1], str padding=\"valid\", SymInt[2] dilation=[1, 1], SymInt groups=1) -> "
        "Tensor",
        "aten::max.dim(Tensor self, int dim, bool keepdim=False) -> (Tensor values, Tensor "
        "indices)",
        "aten::_assert_async.msg(Tensor self, str assert_msg) -> ()",
        "aten::amax(Tensor self, int[1] dim=[], bool keepdim=False) -> Tensor",
        "aten::index.Tensor(Tensor self, Tensor?[] indices) -> Tensor"}) {
    auto schema = Schema::parse(text);
    ASSERT_TRUE(schema.ok()) << text;
    EXPECT_EQ(schema->to_string(), text);
  }
  EXPECT_FALSE(Schema::parse("add(Tensor x) -> Tensor").ok());
  EXPECT_FALSE(Schema::parse("aten::add(Tensor x").ok());
  EXPECT_FALSE(Schema::parse("aten::add(Tensor) -> Tensor").ok());
}

// A default that does not parse would only show when somebody leaves the argument out.
TEST(Schema, EveryDefaultOfEveryRuleParses) {
  for (const ImportRule* rule : ImportRules::global().all()) {
    for (size_t i = 0; i < rule->schema.arguments.size(); ++i) {
      const SchemaArgument& argument = rule->schema.arguments[i];
      if (!argument.default_value) continue;
      // Everything from here on has a default: keyword-only arguments without one end the search.
      bool rest = true;
      for (size_t k = i; k < rule->schema.arguments.size(); ++k) {
        rest = rest && rule->schema.arguments[k].default_value.has_value();
      }
      if (!rest) continue;
      CallArg::List args(i);
      const Status status = fill_defaults(rule->schema, args);
      EXPECT_TRUE(status.ok()) << rule->schema.full_name() << ": " << status.to_string();
      EXPECT_EQ(args.size(), rule->schema.arguments.size());
      break;
    }
  }
  EXPECT_GT(import_rule_schemas().size(), 500u);
}

}  // namespace
}  // namespace kiln::test

#include "interp/interpreter.h"

#include <gtest/gtest.h>

#include "interp/random_data.h"

namespace kiln {
namespace {

std::unique_ptr<Module> parse_ok(const char* text) {
  Result<std::unique_ptr<Module>> module = parse_module(text);
  EXPECT_TRUE(module.ok()) << module.status().to_string();
  if (!module.ok()) return nullptr;
  EXPECT_TRUE(verify(**module).ok()) << verify(**module).to_string();
  return std::move(module).value();
}

HostTensor f32(std::vector<int64_t> shape, std::vector<float> data) {
  HostTensor tensor(DType::kF32, std::move(shape));
  EXPECT_EQ(tensor.num_elements(), static_cast<int64_t>(data.size()));
  std::copy(data.begin(), data.end(), tensor.data<float>());
  return tensor;
}

TEST(Interpreter, RunsInitThenMainWithSymbols) {
  std::unique_ptr<Module> module = parse_ok(R"(
symbols { b in [1, 8] }
weights { %w0 = parameter "w" : f32[2] }
init {
  %0 = add(%w0, %w0) : f32[2]
  const %c0 = %0 : f32[2]
}
main(%x: f32[?b,2]) {
  %0 = mul(%x, %c0) : f32[?b,2]
  %1 = add(%0, %x) : f32[?b,2]
  return %1, %x
})");
  ASSERT_NE(module, nullptr);
  Result<std::vector<HostTensor>> out =
      interpret(*module, {f32({2, 2}, {1, 2, 3, 4})}, {f32({2}, {10, 100})});
  ASSERT_TRUE(out.ok()) << out.status().to_string();
  ASSERT_EQ(out->size(), 2u);
  EXPECT_EQ((*out)[0], f32({2, 2}, {21, 402, 63, 804}));
  EXPECT_EQ((*out)[1], f32({2, 2}, {1, 2, 3, 4}));
}

TEST(Interpreter, FusedNodesRunTheirBody) {
  std::unique_ptr<Module> module = parse_ok(R"(
main(%x: f32[2], %y: f32[2]) {
  %0 = fused(%x, %y) : f32[2] body(%a: f32[2], %b: f32[2]) {
    %0 = mul(%a, %b) : f32[2]
    %1 = sub(%0, %a) : f32[2]
    return %1
  }
  return %0
})");
  ASSERT_NE(module, nullptr);
  Result<std::vector<HostTensor>> out =
      interpret(*module, {f32({2}, {2, 3}), f32({2}, {5, 7})}, {});
  ASSERT_TRUE(out.ok()) << out.status().to_string();
  EXPECT_EQ((*out)[0], f32({2}, {8, 18}));
}

TEST(Interpreter, RefusesWhatDoesNotFit) {
  std::unique_ptr<Module> module = parse_ok(
      "symbols { b in [1, 4] }"
      "main(%x: f32[?b], %y: f32[?(b + 1)]) { %0 = add(%x, %x) : f32[?b] return %0 }");
  ASSERT_NE(module, nullptr);
  auto code = [&](std::vector<HostTensor> inputs) {
    return interpret(*module, inputs, {}).status().code();
  };
  const HostTensor two = f32({2}, {1, 2});
  const HostTensor three = f32({3}, {1, 2, 3});
  EXPECT_EQ(code({two, three}), "");
  EXPECT_EQ(code({two}), "K2501");
  EXPECT_EQ(code({two, two}), "K2501");
  EXPECT_EQ(code({HostTensor(DType::kF64, {2}), three}), "K2501");
  EXPECT_EQ(code({HostTensor(DType::kF32, {2, 1}), three}), "K2501");
  EXPECT_EQ(code({HostTensor(DType::kF32, {5}), HostTensor(DType::kF32, {6})}), "K2502");
}

TEST(Interpreter, NamesTheNodeThatFailed) {
  Result<std::unique_ptr<Module>> module = parse_module(
      "main(%x: f32[2]) { %0 = aten.call(%x) {call=my::op(%0)} : f32[2]"
      " loc(\"block\" \"m.py:3\") return %0 }");
  ASSERT_TRUE(module.ok()) << module.status().to_string();
  const Status status = interpret(**module, {f32({2}, {1, 2})}, {}).status();
  ASSERT_FALSE(status.ok());
  EXPECT_NE(status.to_string().find("block (m.py:3)"), std::string::npos) << status.to_string();
}

TEST(Interpreter, ReadsWeightsAndRefusesMissingOnes) {
  std::unique_ptr<Module> module = parse_ok(
      "weights { %w0 = parameter \"w\" : f32[2] }"
      " main() { return }");
  ASSERT_NE(module, nullptr);
  EXPECT_EQ(read_weights(*module).status().code(), "K2505");
  const float data[] = {1, 2};
  module->weights[0].data = WeightData{data, sizeof(data), nullptr};
  Result<std::vector<HostTensor>> weights = read_weights(*module);
  ASSERT_TRUE(weights.ok());
  EXPECT_EQ((*weights)[0], f32({2}, {1, 2}));
  module->weights[0].data.bytes = 4;
  EXPECT_EQ(read_weights(*module).status().code(), "K2501");
}

TEST(Interpreter, RefusesHugeTensorsBeforeAllocating) {
  std::unique_ptr<Module> module = parse_ok(
      "symbols { b in [1, inf] }"
      "main(%x: f32[?b,1]) { %0 = expand(%x) {shape=[?b, 4000000000]} : f32[?b,4000000000]"
      " return %0 }");
  ASSERT_NE(module, nullptr);
  EXPECT_EQ(interpret(*module, {f32({1, 1}, {1})}, {}).status().code(), "K2504");
}

TEST(RandomData, IsReproducibleAndKeepsItsPromises) {
  for (int i = 0; i <= static_cast<int>(DType::kBool); ++i) {
    const auto dtype = static_cast<DType>(i);
    for (DataKind kind : {DataKind::kNormal, DataKind::kSmallIntegers, DataKind::kPositive,
                          DataKind::kUnit, DataKind::kIndices}) {
      const HostTensor a = random_data(dtype, {7, 11}, kind, 3, 5);
      EXPECT_EQ(a, random_data(dtype, {7, 11}, kind, 3, 5));
      EXPECT_NE(a, random_data(dtype, {7, 11}, kind, 4, 5));
      for (int64_t k = 0; k < a.num_elements(); ++k) {
        const double v = a.get_double(k);
        if (dtype == DType::kBool) continue;
        if (kind == DataKind::kIndices) {
          EXPECT_TRUE(v >= 0 && v < 5) << v;
        }
        if (kind == DataKind::kPositive) {
          EXPECT_TRUE(v >= 0.5 && v <= 4) << v;
        }
        if (kind == DataKind::kUnit) {
          EXPECT_TRUE(v >= -1 && v <= 1) << v;
        }
        if (kind == DataKind::kSmallIntegers) {
          EXPECT_EQ(v, static_cast<double>(a.get_int(k)));
        }
      }
    }
  }
}

}  // namespace
}  // namespace kiln

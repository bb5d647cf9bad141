// Depthwise convolutions of channels-last images with what follows them, against the reference:
// strips of every length, windows of every form, activations.
#include <gtest/gtest.h>

#include <cctype>
#include <memory>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "emulator/emulated_cuda.h"
#include "interp/interpreter.h"
#include "interp/random_data.h"
#include "ops/sample_types.h"
#include "samples/own_cuda_kernels.h"
#include "samples/sample_check.h"
#include "samples/sample_program.h"

namespace kiln::emulator {
namespace {

struct Depthwise {
  const char* why;
  const char* dtype;
  int64_t batch, channels, height, width;
  int64_t window[2], stride[2], padding[2], dilation[2];
  const char* activation;  // of %1; empty: none
  int multiprocessors;     // few: long strips
  int strip;
};

void PrintTo(const Depthwise& c, std::ostream* out) { *out << c.why; }

constexpr Depthwise kCases[] = {
    {"strips of 4 with a remainder",
     "f16",
     2,
     24,
     19,
     23,
     {3, 3},
     {1, 1},
     {1, 1},
     {1, 1},
     "hardswish(%1)",
     1,
     4},
    {"5x5, stride 2, channels beside each other in parts",
     "f16",
     2,
     272,
     9,
     14,
     {5, 5},
     {2, 2},
     {2, 2},
     {1, 1},
     "relu(%1)",
     1,
     4},
    {"strips of 2", "f16", 1, 32, 16, 17, {3, 3}, {1, 1}, {1, 1}, {1, 1}, "silu(%1)", 1, 2},
    {"single positions", "f16", 1, 16, 9, 9, {3, 3}, {1, 1}, {1, 1}, {1, 1}, "sigmoid(%1)", 132, 1},
    {"holes, unlike along the axes",
     "f32",
     3,
     16,
     21,
     40,
     {3, 2},
     {1, 2},
     {0, 3},
     {2, 3},
     "clamp(%1) {has_min=true, min=0.0, has_max=true, max=6.0}",
     1,
     4},
    {"a stride beyond the window",
     "f32",
     3,
     20,
     33,
     70,
     {2, 2},
     {2, 3},
     {0, 0},
     {1, 1},
     "leaky_relu(%1) {slope=0.125}",
     1,
     4},
    {"odd channels", "f16", 4, 19, 23, 31, {3, 3}, {1, 1}, {1, 1}, {1, 1}, "tanh(%1)", 1, 4},
    {"padding wider than the image",
     "bf16",
     4,
     64,
     5,
     3,
     {7, 7},
     {1, 1},
     {6, 6},
     {1, 1},
     "hardsigmoid(%1)",
     1,
     4},
    {"a long window, tap by tap",
     "f32",
     2,
     8,
     30,
     34,
     {1, 9},
     {1, 1},
     {0, 4},
     {1, 1},
     "gelu(%1) {approximate=\"none\"}",
     1,
     4},
    {"f64", "f64", 1, 6, 40, 40, {3, 3}, {1, 1}, {1, 1}, {1, 1}, "", 1, 4},
};

std::string dims(std::initializer_list<int64_t> sizes) {
  std::string text;
  for (const int64_t size : sizes) text += (text.empty() ? "" : ",") + std::to_string(size);
  return text;
}

std::string text_of(const Depthwise& c) {
  const auto out = [&](int axis) {
    const int64_t size = axis == 0 ? c.height : c.width;
    return (size + 2 * c.padding[axis] - (c.window[axis] - 1) * c.dilation[axis] - 1) /
               c.stride[axis] +
           1;
  };
  const std::string t = std::string(c.dtype) + "[";
  const auto pair = [](const int64_t(&of)[2]) { return "[" + dims({of[0], of[1]}) + "]"; };
  const std::string n = std::to_string(c.channels);
  const std::string weight = t + dims({c.channels, 1, c.window[0], c.window[1]}) + "]";
  const std::string y = t + dims({c.batch, c.channels, out(0), out(1)}) + "]";
  const bool active = *c.activation != 0;
  return "weights {\n  %w0 = parameter \"w\" : " + weight + "\n  %w1 = parameter \"b\" : " + t + n +
         "]\n}\ninit {\n  const %c0 = %w0 : " + weight + "\n  const %c1 = %w1 : " + t + n +
         "]\n}\nmain(%x: " + t + dims({c.batch, c.height, c.width, c.channels}) +
         "]) {\n  %0 = permute(%x) {order=[0, 3, 1, 2]} : " + t +
         dims({c.batch, c.channels, c.height, c.width}) +
         "]\n  %1 = conv(%0, %c0, %c1) {stride=" + pair(c.stride) + ", padding=" + pair(c.padding) +
         ", dilation=" + pair(c.dilation) + ", groups=" + n + "} : " + y + "\n" +
         (active ? "  %2 = " + std::string(c.activation) + " : " + y + "\n" : "") +
         "  %3 = permute(%" + (active ? "2" : "1") + ") {order=[0, 2, 3, 1]} : " + t +
         dims({c.batch, out(0), out(1), c.channels}) + "]\n  return %3 {name=\"y\"}\n}";
}

class DepthwiseOnTheEmulator : public testing::TestWithParam<Depthwise> {};

TEST_P(DepthwiseOnTheEmulator, MatchesTheReference) {
  const Depthwise& c = GetParam();
  use_emulated_cuda();
  auto parsed = parse_module(text_of(c));
  ASSERT_TRUE(parsed.ok()) << parsed.status().to_string() << "\n" << text_of(c);
  const std::unique_ptr<Module> module = std::move(*parsed);
  std::vector<HostTensor> tensors;
  for (const TensorType& type :
       {module->weights[0].type, module->weights[1].type, module->main.inputs()[0]->tensor()}) {
    const auto shape = evaluate(type.shape, {});
    ASSERT_TRUE(shape.ok());
    tensors.push_back(random_data(type.dtype, *shape, DataKind::kNormal, 1 + tensors.size()));
  }
  const std::vector<HostTensor> weights{tensors[0], tensors[1]};
  SampleData data;
  data.operands.push_back(tensors[2]);
  const auto expected = interpret(*module, {tensors[2]}, weights);
  ASSERT_TRUE(expected.ok()) << expected.status().to_string();

  auto program = SampleProgram::lower(module->clone(), weights,
                                      std::make_unique<OwnCudaKernels>(c.multiprocessors));
  ASSERT_TRUE(program.ok()) << program.status().to_string();
  // One step, the activation with it, in the strips that the case is there for.
  EXPECT_EQ((*program)->steps(), "cuda.depthwise");
  const Json& params = (*program)->plan().kernels[0].params;
  const auto strip = params.int_at("strip", 1, 8);
  ASSERT_TRUE(strip.ok());
  EXPECT_EQ(*strip, c.strip);
  ASSERT_TRUE((*program)->load(1).ok());
  const auto actual = (*program)->run(data);
  ASSERT_TRUE(actual.ok()) << actual.status().to_string();
  // The reference rounds what the activation is given.
  const double tolerance = 4 * default_tolerance(tensors[2].dtype());
  EXPECT_EQ(difference((*actual)[0], (*expected)[0], tolerance), "");
}

INSTANTIATE_TEST_SUITE_P(All, DepthwiseOnTheEmulator, testing::ValuesIn(kCases),
                         [](const auto& of) {
                           std::string name = of.param.why;
                           for (char& c : name) {
                             if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
                           }
                           return name;
                         });

}  // namespace
}  // namespace kiln::emulator

// What the samples of the ops do not show: which steps come out, reading in place, indices that are
// out of range, and that results of one step go where they are needed.
#include <gtest/gtest.h>

#include "interp/interpreter.h"
#include "interp/random_data.h"
#include "ir/op_def.h"
#include "own_kernels_backend.h"
#include "samples/sample_program.h"

namespace kiln {
namespace {

struct Built {
  std::unique_ptr<Module> module;
  Build build;
  std::shared_ptr<Engine> engine;

  std::vector<std::string> steps() const {
    std::vector<std::string> kinds;
    for (const StepDesc& step : build.plan.main.steps) kinds.push_back(step.kind);
    return kinds;
  }
};

std::unique_ptr<Built> build_text(const std::string& text) {
  auto built = std::make_unique<Built>();
  Result<std::unique_ptr<Module>> module = parse_module(text);
  EXPECT_TRUE(module.ok()) << module.status().to_string();
  if (!module.ok()) return nullptr;
  built->module = (*module)->clone();
  const Status verified = verify(**module);
  EXPECT_TRUE(verified.ok()) << verified.to_string();
  built->build.module = std::move(*module);
  built->build.backend = std::make_unique<OwnKernelsBackend>();
  const Status status = run_lowering_phases(built->build);
  EXPECT_TRUE(status.ok()) << status.to_string();
  if (!verified.ok() || !status.ok()) return nullptr;
  Result<std::shared_ptr<Engine>> engine = Engine::create(built->build.plan, {}, {});
  EXPECT_TRUE(engine.ok()) << engine.status().to_string();
  if (!engine.ok()) return nullptr;
  built->engine = *engine;
  return built;
}

Result<std::vector<HostTensor>> run(Built& built, const std::vector<HostTensor>& inputs) {
  ExecutionContext::Impl context(built.engine);
  std::vector<PlacedTensor> placed;
  for (const HostTensor& input : inputs) placed.emplace_back(input, std::vector<int>());
  std::vector<TensorView> views, outputs;
  for (PlacedTensor& tensor : placed) views.push_back(tensor.view());
  KILN_RETURN_IF_ERROR(context.prepare(views));
  std::vector<HostTensor> results;
  for (const TensorSpec& spec : context.output_specs()) {
    results.emplace_back(spec.dtype, spec.shape);
    std::memset(results.back().bytes(), 0x5b, results.back().num_bytes());
  }
  for (HostTensor& result : results) {
    TensorView view;
    view.data = result.bytes();
    view.dtype = result.dtype();
    view.rank = result.rank();
    view.shape = result.shape().data();
    outputs.push_back(view);
  }
  KILN_RETURN_IF_ERROR(context.run(views, outputs));
  return results;
}

void expect_same_as_interpreter(Built& built, const std::vector<HostTensor>& inputs) {
  Result<std::vector<HostTensor>> expected = interpret(*built.module, inputs, {});
  ASSERT_TRUE(expected.ok()) << expected.status().to_string();
  Result<std::vector<HostTensor>> actual = run(built, inputs);
  ASSERT_TRUE(actual.ok()) << actual.status().to_string();
  ASSERT_EQ(actual->size(), expected->size());
  for (size_t i = 0; i < expected->size(); ++i) {
    ASSERT_EQ((*actual)[i].shape(), (*expected)[i].shape());
    for (int64_t at = 0; at < (*expected)[i].num_elements(); ++at) {
      ASSERT_NEAR((*actual)[i].get_double(at), (*expected)[i].get_double(at), 2e-5) << at;
    }
  }
}

HostTensor normal(std::vector<int64_t> shape, uint64_t seed = 7) {
  return random_data(DType::kF32, std::move(shape), DataKind::kNormal, seed);
}

using Kinds = std::vector<std::string>;

// Heads are cut out of one projection and merged again without moving an element.
TEST(OwnKernels, AttentionReadsPackedProjection) {
  auto built = build_text(R"(
    symbols { b in [1, 9] s in [1, 99] }
    main(%x: f32[?b,?s,96], %m: bool[?b,1,1,?s]) {
      %0 = reshape(%x) {shape=[?b,?s,3,4,8]} : f32[?b,?s,3,4,8]
      %1 = permute(%0) {order=[2,0,3,1,4]} : f32[3,?b,4,?s,8]
      %2 = slice(%1) {axis=0,start=0,end=1} : f32[1,?b,4,?s,8]
      %3 = reshape(%2) {shape=[?b,4,?s,8]} : f32[?b,4,?s,8]
      %4 = slice(%1) {axis=0,start=1,end=2} : f32[1,?b,4,?s,8]
      %5 = reshape(%4) {shape=[?b,4,?s,8]} : f32[?b,4,?s,8]
      %6 = slice(%1) {axis=0,start=2,end=3} : f32[1,?b,4,?s,8]
      %7 = reshape(%6) {shape=[?b,4,?s,8]} : f32[?b,4,?s,8]
      %8 = attention(%3, %5, %7, %m) : f32[?b,4,?s,8]
      %9 = permute(%8) {order=[0,2,1,3]} : f32[?b,?s,4,8]
      %10 = reshape(%9) {shape=[?b,?s,32]} : f32[?b,?s,32]
      %11 = relu(%10) : f32[?b,?s,32]
      return %11
    })");
  ASSERT_NE(built, nullptr);
  EXPECT_EQ(built->steps(), (Kinds{"attention", "tile"}));
  for (int64_t length : {1, 5, 33}) {
    HostTensor mask(DType::kBool, {2, 1, 1, length});
    for (int64_t i = 0; i < mask.num_elements(); ++i) mask.set_int(i, i % 3 != 1);
    expect_same_as_interpreter(*built, {normal({2, length, 96}), mask});
  }
}

// More than two batch dims are merged; here k's cannot be by strides, and the result lies inside a
// concat.
TEST(OwnKernels, AttentionOfHigherRank) {
  auto built = build_text(R"(
    main(%q: f32[2,3,4,5,8], %k: f32[3,2,4,7,8], %v: f32[2,3,4,7,8], %m: f32[3,1,5,7],
         %z: f32[2,3,4,5,8]) {
      %0 = permute(%k) {order=[1,0,2,3,4]} : f32[2,3,4,7,8]
      %1 = attention(%q, %0, %v, %m) : f32[2,3,4,5,8]
      %2 = concat(%1, %z) {axis=1} : f32[2,6,4,5,8]
      return %2
    })");
  ASSERT_NE(built, nullptr);
  expect_same_as_interpreter(*built, {normal({2, 3, 4, 5, 8}, 1), normal({3, 2, 4, 7, 8}, 2),
                                      normal({2, 3, 4, 7, 8}, 3), normal({3, 1, 5, 7}, 4),
                                      normal({2, 3, 4, 5, 8}, 5)});
}

// Results are computed where the concat wants them.
TEST(OwnKernels, ResultsInsideConcat) {
  auto built = build_text(R"(
    main(%x: f32[4,6], %w: f32[5,6], %t: f32[9,5], %i: i64[4]) {
      %0 = linear(%x, %w) : f32[4,5]
      %1 = embedding(%t, %i) : f32[4,5]
      %2 = flip(%1) {axes=[1]} : f32[4,5]
      %3 = cumsum(%x) {axis=0} : f32[4,6]
      %4 = concat(%0, %2, %3) {axis=1} : f32[4,16]
      return %4
    })");
  ASSERT_NE(built, nullptr);
  EXPECT_EQ(built->steps(), (Kinds{"gemm", "index", "copy", "scan"}));
  expect_same_as_interpreter(
      *built, {normal({4, 6}), normal({5, 6}), normal({9, 5}),
               random_data(DType::kI64, {4}, DataKind::kIndices, 3, 9)});
}

// The rows of a sliced sequence are no matrix: its dims stay batch dims, nothing is copied.
TEST(OwnKernels, LinearOfASlice) {
  auto built = build_text(R"(
    main(%x: f32[3,7,6], %w: f32[5,6], %b: f32[5]) {
      %0 = slice(%x) {axis=1,start=2,end=6} : f32[3,4,6]
      %1 = linear(%0, %w, %b) : f32[3,4,5]
      return %1
    })");
  ASSERT_NE(built, nullptr);
  EXPECT_EQ(built->steps(), Kinds{"gemm"});
  expect_same_as_interpreter(*built, {normal({3, 7, 6}), normal({5, 6}), normal({5})});
}

TEST(OwnKernels, IndexPutLeavesItsOperandAlone) {
  auto built = build_text(R"(
    main(%x: f32[6,3], %v: f32[2,3], %i: i64[2]) {
      %0 = index_put(%x, %v, %i) {axes=[0]} : f32[6,3]
      %1 = add(%x, %0) : f32[6,3]
      return %0, %1
    })");
  ASSERT_NE(built, nullptr);
  HostTensor index(DType::kI64, {2});
  index.set_int(0, -1);
  index.set_int(1, 2);
  expect_same_as_interpreter(*built, {normal({6, 3}), normal({2, 3}), index});
}

TEST(OwnKernels, IndicesOutOfRangeAreErrors) {
  struct Case {
    std::string text;
    int64_t low, high;  // the smallest and largest index that is allowed
  };
  const Case cases[] = {
      {"%0 = embedding(%x, %i) : f32[2,4]", 0, 5},
      {"%0 = index_select(%x, %i) {axis=1} : f32[6,2]", 0, 3},
      {"%0 = index(%x, %i) {axes=[1]} : f32[6,2]", -4, 3},
      {"%0 = index_put(%x, %v, %i) {axes=[0]} : f32[6,4]", -6, 5},
      {"%0 = reshape(%i) {shape=[1,2]} : i64[1,2] %1 = gather(%x, %0) {axis=1} : f32[1,2]", 0, 3},
      {"%0 = reshape(%i) {shape=[2,1]} : i64[2,1] %1 = scatter(%x, %0, %v) {axis=0} : f32[6,4]", 0,
       5},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.text);
    const std::string last = c.text.find("%1 =") == std::string::npos ? "%0" : "%1";
    auto built = build_text("main(%x: f32[6,4], %v: f32[2,4], %i: i64[2]) { " + c.text +
                            " return " + last + " }");
    ASSERT_NE(built, nullptr);
    for (int64_t value : {c.low, c.high, c.low - 1, c.high + 1, INT64_MIN, INT64_MAX}) {
      HostTensor index(DType::kI64, {2});
      index.set_int(1, value);
      Result<std::vector<HostTensor>> result = run(*built, {normal({6, 4}), normal({2, 4}), index});
      const bool allowed = value >= c.low && value <= c.high;
      EXPECT_EQ(result.ok(), allowed) << value;
      if (!allowed && !result.ok()) {
        EXPECT_EQ(result.status().code(), "K4312") << result.status().to_string();
        EXPECT_NE(result.status().message().find(std::to_string(value)), std::string::npos)
            << result.status().to_string();
      }
    }
  }
}

// A literal of unequal elements is data of the plan.
TEST(OwnKernels, Literals) {
  OpSample sample;
  sample.why = "literal";
  HostTensor value(DType::kI32, {2, 3});
  for (int64_t i = 0; i < 6; ++i) value.set_int(i, i * i - 7);
  sample.attrs = {{"value", value}};
  auto program =
      SampleProgram::make(OpRegistry::global().get("constant"), sample, InputForm::kContiguous, 1,
                          std::make_unique<OwnKernelsBackend>());
  ASSERT_TRUE(program.ok()) << program.status().to_string();
  Result<std::vector<HostTensor>> result = (*program)->run({});
  ASSERT_TRUE(result.ok()) << result.status().to_string();
  EXPECT_TRUE((*result)[0] == value);
}

}  // namespace
}  // namespace kiln

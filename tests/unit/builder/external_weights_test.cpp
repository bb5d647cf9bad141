// Weights that the caller gives: files without them, replaced ones, updates by name. And that
// nothing in a plan depends on the value of a parameter.
#include <gmock/gmock.h>
#include <kiln/builder.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "base/file.h"
#include "base/json.h"
#include "runtime/archive.h"
#include "runtime/engine.h"
#include "unit/builder/small_files.h"

namespace kiln {
namespace {

namespace fs = std::filesystem;
using test::AlignedBytes;
using testing::HasSubstr;

struct Values {
  std::vector<float> weight = {1, 2, 3, 4, 5, 6};  // [3, 2]
  std::vector<float> bias = {0.5f, -1, 2};
  std::vector<float> scale = {1, 10, 100};
};

CaptureMeta meta(std::vector<CaptureDim> dims) {
  return {DType::kF32, std::move(dims), {}, "", {}};
}

CaptureWeight capture_weight(const float* data, std::vector<int64_t> shape) {
  return {DType::kF32, std::move(shape), {}, data, nullptr};
}

// y = linear(x, weight, bias) * scale, where scale is a constant.
std::unique_ptr<CompiledProgram> compile_affine(const float* weight, const float* bias,
                                                const float* scale) {
  CaptureBuilder cap;
  const auto x = cap.input("x", meta({"4", "2"})).value();
  const auto w = cap.weight("fc.weight", capture_weight(weight, {3, 2}), "parameter").value();
  const auto b = cap.weight("fc.bias", capture_weight(bias, {3}), "parameter").value();
  const auto s = cap.weight("scale", capture_weight(scale, {3}), "constant").value();
  auto value = [](CaptureBuilder::Handle handle) {
    CaptureArg arg;
    arg.value = CaptureArg::Value{handle};
    return arg;
  };
  const auto product = cap.call("aten::linear", "", {value(x), value(w), value(b)},
                                {meta({"4", "3"})}, {"fc", ""}, "")
                           .value();
  const auto scaled = cap.call("aten::mul", "Tensor", {value(product[0]), value(s)},
                               {meta({"4", "3"})}, {"", ""}, "")
                          .value();
  EXPECT_TRUE(cap.output(scaled[0], "y").ok());
  BuildOptions options;
  options.threads = 1;
  auto compiled = compile(cap, options);
  EXPECT_TRUE(compiled.ok()) << compiled.status().to_string();
  return std::move(compiled).value();
}

std::unique_ptr<CompiledProgram> compile_affine(const Values& values) {
  return compile_affine(values.weight.data(), values.bias.data(), values.scale.data());
}

WeightView view(const std::string& name, const std::vector<float>& values,
                std::vector<int64_t> shape) {
  auto owner = std::make_shared<std::vector<float>>(values);
  const void* data = owner->data();
  return {name, DType::kF32, std::move(shape), data, values.size() * sizeof(float), owner};
}

std::vector<WeightView> views(const Values& values) {
  return {view("fc.weight", values.weight, {3, 2}), view("fc.bias", values.bias, {3}),
          view("scale", values.scale, {3})};
}

std::vector<float> expected(const Values& values) {
  std::vector<float> y;
  for (int n = 0; n < 4; ++n) {
    for (size_t i = 0; i < 3; ++i) {
      const float x0 = static_cast<float>(2 * n), x1 = static_cast<float>(2 * n + 1);
      const float sum = x0 * values.weight[2 * i] + x1 * values.weight[2 * i + 1];
      y.push_back((sum + values.bias[i]) * values.scale[i]);
    }
  }
  return y;
}

// The program on x = 0, 1, ..., 7: small integers and halves, so results are exact.
std::vector<float> run(Program& program) {
  std::vector<float> x = {0, 1, 2, 3, 4, 5, 6, 7}, y(12, -1);
  const int64_t in[] = {4, 2}, out[] = {4, 3}, strides[] = {3, 1};
  const Status status = program.create_context()->run(
      {{x.data(), DType::kF32, Device(), 2, in, nullptr}},
      {{y.data(), DType::kF32, Device(), 2, out, strides}});
  EXPECT_TRUE(status.ok()) << status.to_string();
  return y;
}

Result<std::shared_ptr<Program>> load(const std::string& bytes, std::vector<WeightView> weights) {
  LoadOptions options;
  options.threads = 1;
  options.weights = std::move(weights);
  auto copy = std::make_shared<AlignedBytes>(bytes);
  return Program::load(copy->data, copy->size, copy, options);
}

Values other_values() {
  Values other;
  other.weight = {6, 5, 4, 3, 2, 1};
  other.bias = {1, 2, 3};
  return other;
}

class ExternalWeights : public testing::Test {
 protected:
  Values values_;
  std::unique_ptr<CompiledProgram> compiled_ = compile_affine(values_);
  std::string external_ = compiled_->serialize({WeightPolicy::kExternal}).value();
  std::string embedded_ = compiled_->serialize().value();
};

TEST_F(ExternalWeights, SerializeGivesTheBytesOfTheFile) {
  const std::string path =
      (fs::temp_directory_path() / ("kiln_external_" + std::to_string(getpid()))).string();
  ASSERT_TRUE(compiled_->save(path).ok());
  EXPECT_EQ(read_file(path).value(), embedded_);
  ASSERT_TRUE(compiled_->save(path, {WeightPolicy::kExternal}).ok());
  EXPECT_EQ(read_file(path).value(), external_);
  unlink(path.c_str());
}

TEST_F(ExternalWeights, TheFileListsThemWithHashes) {
  const auto entries = read_archive(external_);
  ASSERT_TRUE(entries.ok());
  for (const ArchiveEntry& entry : *entries) EXPECT_NE(entry.name, "weights.bin");
  const Json header = parse_json((*entries)[0].content).value();
  const Json& weights = *header.member("weights").value();
  ASSERT_EQ(weights.size(), 3u);
  for (const Json& weight : weights.as_array()) {
    EXPECT_EQ(weight.string_at("dtype").value(), "f32");
    EXPECT_EQ(weight.string_at("xxh128").value().size(), 32u);
  }
  EXPECT_EQ(weights[0].string_at("name").value(), "fc.weight");
  EXPECT_EQ(weights[0].ints_at("dims").value(), (std::vector<int64_t>{3, 2}));
}

TEST_F(ExternalWeights, RunWithTheSameAndWithOtherValues) {
  auto same = load(external_, views(values_));
  ASSERT_TRUE(same.ok()) << same.status().to_string();
  EXPECT_EQ(run(**same), expected(values_));
  auto other = load(external_, views(other_values()));
  ASSERT_TRUE(other.ok()) << other.status().to_string();
  EXPECT_EQ(run(**other), expected(other_values()));
  ASSERT_EQ((*other)->weights().size(), 3u);
  EXPECT_EQ((*other)->weights()[0].name, "fc.weight");
  EXPECT_EQ((*other)->weights()[0].shape, (std::vector<int64_t>{3, 2}));
}

TEST_F(ExternalWeights, ReplaceThoseOfAFile) {
  Values mixed = values_;
  mixed.bias = {7, 8, 9};
  auto program = load(embedded_, {view("fc.bias", mixed.bias, {3})});
  ASSERT_TRUE(program.ok()) << program.status().to_string();
  EXPECT_EQ(run(**program), expected(mixed));
}

TEST_F(ExternalWeights, MissingOnesAreNamed) {
  auto given = views(values_);
  given.erase(given.begin() + 1);
  const Status one = load(external_, given).status();
  EXPECT_EQ(one.code(), "K3112");
  EXPECT_THAT(one.to_string(), testing::AllOf(HasSubstr("fc.bias"), HasSubstr("LoadOptions")));
  EXPECT_THAT(one.to_string(), testing::Not(HasSubstr("fc.weight")));
  EXPECT_EQ(load(external_, {}).status().code(), "K3112");
}

// Whatever is wrong with given weights, at load and at an update, which then changes nothing.
TEST_F(ExternalWeights, WrongOnesAreRefused) {
  auto program = load(external_, views(values_)).value();
  const std::vector<float> six(6, 1.0f), three(3, 1.0f);
  auto refuse = [&](const std::string& what, WeightView wrong, const char* code,
                    const std::string& text) {
    SCOPED_TRACE(what);
    for (const bool update : {false, true}) {
      std::vector<WeightView> given = {view("fc.weight", six, {3, 2}), wrong};
      if (what == "twice") given = {wrong, wrong};
      const Status status =
          update ? program->update_weights(given) : load(embedded_, given).status();
      EXPECT_EQ(status.code(), code) << status.to_string();
      EXPECT_THAT(status.to_string(), HasSubstr(text));
    }
    EXPECT_EQ(run(*program), expected(values_));
  };
  refuse("unknown", view("fc.bia", three, {3}), "K3113", "did you mean fc.bias?");
  refuse("far from any", view("nonsense_of_some_length", three, {3}), "K3113", "3 weights");
  refuse("shape", view("fc.bias", three, {1, 3}), "K3114", "f32[1,3], expected f32[3]");
  WeightView wrong = view("fc.bias", three, {3});
  wrong.dtype = DType::kI32;
  refuse("dtype", wrong, "K3114", "i32[3], expected f32[3]");
  wrong = view("fc.bias", three, {3});
  wrong.bytes = 8;
  refuse("size", wrong, "K3114", "8 bytes, expected 12");
  wrong.bytes = 12;
  wrong.data = nullptr;
  refuse("no memory", wrong, "K3114", "0 bytes, expected 12");
  refuse("twice", view("fc.bias", three, {3}), "K3116", "fc.bias");
  refuse("constant", view("scale", three, {3}), "K3115", "compile the model again");
  EXPECT_TRUE(program->update_weights({view("scale", values_.scale, {3})}).ok());
}

TEST_F(ExternalWeights, UpdateSomeByName) {
  auto program = load(external_, views(values_)).value();
  const Values other = other_values();
  Values mixed = values_;
  mixed.bias = other.bias;
  ASSERT_TRUE(program->update_weights({view("fc.bias", other.bias, {3})}).ok());
  EXPECT_EQ(run(*program), expected(mixed));
  ASSERT_TRUE(program->update_weights({view("fc.weight", other.weight, {3, 2})}).ok());
  EXPECT_EQ(run(*program), expected(other));
  ASSERT_TRUE(program->update_weights(views(values_)).ok());
  EXPECT_EQ(run(*program), expected(values_));
  EXPECT_TRUE(program->update_weights({}).ok());
}

TEST_F(ExternalWeights, MemoryOfAnyAlignment) {
  std::vector<char> memory(4 * sizeof(float));
  std::memcpy(memory.data() + 1, values_.bias.data(), 3 * sizeof(float));
  auto given = views(values_);
  given[1].data = memory.data() + 1;
  auto program = load(external_, given);
  ASSERT_TRUE(program.ok()) << program.status().to_string();
  EXPECT_EQ(run(**program), expected(values_));
}

// Compiling reads the value of no parameter: what a program computes from weights is in its init
// plan, so any weight but a constant can be replaced.
TEST(CompiledPlans, DependOnNoParameter) {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  void* memory = mmap(nullptr, page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  const auto* unreadable = static_cast<const float*>(memory);
  const Values values;
  auto compiled = compile_affine(unreadable, unreadable + 16, values.scale.data());
  EXPECT_EQ(compiled->ir("lowered"), compile_affine(values)->ir("lowered"));
  ASSERT_EQ(mprotect(memory, page, PROT_READ | PROT_WRITE), 0);
  std::memcpy(memory, values.weight.data(), 6 * sizeof(float));
  std::memcpy(static_cast<float*>(memory) + 16, values.bias.data(), 3 * sizeof(float));
  EXPECT_EQ(run(*compiled->instantiate({}).value()), expected(values));
  EXPECT_EQ(compiled->serialize().value(), compile_affine(values)->serialize().value());
  munmap(memory, page);
}

}  // namespace
}  // namespace kiln

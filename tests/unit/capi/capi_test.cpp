// The C API: programs from a .pt2 file to results, what is said of them, who owns what.
#include <kiln/builder.h>
#include <kiln/pt2.h>
#include <kiln/version.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "base/file.h"
#include "base/json.h"
#include "unit/capi/handles.h"
#include "unit/capi/plain_c.h"

namespace kiln::test {
namespace {

// The first output of the same program through the C++ API.
std::vector<float> expected(const std::string& name, Values& x) {
  CaptureBuilder capture;
  const auto read = read_pt2(data_file(name), capture);
  EXPECT_TRUE(read.ok()) << read.status().to_string();
  const auto compiled = kiln::compile(capture, {});
  EXPECT_TRUE(compiled.ok()) << compiled.status().to_string();
  const auto program = (*compiled)->instantiate({});
  EXPECT_TRUE(program.ok()) << program.status().to_string();
  auto context = (*program)->create_context();
  std::vector<float> result(1024);
  const TensorView view = {x.data.data(), DType::kF32, {}, 2, x.shape.data(), nullptr};
  const auto outputs = context->run({view}, [&](int output, const TensorSpec&, size_t bytes) {
    EXPECT_EQ(output, 0);
    EXPECT_LE(bytes, result.size() * sizeof(float));
    return static_cast<void*>(result.data());
  });
  EXPECT_TRUE(outputs.ok()) << outputs.status().to_string();
  result.resize(static_cast<size_t>((*outputs)[0].shape[0] * (*outputs)[0].shape[1]));
  return result;
}

TEST(CApi, Versions) {
  EXPECT_EQ(kiln_c_api_version(), KILN_C_API_VERSION);
  EXPECT_STREQ(kiln_version(), KILN_VERSION);
  const std::string numbers = std::to_string(KILN_VERSION_MAJOR) + "." +
                              std::to_string(KILN_VERSION_MINOR) + "." +
                              std::to_string(KILN_VERSION_PATCH);
  EXPECT_EQ(numbers, KILN_VERSION);
}

TEST(CApi, DTypes) {
  EXPECT_STREQ(kiln_dtype_name(KILN_F32), "f32");
  EXPECT_STREQ(kiln_dtype_name(KILN_BOOL), "bool");
  EXPECT_EQ(kiln_dtype_bytes(KILN_BF16), 2u);
  EXPECT_EQ(kiln_dtype_bytes(KILN_I64), 8u);
  for (int32_t no_dtype : {-1, KILN_BOOL + 1}) {
    EXPECT_EQ(kiln_dtype_name(no_dtype), nullptr);
    EXPECT_EQ(kiln_dtype_bytes(no_dtype), 0u);
  }
}

TEST(CApi, WhatIsSaidOfAProgram) {
  const auto compiled = compile("stateful.pt2");
  EXPECT_EQ(std::string(kiln_compiled_target(compiled.get())).substr(0, 4), "cpu:");
  EXPECT_TRUE(parse_json(kiln_compiled_report(compiled.get())).ok());
  const auto program = load(bytes_of(compiled.get()));
  size_t count = 0;

  const kiln_tensor_info* inputs = kiln_program_inputs(program.get(), &count);
  ASSERT_EQ(count, 1u);
  EXPECT_STREQ(inputs[0].name, "x");
  EXPECT_EQ(inputs[0].dtype, KILN_F32);
  EXPECT_EQ(inputs[0].order, nullptr);
  EXPECT_EQ(inputs[0].target, -1);
  ASSERT_EQ(inputs[0].rank, 2);
  EXPECT_EQ(inputs[0].dims[0].min, 2);
  EXPECT_EQ(inputs[0].dims[0].max, 64);
  EXPECT_STREQ(inputs[0].dims[1].expression, "8");
  EXPECT_EQ(inputs[0].dims[1].min, 8);
  EXPECT_EQ(inputs[0].dims[1].max, 8);

  const kiln_tensor_info* outputs = kiln_program_outputs(program.get(), &count);
  ASSERT_EQ(count, 3u);
  EXPECT_EQ(outputs[0].role, KILN_RESULT);
  EXPECT_STREQ(outputs[0].dims[0].expression, inputs[0].dims[0].expression);
  EXPECT_EQ(outputs[1].role, KILN_WRITES_INPUT);
  EXPECT_EQ(outputs[1].target, 1);  // after the one input, the first tensor of the state

  const kiln_tensor_info* states = kiln_program_states(program.get(), &count);
  ASSERT_EQ(count, 2u);
  EXPECT_STREQ(states[0].name, "total");
  EXPECT_EQ(states[1].dtype, KILN_I64);
  EXPECT_EQ(states[1].rank, 0);

  const kiln_weight_info* weights = kiln_program_weights(program.get(), &count);
  EXPECT_EQ(count, 11u);
  EXPECT_STREQ(weights[0].name, "first.bias");
  EXPECT_EQ(weights[0].dtype, KILN_F32);
  ASSERT_EQ(weights[0].rank, 1);
  EXPECT_EQ(weights[0].shape[0], 4);

  int32_t index = -1;
  EXPECT_EQ(kiln_program_device(program.get(), &index), KILN_CPU);
  EXPECT_EQ(index, 0);
  EXPECT_EQ(kiln_program_device(program.get(), nullptr), KILN_CPU);
  EXPECT_TRUE(parse_json(kiln_program_report(program.get())).ok());
  const auto metadata = parse_json(kiln_program_metadata(program.get()));
  ASSERT_TRUE(metadata.ok());
  EXPECT_NE(metadata->find("inputs"), nullptr);
}

TEST(CApi, OrderAndViews) {
  const auto program = load(bytes_of(compile("nested.pt2").get()));
  size_t count = 0;
  const kiln_tensor_info* outputs = kiln_program_outputs(program.get(), &count);
  ASSERT_EQ(count, 3u);
  EXPECT_EQ(outputs[0].role, KILN_VIEW_OF_INPUT);
  EXPECT_EQ(outputs[0].target, 0);
}

TEST(CApi, RunsAsCppDoes) {
  Values x({5, 8}, -1, 0.25f);
  const auto program = load(bytes_of(compile("stateful.pt2").get()));
  std::vector<float> result;
  ASSERT_TRUE(fine(run_first(make_context(program.get()).get(), {x.tensor()}, result)));
  EXPECT_EQ(result, expected("stateful.pt2", x));
}

TEST(CApi, RunsInPlainC) {
  Values x({3, 8}, 0.5f, 0);
  std::vector<float> result(12);
  const std::unique_ptr<char, Freer<std::free>> code(
      run_in_plain_c(data_file("stateful.pt2").c_str(), 3, result.data()));
  ASSERT_STREQ(code.get(), "");
  EXPECT_EQ(result, expected("stateful.pt2", x));
  const std::unique_ptr<char, Freer<std::free>> missing(
      run_in_plain_c("/no/such.pt2", 3, result.data()));
  EXPECT_STREQ(missing.get(), "K3001");
}

TEST(CApi, StridedOutputs) {
  Values x({2, 8}, -1, 0.25f);
  const auto program = load(bytes_of(compile("stateful.pt2").get()));
  const auto context = make_context(program.get());
  std::vector<float> straight;
  ASSERT_TRUE(fine(run_first(context.get(), {x.tensor()}, straight)));
  const auto other = make_context(program.get());
  const kiln_tensor input = x.tensor();
  const kiln_tensor* specs = nullptr;
  size_t count = 0;
  ASSERT_TRUE(fine(kiln_context_infer_shapes(other.get(), &input, 1, &specs, &count)));
  std::vector<kiln_tensor> outputs(specs, specs + count);
  const int64_t shape[] = {2, 4}, strides[] = {1, 2};
  std::vector<float> turned(8);
  outputs[0].data = turned.data();
  outputs[0].shape = shape;
  outputs[0].strides = strides;
  ASSERT_TRUE(fine(kiln_context_run(other.get(), &input, 1, outputs.data(), count)));
  for (size_t i = 0; i < 2; ++i) {
    for (size_t j = 0; j < 4; ++j) EXPECT_EQ(turned[j * 2 + i], straight[i * 4 + j]);
  }
}

struct Memory {
  std::vector<std::unique_ptr<char, Freer<std::free>>> blocks;
  std::vector<size_t> outputs;

  static void* allocate(void* user, size_t output, const kiln_tensor* spec, size_t bytes) {
    auto* memory = static_cast<Memory*>(user);
    EXPECT_EQ(spec->data, nullptr);
    EXPECT_EQ(spec->device, KILN_CPU);
    memory->outputs.push_back(output);
    memory->blocks.emplace_back(static_cast<char*>(std::aligned_alloc(64, (bytes + 63) / 64 * 64)));
    return memory->blocks.back().get();
  }
};

TEST(CApi, RunsIntoAllocatedMemory) {
  Values x({4, 4}, 0, 1), q({4, 3}, 2, 1), r({2}, 3, 1);
  const auto program = load(bytes_of(compile("nested.pt2").get()));
  const auto context = make_context(program.get());
  const kiln_tensor inputs[] = {x.tensor(), q.tensor(), r.tensor()};
  Memory memory;
  const kiln_tensor* outputs = nullptr;
  size_t count = 0;
  ASSERT_TRUE(fine(kiln_context_run_allocating(context.get(), inputs, 3, Memory::allocate, &memory,
                                               &outputs, &count)));
  ASSERT_EQ(count, 3u);
  EXPECT_EQ(memory.outputs, (std::vector<size_t>{1, 2}));
  EXPECT_EQ(outputs[0].data, x.data.data());  // a view of the input
  ASSERT_EQ(outputs[0].rank, 3);
  EXPECT_EQ(outputs[0].shape[0], 2);
  EXPECT_EQ(outputs[2].data, memory.blocks[1].get());
  EXPECT_EQ(static_cast<const float*>(outputs[2].data)[1], 8);
}

TEST(CApi, SavesFiles) {
  const auto compiled = compile("nested.pt2");
  const std::string path = testing::TempDir() + "kiln_capi_" + std::to_string(getpid()) + ".kiln";
  ASSERT_TRUE(fine(kiln_compiled_save(compiled.get(), path.c_str(), nullptr)));
  EXPECT_EQ(read_file(path).value(), bytes_of(compiled.get()));
  kiln_program* program = nullptr;
  EXPECT_TRUE(fine(kiln_program_load(path.c_str(), nullptr, &program)));
  kiln_program_free(program);
  unlink(path.c_str());
  EXPECT_EQ(code_of(kiln_compiled_save(compiled.get(), "/no/such/folder/x.kiln", nullptr)),
            "K3003");
}

// The machine code of a program for a GPU that need not be here.
TEST(CApi, SavesMachineCode) {
  kiln_compile_options target = KILN_COMPILE_OPTIONS_INIT;
  target.target = "cuda:sm_90";
  const auto compiled = compile("nested.pt2", &target);
  ASSERT_NE(compiled, nullptr);
  kiln_save_options native = KILN_SAVE_OPTIONS_INIT;
  native.native = 1;
  const std::string path = testing::TempDir() + "kiln_native_" + std::to_string(getpid()) + ".kiln";
  kiln_error* error = kiln_compiled_save(compiled.get(), path.c_str(), &native);
  if (error != nullptr && std::string(kiln_error_code(error)) == "K5305") {
    kiln_error_free(error);
    GTEST_SKIP() << "no kernel can be compiled here";
  }
  ASSERT_TRUE(fine(error));
  const std::string bytes = read_file(path).value();
  unlink(path.c_str());
  EXPECT_NE(bytes.find("\x7f" "ELF"), std::string::npos);
  EXPECT_EQ(bytes_of(compiled.get()).find("\x7f" "ELF"), std::string::npos);
}

TEST(CApi, InstantiatedProgramsOutliveTheirCompiler) {
  Values x({5, 8}, -1, 0.25f);
  auto compiled = compile("stateful.pt2");
  kiln_load_options options = KILN_LOAD_OPTIONS_INIT;
  options.threads = 1;
  kiln_program* made = nullptr;
  ASSERT_TRUE(fine(kiln_compiled_instantiate(compiled.get(), &options, &made)));
  ProgramHandle program(made);
  compiled.reset();
  auto context = make_context(program.get());
  program.reset();  // the context keeps what it needs
  std::vector<float> result;
  ASSERT_TRUE(fine(run_first(context.get(), {x.tensor()}, result)));
  EXPECT_EQ(result, expected("stateful.pt2", x));
}

TEST(CApi, BytesAreReleasedOnce) {
  const std::string bytes = bytes_of(compile("stateful.pt2").get());
  const auto count_up = [](void* user) { ++*static_cast<int*>(user); };
  // Aligned memory is used where it lies, other memory is copied.
  for (size_t shift : {size_t{0}, size_t{1}}) {
    const std::unique_ptr<char, Freer<std::free>> memory(
        static_cast<char*>(std::aligned_alloc(64, (bytes.size() + 1 + 63) / 64 * 64)));
    std::memcpy(memory.get() + shift, bytes.data(), bytes.size());
    int released = 0;
    kiln_program* program = nullptr;
    ASSERT_TRUE(fine(kiln_program_load_bytes(memory.get() + shift, bytes.size(), count_up,
                                             &released, nullptr, &program)));
    EXPECT_EQ(released, shift == 0 ? 0 : 1);
    auto context = make_context(program);
    kiln_program_free(program);
    EXPECT_EQ(released, shift == 0 ? 0 : 1);
    context.reset();
    EXPECT_EQ(released, 1);
  }
  int released = 0;
  kiln_program* program = nullptr;
  EXPECT_NE(
      code_of(kiln_program_load_bytes(bytes.data(), 100, count_up, &released, nullptr, &program)),
      "");
  EXPECT_EQ(program, nullptr);
  EXPECT_EQ(released, 1);
  EXPECT_EQ(code_of(kiln_program_load_bytes(bytes.data(), bytes.size(), count_up, &released,
                                            nullptr, nullptr)),
            "K1050");
  EXPECT_EQ(released, 2);
}

TEST(CApi, BytesWithoutReleaseAreCopied) {
  Values x({5, 8}, -1, 0.25f);
  std::string bytes = bytes_of(compile("stateful.pt2").get());
  const auto program = load(bytes);
  std::memset(bytes.data(), 0, bytes.size());
  std::vector<float> result;
  ASSERT_TRUE(fine(run_first(make_context(program.get()).get(), {x.tensor()}, result)));
  EXPECT_EQ(result, expected("stateful.pt2", x));
}

TEST(CApi, ContextsHaveAStateEachUnlessTheyShareOne) {
  Values x({2, 8}, 1, 0.5f);
  const auto program = load(bytes_of(compile("stateful.pt2").get()));
  std::vector<float> first, again, other, shared;
  const auto own = make_context(program.get());
  ASSERT_TRUE(fine(run_first(own.get(), {x.tensor()}, first)));
  ASSERT_TRUE(fine(run_first(own.get(), {x.tensor()}, again)));
  EXPECT_NE(again, first);  // the total grew
  ASSERT_TRUE(fine(run_first(make_context(program.get()).get(), {x.tensor()}, other)));
  EXPECT_EQ(other, first);

  kiln_state* made = nullptr;
  ASSERT_TRUE(fine(kiln_state_create(program.get(), &made)));
  StateHandle state(made);
  const auto one = make_context(program.get(), state.get());
  const auto two = make_context(program.get(), state.get());
  ASSERT_TRUE(fine(run_first(one.get(), {x.tensor()}, shared)));
  EXPECT_EQ(shared, first);
  ASSERT_TRUE(fine(run_first(two.get(), {x.tensor()}, shared)));
  EXPECT_EQ(shared, again);

  int64_t calls = 0;
  const kiln_tensor counter = {&calls, KILN_I64, KILN_CPU, 0, 0, nullptr, nullptr};
  ASSERT_TRUE(fine(kiln_state_get(state.get(), "calls", &counter)));
  EXPECT_EQ(calls, 2);
  calls = 40;
  ASSERT_TRUE(fine(kiln_state_set(state.get(), "calls", &counter)));
  ASSERT_TRUE(fine(run_first(one.get(), {x.tensor()}, shared)));
  ASSERT_TRUE(fine(kiln_state_get(state.get(), "calls", &counter)));
  EXPECT_EQ(calls, 41);
  ASSERT_TRUE(fine(kiln_state_reset(state.get())));
  state.reset();  // the contexts keep it
  ASSERT_TRUE(fine(run_first(two.get(), {x.tensor()}, shared)));
  EXPECT_EQ(shared, first);
}

TEST(CApi, WeightsFromTheCaller) {
  Values x({5, 8}, -1, 0.25f);
  const auto compiled = compile("stateful.pt2");
  kiln_save_options external = KILN_SAVE_OPTIONS_INIT;
  external.external_weights = 1;
  const std::string bytes = bytes_of(compiled.get(), &external);
  kiln_program* program = nullptr;
  EXPECT_EQ(code_of(kiln_program_load_bytes(bytes.data(), bytes.size(), nullptr, nullptr, nullptr,
                                            &program)),
            "K3112");
  EXPECT_EQ(program, nullptr);

  // New values for one weight, at loading and afterwards.
  Values weight({4}, 0.1f, 0.01f), wrong({5}, 0, 1);
  kiln_weight given = {"first.bias", weight.tensor()};
  kiln_load_options options = KILN_LOAD_OPTIONS_INIT;
  options.weights = &given;
  options.weight_count = 1;
  const std::string whole = bytes_of(compiled.get());
  const auto loaded = load(whole, &options), updated = load(whole);
  std::vector<float> before, at_load, after;
  const auto context = make_context(updated.get());
  ASSERT_TRUE(fine(run_first(make_context(updated.get()).get(), {x.tensor()}, before)));
  ASSERT_TRUE(fine(run_first(make_context(loaded.get()).get(), {x.tensor()}, at_load)));
  ASSERT_TRUE(fine(kiln_program_update_weights(updated.get(), &given, 1)));
  ASSERT_TRUE(fine(run_first(context.get(), {x.tensor()}, after)));
  EXPECT_NE(at_load, before);
  EXPECT_EQ(after, at_load);
  given.value = wrong.tensor();
  EXPECT_EQ(code_of(kiln_program_update_weights(updated.get(), &given, 1)), "K3114");
  given.name = "nobody";
  EXPECT_EQ(code_of(kiln_program_update_weights(updated.get(), &given, 1)), "K3113");
}

}  // namespace
}  // namespace kiln::test

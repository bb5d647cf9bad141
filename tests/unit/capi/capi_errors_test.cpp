// The C API: what is refused, and that nothing is thrown across it.
#include <cstring>
#include <new>
#include <stdexcept>

#include "base/check.h"
#include "unit/capi/handles.h"

namespace kiln::test {
namespace {

class CApiErrors : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    bytes_ = new std::string(bytes_of(compile("stateful.pt2").get()));
  }
  static void TearDownTestSuite() { delete bytes_; }
  void SetUp() override {
    program_ = load(*bytes_);
    context_ = make_context(program_.get());
  }

  // Of loading with these options.
  static std::string load_code(const kiln_load_options* options) {
    kiln_program* program = nullptr;
    std::string code = code_of(kiln_program_load_bytes(bytes_->data(), bytes_->size(), nullptr,
                                                       nullptr, options, &program));
    EXPECT_EQ(program == nullptr, !code.empty());
    kiln_program_free(program);
    return code;
  }
  std::string run_code(const std::vector<kiln_tensor>& inputs) {
    std::vector<float> result;
    return code_of(run_first(context_.get(), inputs, result));
  }

  static std::string* bytes_;
  ProgramHandle program_;
  ContextHandle context_;
};
std::string* CApiErrors::bytes_ = nullptr;

TEST_F(CApiErrors, HaveCodeMessageHintAndPlace) {
  kiln_program* program = nullptr;
  kiln_error* error = kiln_program_load("/no/such.kiln", nullptr, &program);
  ASSERT_NE(error, nullptr);
  EXPECT_STREQ(kiln_error_code(error), "K3001");
  EXPECT_NE(std::strstr(kiln_error_message(error), "/no/such.kiln"), nullptr);
  EXPECT_NE(std::strstr(kiln_error_text(error), "K3001: "), nullptr);
  EXPECT_NE(kiln_error_hint(error), nullptr);
  kiln_error_free(error);
  EXPECT_EQ(program, nullptr);
  kiln_compiled* compiled = nullptr;
  EXPECT_EQ(code_of(kiln_compile_pt2("/no/such.pt2", nullptr, &compiled)), "K3001");
  EXPECT_EQ(compiled, nullptr);
}

TEST_F(CApiErrors, Inputs) {
  Values good({2, 8}, 0, 1), flat({16}, 0, 1), wide({2, 9}, 0, 1), long_one({65, 8}, 0, 1);
  EXPECT_EQ(run_code({good.tensor()}), "");
  EXPECT_EQ(run_code({}), "K4101");
  EXPECT_EQ(run_code({good.tensor(), good.tensor()}), "K4101");
  EXPECT_EQ(run_code({flat.tensor()}), "K4104");
  EXPECT_EQ(run_code({wide.tensor()}), "K4105");
  EXPECT_EQ(run_code({long_one.tensor()}), "K4105");
  kiln_tensor tensor = good.tensor();
  tensor.dtype = KILN_F64;
  EXPECT_EQ(run_code({tensor}), "K4102");
  for (int32_t no_dtype : {-1, KILN_BOOL + 1}) {
    tensor.dtype = no_dtype;
    EXPECT_EQ(run_code({tensor}), "K1050");
  }
  tensor = good.tensor();
  tensor.device = 2;
  EXPECT_EQ(run_code({tensor}), "K1050");
  tensor = good.tensor();
  tensor.device = KILN_CUDA;
  EXPECT_EQ(run_code({tensor}), "K4107");
  tensor = good.tensor();
  tensor.rank = -1;
  EXPECT_EQ(run_code({tensor}), "K1050");
  tensor = good.tensor();
  tensor.shape = nullptr;
  EXPECT_EQ(run_code({tensor}), "K1050");
  tensor = good.tensor();
  tensor.data = nullptr;
  EXPECT_EQ(run_code({tensor}), "K4112");
  EXPECT_EQ(run_code({good.tensor()}), "");
}

TEST_F(CApiErrors, NullPointers) {
  Values x({2, 8}, 0, 1);
  const kiln_tensor input = x.tensor();
  kiln_program* program = nullptr;
  kiln_context* context = nullptr;
  kiln_state* state = nullptr;
  kiln_compiled* compiled = nullptr;
  const kiln_tensor* outputs = nullptr;
  size_t count = 0;
  const void* bytes = nullptr;
  const auto never = [](void*, size_t, const kiln_tensor*, size_t) -> void* { return nullptr; };
  kiln_context* own = context_.get();
  const std::string refusals[] = {
      code_of(kiln_program_load(nullptr, nullptr, &program)),
      code_of(kiln_program_load("x", nullptr, nullptr)),
      code_of(kiln_program_load_bytes(nullptr, 8, nullptr, nullptr, nullptr, &program)),
      code_of(kiln_program_load_bytes("x", 1, nullptr, nullptr, nullptr, nullptr)),
      code_of(kiln_program_update_weights(nullptr, nullptr, 0)),
      code_of(kiln_program_update_weights(program_.get(), nullptr, 1)),
      code_of(kiln_state_create(nullptr, &state)),
      code_of(kiln_state_create(program_.get(), nullptr)),
      code_of(kiln_state_get(nullptr, "total", &input)),
      code_of(kiln_state_set(nullptr, "total", &input)),
      code_of(kiln_state_reset(nullptr)),
      code_of(kiln_context_create(nullptr, nullptr, &context)),
      code_of(kiln_context_create(program_.get(), nullptr, nullptr)),
      code_of(kiln_context_set_stream(nullptr, nullptr)),
      code_of(kiln_context_infer_shapes(nullptr, &input, 1, &outputs, &count)),
      code_of(kiln_context_infer_shapes(own, nullptr, 1, &outputs, &count)),
      code_of(kiln_context_infer_shapes(own, &input, 1, nullptr, &count)),
      code_of(kiln_context_infer_shapes(own, &input, 1, &outputs, nullptr)),
      code_of(kiln_context_run(nullptr, &input, 1, nullptr, 0)),
      code_of(kiln_context_run(own, nullptr, 1, nullptr, 0)),
      code_of(kiln_context_run(own, &input, 1, nullptr, 3)),
      code_of(kiln_context_run_allocating(nullptr, &input, 1, never, nullptr, &outputs, &count)),
      code_of(kiln_context_run_allocating(own, &input, 1, nullptr, nullptr, &outputs, &count)),
      code_of(kiln_context_run_allocating(own, &input, 1, never, nullptr, nullptr, &count)),
      code_of(kiln_context_run_allocating(own, &input, 1, never, nullptr, &outputs, nullptr)),
      code_of(kiln_compile_pt2(nullptr, nullptr, &compiled)),
      code_of(kiln_compile_pt2("x", nullptr, nullptr)),
      code_of(kiln_compiled_save(nullptr, "x", nullptr)),
      code_of(kiln_compiled_serialize(nullptr, nullptr, &bytes, &count)),
      code_of(kiln_compiled_instantiate(nullptr, nullptr, &program))};
  for (size_t i = 0; i < std::size(refusals); ++i) EXPECT_EQ(refusals[i], "K1050") << i;
  kiln_error_free(nullptr);
  kiln_program_free(nullptr);
  kiln_context_free(nullptr);
  kiln_state_free(nullptr);
  kiln_compiled_free(nullptr);
}

TEST_F(CApiErrors, State) {
  kiln_state* made = nullptr;
  ASSERT_TRUE(fine(kiln_state_create(program_.get(), &made)));
  const StateHandle state(made);
  Values total({4}, 0, 0), wrong({5}, 0, 0);
  const kiln_tensor fits = total.tensor(), other = wrong.tensor();
  EXPECT_EQ(code_of(kiln_state_get(state.get(), "total", &fits)), "");
  EXPECT_EQ(code_of(kiln_state_get(state.get(), "nobody", &fits)), "K4116");
  EXPECT_EQ(code_of(kiln_state_set(state.get(), "total", &other)), "K4117");
  EXPECT_EQ(code_of(kiln_state_get(state.get(), nullptr, &fits)), "K1050");
  EXPECT_EQ(code_of(kiln_state_get(state.get(), "total", nullptr)), "K1050");
  EXPECT_EQ(code_of(kiln_state_set(state.get(), "total", nullptr)), "K1050");
}

TEST_F(CApiErrors, OptionsOfOtherVersions) {
  kiln_load_options options = KILN_LOAD_OPTIONS_INIT;
  EXPECT_EQ(load_code(&options), "");
  options.struct_size = 0;
  EXPECT_EQ(load_code(&options), "K1050");
  // An older caller: members that it does not have are not read.
  options = KILN_LOAD_OPTIONS_INIT;
  options.struct_size = offsetof(kiln_load_options, weights);
  options.weight_count = 1;
  EXPECT_EQ(load_code(&options), "");
  options.struct_size = sizeof(options);
  EXPECT_EQ(load_code(&options), "K1050");
  // A newer one: what this library does not know must not be used.
  struct {
    kiln_load_options known = KILN_LOAD_OPTIONS_INIT;
    int64_t more = 0;
  } newer;
  newer.known.struct_size = sizeof(newer);
  EXPECT_EQ(load_code(&newer.known), "");
  newer.more = 1;
  EXPECT_EQ(load_code(&newer.known), "K1050");
}

TEST_F(CApiErrors, LoadOptions) {
  kiln_load_options options = KILN_LOAD_OPTIONS_INIT;
  options.threads = -1;
  EXPECT_EQ(load_code(&options), "K1050");
  const char* const ops[] = {"my::op", nullptr};
  options = KILN_LOAD_OPTIONS_INIT;
  options.allow_ops = ops;
  options.allow_op_count = 1;
  EXPECT_EQ(load_code(&options), "");
  options.allow_op_count = 2;
  EXPECT_EQ(load_code(&options), "K1050");
  Values values({4}, 0, 1);
  kiln_weight weight = {"first.bias", values.tensor()};
  options = KILN_LOAD_OPTIONS_INIT;
  options.weights = &weight;
  options.weight_count = 1;
  EXPECT_EQ(load_code(&options), "");
  const int64_t strides[] = {2};
  weight.value.strides = strides;
  EXPECT_EQ(load_code(&options), "K1050");
}

TEST_F(CApiErrors, CompileOptions) {
  const auto code = [](const kiln_compile_options& options) {
    kiln_compiled* compiled = nullptr;
    std::string result =
        code_of(kiln_compile_pt2(data_file("stateful.pt2").c_str(), &options, &compiled));
    EXPECT_EQ(compiled == nullptr, !result.empty());
    kiln_compiled_free(compiled);
    return result;
  };
  const kiln_compile_options defaults = KILN_COMPILE_OPTIONS_INIT;
  kiln_compile_options options = defaults;
  options.target = "tpu";
  EXPECT_EQ(code(options), "K2010");
  options = defaults;
  options.min_block_size = -1;
  EXPECT_EQ(code(options), "K1050");
  options = defaults;
  const int32_t precision = KILN_F64;
  options.precisions = &precision;
  options.precision_count = 1;
  EXPECT_EQ(code(options), "K1050");
  options = defaults;
  const int64_t rows[] = {4, 8}, many[] = {100, 8};
  kiln_shape_range shape = {"x", 2, rows, rows};
  options.shapes = &shape;
  options.shape_count = 1;
  EXPECT_EQ(code(options), "");
  shape.max = many;
  EXPECT_EQ(code(options), "K1144");
  shape.max = nullptr;
  EXPECT_EQ(code(options), "K1050");
  // A call that stays in PyTorch: an error when strict; else a program that needs a host.
  options = defaults;
  const char* const kept[] = {"aten::linear"};
  options.torch_ops = kept;
  options.torch_op_count = 1;
  options.strict = 1;
  EXPECT_EQ(code(options), "K2001");
  options.strict = 0;
  const auto compiled = compile("stateful.pt2", &options);
  kiln_program* program = nullptr;
  EXPECT_EQ(code_of(kiln_compiled_instantiate(compiled.get(), nullptr, &program)), "K3302");
  kiln_save_options save = KILN_SAVE_OPTIONS_INIT;
  save.native = 1;  // there is none for a CPU
  EXPECT_EQ(code_of(kiln_compiled_save(compiled.get(), "x", &save)), "K2011");
  save.struct_size = 0;
  EXPECT_EQ(code_of(kiln_compiled_save(compiled.get(), "x", &save)), "K1050");
}

TEST_F(CApiErrors, ShapesThatAreFixed) {
  const int64_t rows[] = {4, 8};
  const kiln_shape_range shape = {"x", 2, rows, rows};
  kiln_compile_options options = KILN_COMPILE_OPTIONS_INIT;
  options.shapes = &shape;
  options.shape_count = 1;
  const auto program = load(bytes_of(compile("stateful.pt2", &options).get()));
  size_t count = 0;
  const kiln_tensor_info* inputs = kiln_program_inputs(program.get(), &count);
  EXPECT_EQ(inputs[0].dims[0].min, 4);
  EXPECT_EQ(inputs[0].dims[0].max, 4);
}

TEST_F(CApiErrors, ExceptionsOfCallbacksDoNotPass) {
  Values x({2, 8}, 0, 1);
  const kiln_tensor input = x.tensor();
  const auto run = [&](kiln_allocate allocate) {
    const kiln_tensor* outputs = nullptr;
    size_t count = 7;
    std::string code = code_of(kiln_context_run_allocating(context_.get(), &input, 1, allocate,
                                                           nullptr, &outputs, &count));
    EXPECT_EQ(outputs, nullptr);
    EXPECT_EQ(count, 0u);
    return code;
  };
  using Spec = const kiln_tensor*;
  EXPECT_EQ(run([](void*, size_t, Spec, size_t) -> void* { return nullptr; }), "K4110");
  EXPECT_EQ(run([](void*, size_t, Spec, size_t) -> void* { throw std::bad_alloc(); }), "K4501");
  EXPECT_EQ(run([](void*, size_t, Spec, size_t) -> void* { throw std::runtime_error("no"); }),
            "K9002");
  EXPECT_EQ(run([](void*, size_t, Spec, size_t) -> void* { throw 1; }), "K9002");
  EXPECT_EQ(run([](void*, size_t, Spec, size_t) -> void* { throw InternalError("bug"); }), "K9001");
}

TEST_F(CApiErrors, DamagedFiles) {
  for (size_t size = 0; size < bytes_->size(); size += 997) {
    kiln_program* program = nullptr;
    const std::string code =
        code_of(kiln_program_load_bytes(bytes_->data(), size, nullptr, nullptr, nullptr, &program));
    EXPECT_EQ(code.substr(0, 2), "K3") << size << ": " << code;
    EXPECT_EQ(program, nullptr);
  }
}

}  // namespace
}  // namespace kiln::test

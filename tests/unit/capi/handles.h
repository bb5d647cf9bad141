// Handles of the C API that free themselves, and errors as their codes.
#pragma once

#include <gtest/gtest.h>
#include <kiln/c_api.h>

#include <memory>
#include <string>
#include <vector>

namespace kiln::test {

template <auto Free>
struct Freer {
  template <typename T>
  void operator()(T* handle) const {
    Free(handle);
  }
};
using ProgramHandle = std::unique_ptr<kiln_program, Freer<kiln_program_free>>;
using ContextHandle = std::unique_ptr<kiln_context, Freer<kiln_context_free>>;
using StateHandle = std::unique_ptr<kiln_state, Freer<kiln_state_free>>;
using CompiledHandle = std::unique_ptr<kiln_compiled, Freer<kiln_compiled_free>>;

// "" where there is none. Frees it.
inline std::string code_of(kiln_error* error) {
  const std::string code = error != nullptr ? kiln_error_code(error) : "";
  kiln_error_free(error);
  return code;
}

// Says what the error is where there should be none. Frees it.
inline testing::AssertionResult fine(kiln_error* error) {
  if (error == nullptr) return testing::AssertionSuccess();
  auto result = testing::AssertionFailure() << kiln_error_text(error);
  kiln_error_free(error);
  return result;
}

inline std::string data_file(const std::string& name) {
  return std::string(KILN_TEST_SOURCE_DIR) + "/data/" + name;
}

inline CompiledHandle compile(const std::string& name,
                              const kiln_compile_options* options = nullptr) {
  kiln_compiled* compiled = nullptr;
  EXPECT_TRUE(fine(kiln_compile_pt2(data_file(name).c_str(), options, &compiled)));
  return CompiledHandle(compiled);
}

inline std::string bytes_of(kiln_compiled* compiled, const kiln_save_options* options = nullptr) {
  const void* bytes = nullptr;
  size_t size = 0;
  EXPECT_TRUE(fine(kiln_compiled_serialize(compiled, options, &bytes, &size)));
  return std::string(static_cast<const char*>(bytes), size);
}

inline ProgramHandle load(const std::string& bytes, const kiln_load_options* options = nullptr) {
  kiln_program* program = nullptr;
  EXPECT_TRUE(fine(
      kiln_program_load_bytes(bytes.data(), bytes.size(), nullptr, nullptr, options, &program)));
  return ProgramHandle(program);
}

inline ContextHandle make_context(kiln_program* program, kiln_state* state = nullptr) {
  kiln_context* context = nullptr;
  EXPECT_TRUE(fine(kiln_context_create(program, state, &context)));
  return ContextHandle(context);
}

// One f32 tensor of the tests.
struct Values {
  Values(std::vector<int64_t> extents, float first, float step) : shape(std::move(extents)) {
    int64_t count = 1;
    for (int64_t extent : shape) count *= extent;
    for (int64_t i = 0; i < count; ++i) data.push_back(first + step * static_cast<float>(i % 13));
  }
  kiln_tensor tensor() {
    return {data.data(),  KILN_F32, KILN_CPU, 0, static_cast<int32_t>(shape.size()),
            shape.data(), nullptr};
  }

  std::vector<int64_t> shape;
  std::vector<float> data;
};

// The first output of a run, f32, contiguous; the others are left out where they may be.
inline kiln_error* run_first(kiln_context* context, const std::vector<kiln_tensor>& inputs,
                             std::vector<float>& result) {
  const kiln_tensor* specs = nullptr;
  size_t count = 0;
  kiln_error* error =
      kiln_context_infer_shapes(context, inputs.data(), inputs.size(), &specs, &count);
  if (error != nullptr) return error;
  std::vector<kiln_tensor> outputs(specs, specs + count);
  const std::vector<int64_t> shape(specs[0].shape, specs[0].shape + specs[0].rank);
  size_t elements = 1;
  for (int64_t extent : shape) elements *= static_cast<size_t>(extent);
  result.assign(elements, 0);
  outputs[0].data = result.data();
  outputs[0].strides = nullptr;
  return kiln_context_run(context, inputs.data(), inputs.size(), outputs.data(), count);
}

}  // namespace kiln::test

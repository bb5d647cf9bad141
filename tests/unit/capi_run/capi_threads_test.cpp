// The C API from several threads: one program, contexts of their own, a shared state. Also under
// the thread sanitizer, and therefore on a plan made by hand: the compiler is not linked.
#include "capi/handles.h"

#include <gtest/gtest.h>

#include <thread>

#include "capi/border.h"
#include "unit/runtime/plan_builder.h"

namespace kiln {
namespace {

// An error's text, "" where there is none. Frees it.
std::string text_of(kiln_error* error) {
  const std::string text = error != nullptr ? kiln_error_text(error) : "";
  kiln_error_free(error);
  return text;
}

// y = x + x; total += x.
kiln_program* make_program() {
  test::PlanBuilder b;
  const PlanView x = b.input("x", {64}), total = b.input("total", {64});
  b.plan.inputs[1].is_state = true;
  b.tile("add", {x, x}, b.output("y", {64}));
  b.tile("add", {total, x}, total);
  b.write_back("total_new", 1);
  auto engine = Engine::create(b.plan, {}, {.threads = 1});
  EXPECT_TRUE(engine.ok()) << engine.status().to_string();
  return new kiln_program(Program::from_engine(*engine, "{}", "{}"));
}

TEST(CApiThreads, OneProgramManyContexts) {
  constexpr int kThreads = 8, kRuns = 50;
  kiln_program* program = make_program();
  kiln_state* state = nullptr;
  ASSERT_EQ(text_of(kiln_state_create(program, &state)), "");
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      const int64_t shape[] = {64};
      std::vector<float> data(64, 1), result(64);
      const kiln_tensor input = {data.data(), KILN_F32, KILN_CPU, 0, 1, shape, nullptr};
      kiln_tensor outputs[] = {input, input};
      outputs[0].data = result.data();
      outputs[1].data = nullptr;
      kiln_context* context = nullptr;
      EXPECT_EQ(text_of(kiln_context_create(program, state, &context)), "");
      for (int i = 0; i < kRuns; ++i) {
        EXPECT_EQ(text_of(kiln_context_run(context, &input, 1, outputs, 2)), "");
        EXPECT_EQ(result, std::vector<float>(64, 2));
        size_t count = 0;
        EXPECT_STREQ(kiln_program_inputs(program, &count)[0].name, "x");
        // An error is its thread's own.
        kiln_error* error = kiln_context_run(context, &input, 1, outputs, 1);
        EXPECT_STREQ(kiln_error_code(error), "K4108");
        kiln_error_free(error);
      }
      kiln_context_free(context);
    });
  }
  for (std::thread& thread : threads) thread.join();
  const int64_t shape[] = {64};
  std::vector<float> total(64);
  const kiln_tensor view = {total.data(), KILN_F32, KILN_CPU, 0, 1, shape, nullptr};
  EXPECT_EQ(text_of(kiln_state_get(state, "total", &view)), "");
  EXPECT_EQ(total, std::vector<float>(64, kThreads * kRuns));
  kiln_state_free(state);
  kiln_program_free(program);
}

}  // namespace
}  // namespace kiln

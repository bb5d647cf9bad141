// The C API from several threads: one program, contexts of their own, a shared state.
#include <thread>

#include "unit/capi/handles.h"

namespace kiln::test {
namespace {

TEST(CApiThreads, OneProgramManyContexts) {
  kiln_load_options options = KILN_LOAD_OPTIONS_INIT;
  options.threads = 1;
  const auto program = load(bytes_of(compile("stateful.pt2").get()), &options);
  Values x({3, 8}, -1, 0.25f);
  std::vector<float> first;
  ASSERT_TRUE(fine(run_first(make_context(program.get()).get(), {x.tensor()}, first)));

  kiln_state* made = nullptr;
  ASSERT_TRUE(fine(kiln_state_create(program.get(), &made)));
  const StateHandle state(made);
  constexpr int kThreads = 4, kRuns = 20;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      const auto shared = make_context(program.get(), state.get());
      std::vector<float> result;
      for (int run = 0; run < kRuns; ++run) {
        const auto own = make_context(program.get());
        EXPECT_TRUE(fine(run_first(own.get(), {x.tensor()}, result)));
        EXPECT_EQ(result, first);
        EXPECT_TRUE(fine(run_first(shared.get(), {x.tensor()}, result)));
        size_t count = 0;
        EXPECT_STREQ(kiln_program_inputs(program.get(), &count)[0].name, "x");
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  int64_t calls = 0;
  const kiln_tensor counter = {&calls, KILN_I64, KILN_CPU, 0, 0, nullptr, nullptr};
  ASSERT_TRUE(fine(kiln_state_get(state.get(), "calls", &counter)));
  EXPECT_EQ(calls, kThreads * kRuns);
}

}  // namespace
}  // namespace kiln::test

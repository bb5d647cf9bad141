// At a shape seen before, running allocates nothing; and nothing grows over many runs.
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <malloc.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <new>

#include "capi/arguments.h"
#include "capi/handles.h"
#include "runtime/execution.h"
#include "unit/runtime/plan_builder.h"

namespace {
std::atomic<int64_t> allocations{0};
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // they have hooks of their own
constexpr bool kCounts = true;

// Every allocation of C++ code goes through here; the runtime takes blocks by aligned_alloc too.
[[gnu::noinline]] void* operator new(size_t size) {
  ++allocations;
  if (void* p = std::malloc(size == 0 ? 1 : size)) return p;
  throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new[](size_t size) { return operator new(size); }
[[gnu::noinline]] void* operator new(size_t size, const std::nothrow_t&) noexcept {
  ++allocations;
  return std::malloc(size == 0 ? 1 : size);
}
[[gnu::noinline]] void* operator new[](size_t size, const std::nothrow_t& tag) noexcept {
  return operator new(size, tag);
}
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete[](void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, size_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete[](void* p, size_t) noexcept { std::free(p); }

extern "C" void* aligned_alloc(size_t alignment, size_t size) {
  using Function = void* (*)(size_t, size_t);
  static const auto real = reinterpret_cast<Function>(dlsym(RTLD_NEXT, "aligned_alloc"));
  ++allocations;
  return real(alignment, size);
}
#else
constexpr bool kCounts = false;
#endif

namespace kiln {
namespace {

using test::PlanBuilder;
using test::Tensor;

const DimExpr kS0 = DimExpr::symbol("s0");

// Two steps with an intermediate; x is read with strides, y is written into, z is a result.
std::shared_ptr<Engine> make_engine(int threads) {
  PlanBuilder b;
  const PlanView x = b.input("x", {kS0, 40}), state = b.input("state", {kS0, 40});
  const PlanView w = b.weight("w", {40});
  const PlanView t = b.temp({kS0, 40});
  b.tile("mul", {x, w}, t);
  b.tile("add", {t, state}, b.output("z", {kS0, 40}));
  b.write_back("state_new", 1);
  b.copy(t, state);
  auto engine =
      Engine::create(b.plan, {test::weight_bytes(std::vector<float>(40, 2))}, {.threads = threads});
  EXPECT_TRUE(engine.ok()) << engine.status().to_string();
  return *engine;
}

struct Case {
  Tensor x, state, z;
  std::vector<TensorView> inputs, outputs;
  Case(int64_t n, bool strided)
      : x(Tensor::iota({n, 40})), state(Tensor::iota({n, 40})), z(Tensor::filled({n, 40}, 0)) {
    if (strided) x.strides = {1, n}, state.strides = {1, n}, z.strides = {1, n};
    inputs = {x.view(), state.view()};
    outputs = {z.view(), TensorView()};
  }
};

TEST(Allocation, TheHookCounts) {
  if (!kCounts) GTEST_SKIP() << "a sanitizer counts allocations";
  const int64_t before = allocations;
  auto* p = new int(3);
  EXPECT_GT(allocations, before);
  delete p;
  Tensor t = Tensor::iota({100});
  EXPECT_GT(allocations, before + 1);
}

TEST(Allocation, NoneAtSeenShapes) {
  for (int threads : {1, 2}) {
    auto engine = make_engine(threads);
    auto context = test::context_of(engine);
    Case cases[] = {{3, false}, {300, false}, {1, false}, {7, true}, {3000, false}, {64, true}};
    for (int round = 0; round < 2; ++round) {
      for (Case& c : cases) ASSERT_TRUE(context->run(c.inputs, c.outputs).ok());
    }
    const int64_t before = allocations;
    bool ok = true;
    for (int round = 0; round < 20; ++round) {
      for (Case& c : cases) ok = context->run(c.inputs, c.outputs).ok() && ok;
    }
    EXPECT_EQ(allocations - before, 0) << "threads " << threads;
    EXPECT_TRUE(ok);
  }
}

TEST(Allocation, NoneAfterAnUpdateOfWeights) {
  auto engine = make_engine(1);
  auto context = test::context_of(engine);
  Case c(5, false);
  ASSERT_TRUE(context->run(c.inputs, c.outputs).ok());
  ASSERT_TRUE(engine->update_weights({test::weight_bytes(std::vector<float>(40, 3))}).ok());
  const int64_t before = allocations;
  const bool ok = context->run(c.inputs, c.outputs).ok();
  EXPECT_EQ(allocations - before, 0);
  EXPECT_TRUE(ok);
}

TEST(Allocation, NoneThroughTheCApi) {
  kiln_program program(Program::from_engine(make_engine(1), "{}", "{}"));
  kiln_context* context = nullptr;
  ASSERT_EQ(kiln_context_create(&program, nullptr, &context), nullptr);
  Case c(5, false);
  std::vector<kiln_tensor> inputs, outputs;
  for (const TensorView& view : c.inputs) inputs.push_back(capi::to_c(view));
  for (const TensorView& view : c.outputs) outputs.push_back(capi::to_c(view));
  ASSERT_EQ(kiln_context_run(context, inputs.data(), 2, outputs.data(), 2), nullptr);
  const int64_t before = allocations;
  kiln_error* error = kiln_context_run(context, inputs.data(), 2, outputs.data(), 2);
  EXPECT_EQ(allocations - before, 0);
  EXPECT_EQ(error, nullptr);
  kiln_context_free(context);
}

int64_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  int64_t total = 0, resident = 0;
  file >> total >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

TEST(Allocation, ResidentMemoryIsFlat) {
  auto engine = make_engine(1);
  auto context = test::context_of(engine);
  Case cases[] = {{3, false}, {30, true}, {200, false}};
  auto run = [&](int rounds) {
    bool ok = true;
    for (int i = 0; i < rounds; ++i)
      ok = context->run(cases[i % 3].inputs, cases[i % 3].outputs).ok() && ok;
    return ok;
  };
  ASSERT_TRUE(run(300));
  [[maybe_unused]] const int64_t before = resident_bytes();
  ASSERT_TRUE(run(10000));
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // they keep freed memory
  EXPECT_LE(resident_bytes() - before, 256 << 10);
#endif
}

TEST(Allocation, ResidentMemoryIsFlatWhenShapesComeAndGo) {
  auto engine = make_engine(1);
  auto run = [&](int64_t first, int64_t last) {
    auto context = test::context_of(engine);
    for (int64_t n = first; n < last; ++n) {
      Case c(1 + n % 200, false);  // more shapes than the cache holds
      ASSERT_TRUE(context->run(c.inputs, c.outputs).ok());
    }
  };
  run(0, 400);
  malloc_trim(0);
  [[maybe_unused]] const int64_t before = resident_bytes();
  for (int i = 0; i < 5; ++i) run(0, 400);
  malloc_trim(0);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // they keep freed memory
  EXPECT_LE(resident_bytes() - before, 1 << 20);
#endif
}

}  // namespace
}  // namespace kiln

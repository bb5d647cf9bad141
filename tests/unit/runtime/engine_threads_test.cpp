// Many threads on one program; also under the thread sanitizer.
#include <gtest/gtest.h>

#include <atomic>
#include <barrier>
#include <chrono>
#include <thread>

#include "runtime/execution.h"
#include "unit/runtime/plan_builder.h"

namespace kiln {
namespace {

using test::PlanBuilder;
using test::Tensor;

constexpr int kThreads = 8;
const DimExpr kS0 = DimExpr::symbol("s0");

// y = x * w + exp(v), with an intermediate; wide enough for parallel steps.
std::shared_ptr<Engine> make_engine(int threads) {
  PlanBuilder b;
  b.plan.symbols = {{"s0", {0, 4096}}};
  const PlanView x = b.input("x", {kS0, 64});
  const PlanView w = b.weight("w", {64}), v = b.computed("v", {64}, "neg");
  const PlanView t = b.temp({kS0, 64});
  b.tile("mul", {x, w}, t);
  b.tile("add", {t, v}, b.output("y", {kS0, 64}));
  auto engine = Engine::create(b.plan,
                               {test::weight_bytes(std::vector<float>(64, 2)),
                                test::weight_bytes(std::vector<float>(64, -1))},
                               {.threads = threads});
  EXPECT_TRUE(engine.ok()) << engine.status().to_string();
  return *engine;
}

bool is_affine(const Tensor& x, const Tensor& y, float w, float v) {
  for (size_t i = 0; i < x.data.size(); ++i) {
    if (y.data[i] != x.data[i] * w - v) return false;
  }
  return true;
}

template <typename F>
void in_threads(F body) {
  std::vector<std::thread> threads;
  std::barrier start(kThreads);
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      start.arrive_and_wait();
      body(t);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// Runs on one state exclude each other: no increment is lost.
TEST(StateThreads, OneStateForAll) {
  PlanBuilder b;
  const PlanView x = b.input("x", {64}), total = b.input("total", {64});
  b.plan.inputs[1].is_state = true;
  b.tile("add", {total, x}, total);
  b.write_back("total_new", 1);
  auto engine = Engine::create(b.plan, {}, {.threads = 1});
  ASSERT_TRUE(engine.ok()) << engine.status().to_string();
  auto program = Program::from_engine(*engine, "{}", "{}");
  auto state = program->create_state();
  ASSERT_TRUE(state.ok());
  in_threads([&](int) {
    auto context = program->create_context(*state);
    Tensor ones = Tensor::filled({64}, 1), seen = ones;
    for (int i = 0; i < 100; ++i) {
      EXPECT_TRUE(context->run({ones.view()}, std::vector<TensorView>(1)).ok());
      EXPECT_TRUE((*state)->get("total", seen.view()).ok());
      for (float value : seen.data) EXPECT_EQ(value, seen.data[0]);
    }
  });
  Tensor value = Tensor::filled({64}, 0);
  ASSERT_TRUE((*state)->get("total", value.view()).ok());
  EXPECT_EQ(value.data, std::vector<float>(64, 100.0f * kThreads));
}

class EngineThreads : public testing::TestWithParam<int> {};

TEST_P(EngineThreads, OwnContexts) {
  auto program = Program::from_engine(make_engine(GetParam()), "{}", "{}");
  std::vector<std::unique_ptr<ExecutionContext>> contexts;
  for (int t = 0; t < kThreads; ++t) contexts.push_back(program->create_context());
  std::atomic<int> wrong{0};
  in_threads([&](int t) {
    for (int round = 0; round < 30; ++round) {
      Tensor x = Tensor::iota({1 + (round * 7 + t) % 50, 64}, static_cast<float>(t));
      Tensor y = Tensor::filled(x.shape, 0);
      const bool ok = contexts[static_cast<size_t>(t)]->run({x.view()}, {y.view()}).ok();
      if (!ok || !is_affine(x, y, 2, -1)) ++wrong;
    }
  });
  EXPECT_EQ(wrong, 0);
}

TEST_P(EngineThreads, ContextsMadeMeanwhile) {
  auto program = Program::from_engine(make_engine(GetParam()), "{}", "{}");
  std::atomic<int> wrong{0};
  in_threads([&](int t) {
    for (int round = 0; round < 15; ++round) {
      auto context = program->create_context();
      Tensor x = Tensor::iota({1 + round, 64}, static_cast<float>(t));
      Tensor y = Tensor::filled(x.shape, 0);
      if (!context->infer_shapes({x.view()}).ok() || !context->run({x.view()}, {y.view()}).ok() ||
          !is_affine(x, y, 2, -1)) {
        ++wrong;
      }
    }
  });
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(program->engine()->bindings_made(), 15);
}

TEST_P(EngineThreads, FirstBindingOfOneShape) {
  for (int round = 0; round < 20; ++round) {
    auto program = Program::from_engine(make_engine(GetParam()), "{}", "{}");
    std::atomic<int> wrong{0};
    in_threads([&](int t) {
      auto context = program->create_context();
      Tensor x = Tensor::iota({40, 64}, static_cast<float>(t)), y = Tensor::filled({40, 64}, 0);
      if (!context->run({x.view()}, {y.view()}).ok() || !is_affine(x, y, 2, -1)) ++wrong;
    });
    EXPECT_EQ(wrong, 0);
    EXPECT_EQ(program->engine()->bindings_made(), 1);
  }
}

TEST_P(EngineThreads, EvictionWhileRunning) {
  auto program = Program::from_engine(make_engine(GetParam()), "{}", "{}");
  std::atomic<int> wrong{0};
  in_threads([&](int t) {
    auto context = program->create_context();
    for (int round = 0; round < 100; ++round) {
      Tensor x = Tensor::iota({1 + (round * (t + 1)) % 150, 64});
      Tensor y = Tensor::filled(x.shape, 0);
      if (!context->run({x.view()}, {y.view()}).ok() || !is_affine(x, y, 2, -1)) ++wrong;
    }
  });
  EXPECT_EQ(wrong, 0);
}

// Every run sees either all of the old weights or all of the new ones.
TEST_P(EngineThreads, UpdateWhileRunning) {
  auto engine = make_engine(GetParam());
  auto program = Program::from_engine(engine, "{}", "{}");
  std::atomic<int> wrong{0}, runs{0};
  in_threads([&](int t) {
    if (t == 0) {
      for (int i = 0; i < 60; ++i) {
        const float w = i % 2 == 0 ? 5.0f : 2.0f, v = i % 2 == 0 ? 7.0f : -1.0f;
        if (!engine
                 ->update_weights({test::weight_bytes(std::vector<float>(64, w)),
                                   test::weight_bytes(std::vector<float>(64, v))})
                 .ok()) {
          ++wrong;
        }
      }
      return;
    }
    auto context = program->create_context();
    for (int round = 0; round < 60; ++round) {
      Tensor x = Tensor::iota({20, 64}), y = Tensor::filled({20, 64}, 0);
      if (!context->run({x.view()}, {y.view()}).ok()) ++wrong;
      if (!is_affine(x, y, 2, -1) && !is_affine(x, y, 5, 7)) ++wrong;
      ++runs;
    }
  });
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(runs, 60 * (kThreads - 1));
}

// Now and then nobody runs, and the update writes over the constants while runs begin.
TEST_P(EngineThreads, UpdateBetweenRuns) {
  auto engine = make_engine(GetParam());
  auto program = Program::from_engine(engine, "{}", "{}");
  std::atomic<int> wrong{0};
  std::atomic<bool> done{false};
  in_threads([&](int t) {
    if (t == 0) {
      for (int i = 0; i < 200; ++i) {
        const float w = i % 2 == 0 ? 5.0f : 2.0f, v = i % 2 == 0 ? 7.0f : -1.0f;
        if (!engine
                 ->update_weights({test::weight_bytes(std::vector<float>(64, w)),
                                   test::weight_bytes(std::vector<float>(64, v))})
                 .ok()) {
          ++wrong;
        }
      }
      done = true;
      return;
    }
    auto context = program->create_context();
    while (!done) {
      Tensor x = Tensor::iota({2 + t, 64}), y = Tensor::filled({2 + t, 64}, 0);
      if (!context->run({x.view()}, {y.view()}).ok()) ++wrong;
      if (!is_affine(x, y, 2, -1) && !is_affine(x, y, 5, 7)) ++wrong;
      std::this_thread::sleep_for(std::chrono::microseconds(100 * t));
    }
  });
  EXPECT_EQ(wrong, 0);
}

INSTANTIATE_TEST_SUITE_P(Steps, EngineThreads, testing::Values(1, 3),
                         [](const auto& info) { return "Width" + std::to_string(info.param); });

}  // namespace
}  // namespace kiln

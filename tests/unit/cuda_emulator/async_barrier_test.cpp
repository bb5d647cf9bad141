// What the emulator finds in kernels that wait by asynchronous barriers, and what those without a
// wait get.
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "backends/cuda/compile/kernel_family.h"
#include "core/dtype.h"
#include "emulator/kernel_run.h"
#include "emulator/matrix_map.h"

namespace kiln::emulator {
namespace {

std::unique_ptr<LoadedKernel> load(const std::string& entry, const std::string& text) {
  use_device();
  auto kernel = LoadedKernel::load(cuda::KernelSource{
      "#include \"device/wgmma.h\"\n"
      "#include \"device/tensor_copy.h\"\n" + text, entry});
  EXPECT_TRUE(kernel.ok()) << kernel.status().to_string();
  return kernel.ok() ? std::move(*kernel) : nullptr;
}

// d = a a^T of 64 x 64 ones; the sums' first element, by thread 0.
std::string square_text(const std::string& before_wait, const std::string& expected) {
  return R"(
KILN_KERNEL(128) void square(KILN_TENSOR_MAP(a), Out<float> y) {
  const int32 base =
      static_cast<int32>((1024 - shared_address(dynamic_shared<uint8>()) % 1024) % 1024);
  const Shared<f16> tile = dynamic_shared<f16>(base);
  const AsyncBarrier there{dynamic_shared<uint64>(base + 8192)};
  if (thread_x() == 0) {
    there.init(1);
    fence_barriers();
  }
  barrier();
  if (thread_x() == 0) {
    there.arrive_expecting()" + expected + R"();
    copy_box(tile, a, 0, 0, there);
  }
  )" + before_wait + R"(
  float sums[32];
  WarpgroupProducts products;
  products.begin();
  for (int32 d = 0; d < 64; d += 16) {
    const MatrixDescriptor piece = describe_matrix(tile).moved(d * 2);
    products.start(f16{}, sums, piece, piece, d != 0);
  }
  products.commit();
  products.wait<0>();
  products.done(sums);
  if (thread_x() == 0) y[0] = sums[0];
}
)";
}

std::string run(const std::string& text, float* first) {
  auto kernel = load("square", text);
  if (kernel == nullptr) return "does not compile";
  const Buffer a(std::vector<uint16_t>(64 * 64, f32_to_f16(1.0f))), y(sizeof(float));
  MatrixMapBytes map = map_of(a.address(), 64, 64, 64, 64);
  uint64_t to = y.address();
  const std::string report =
      kernel->launch_with({{1, 1, 1}, {128, 1, 1}, 16 << 10}, {&map, &to});
  *first = y.values<float>()[0];
  return report;
}

TEST(AsyncBarrier, ACopyIsThereAfterTheWait) {
  float first = 0;
  EXPECT_EQ(run(square_text("there.wait(0);", "8192"), &first), "");
  EXPECT_EQ(first, 64.0f);
}

TEST(AsyncBarrier, WithoutTheWaitThereIsNothing) {
  float first = 0;
  EXPECT_EQ(run(square_text("there.wait(1);", "8192"), &first), "");
  EXPECT_TRUE(std::isnan(first));
}

TEST(AsyncBarrier, BytesThatNeverComeAreAFinding) {
  float first = 0;
  const std::string report = run(square_text("there.wait(0);", "8208"), &first);
  EXPECT_NE(report.find("waits at wait of an asynchronous barrier"), std::string::npos) << report;
}

TEST(AsyncBarrier, UseBeforeABarrierOfTheBlockIsAFinding) {
  auto kernel = load("early", R"(
KILN_KERNEL(64) void early(Out<float> y) {
  const AsyncBarrier all{dynamic_shared<uint64>()};
  if (thread_x() == 0) all.init(64);
  all.arrive();
  all.wait(0);
  y[thread_x()] = 1.0f;
}
)");
  ASSERT_NE(kernel, nullptr);
  const Buffer y(64 * sizeof(float));
  const std::string report = kernel->launch({{1, 1, 1}, {64, 1, 1}, 64}, {y.address()});
  EXPECT_NE(report.find("another thread initialized"), std::string::npos) << report;
}

TEST(AsyncBarrier, PhasesFollowEachOther) {
  auto kernel = load("turns", R"(
KILN_KERNEL(64) void turns(Out<int32> y) {
  const AsyncBarrier first{dynamic_shared<uint64>()}, second{dynamic_shared<uint64>() + 1};
  if (thread_x() == 0) {
    first.init(1);
    second.init(1);
  }
  barrier();
  int32 rounds = 0;
  for (uint32 parity = 0; rounds < 5; ++rounds, parity ^= 1) {
    if (thread_x() == 0) {
      first.arrive();
      second.wait(parity);
    } else if (thread_x() == 32) {
      first.wait(parity);
      second.arrive();
    }
  }
  y[thread_x()] = rounds;
}
)");
  ASSERT_NE(kernel, nullptr);
  const Buffer y(64 * sizeof(int32_t));
  ASSERT_EQ(kernel->launch({{1, 1, 1}, {64, 1, 1}, 64}, {y.address()}), "");
  for (const int32_t rounds : y.values<int32_t>()) EXPECT_EQ(rounds, 5);
}

// The report on a kernel of one warp and a barrier, `all`, that thread 0 has made.
std::string report_of(const std::string& body) {
  auto kernel = load("one", R"(#include "device/async_copy.h"
KILN_KERNEL(32) void one(KILN_TENSOR_MAP(a), In<f16> from, Out<float> y) {
  const int32 base =
      static_cast<int32>((1024 - shared_address(dynamic_shared<uint8>()) % 1024) % 1024);
  const Shared<f16> tile = dynamic_shared<f16>(base);
  const AsyncBarrier all{dynamic_shared<uint64>(base + 8192)};
  if (thread_x() == 0) {
    all.init(1);
    fence_barriers();
  }
  barrier();
)" + body + "  y[thread_x()] = 1.0f;\n}\n");
  if (kernel == nullptr) return "does not compile";
  const Buffer a(std::vector<uint16_t>(64 * 64)), y(32 * sizeof(float));
  MatrixMapBytes map = map_of(a.address(), 64, 64, 64, 64);
  uint64_t from = a.address(), to = y.address();
  return kernel->launch_with({{1, 1, 1}, {32, 1, 1}, 16 << 10}, {&map, &from, &to});
}

TEST(AsyncBarrier, WhatACopyIsUnderWayToIsLeftAlone) {
  const std::string copy = R"(
  if (thread_x() == 0) {
    all.arrive_expecting(8192);
    copy_box(tile, a, 0, 0, all);
    $
  }
)";
  const auto with = [&](std::string text, const std::string& line) {
    return report_of(text.replace(text.find('$'), 1, line));
  };
  EXPECT_EQ(with(copy, "all.wait(0); tile[5] = f16{};"), "");
  EXPECT_NE(with(copy, "tile[5] = f16{};").find("a copy is under way to"), std::string::npos);
  const std::string own = R"(
  AsyncCopies copies;
  copies.start(tile + thread_x() * 8, from + thread_x() * 8, true);
  copies.commit();
  $
)";
  EXPECT_EQ(with(own, "copies.wait<0>(); tile[thread_x() * 8] = f16{};"), "");
  EXPECT_NE(with(own, "barrier(); tile[thread_x() * 8] = f16{};").find("a copy is under way to"),
            std::string::npos);
}

TEST(AsyncBarrier, MistakesInItsUseAreFindings) {
  EXPECT_NE(report_of("  if (thread_x() == 0) dynamic_shared<float>(base + 8196)[0] = 1.0f;\n")
                .find("holds an asynchronous barrier"),
            std::string::npos);
  EXPECT_NE(report_of("  if (thread_x() == 0) all.init(1);\n").find("initialized a second time"),
            std::string::npos);
  // The second arrival ends a phase that is waited for; the third one that nobody has waited for.
  const std::string lapped =
      "  if (thread_x() == 0) {\n    all.arrive();\n    all.arrive();\n$  }\n";
  const auto with = [&](const std::string& line) {
    std::string text = lapped;
    return report_of(text.replace(text.find('$'), 1, line));
  };
  EXPECT_EQ(with("    all.wait(0);\n"), "");
  EXPECT_NE(with("    all.arrive();\n").find("nobody has waited"), std::string::npos);
}

TEST(AsyncBarrier, AProductReadsWhatIsThereWhenItIsWaitedFor) {
  // Thread 0 overwrites an operand once the others have said that they need it no more.
  const auto text = [](const std::string& first, const std::string& second) {
    return R"(
KILN_KERNEL(160) void early(Out<float> y) {
  const int32 base =
      static_cast<int32>((1024 - shared_address(dynamic_shared<uint8>()) % 1024) % 1024);
  const Shared<f16> tile = dynamic_shared<f16>(base);
  const AsyncBarrier free{dynamic_shared<uint64>(base + 8192)};
  if (thread_x() == 0) free.init(4);
  for (int32 i = thread_x(); i < 64 * 64; i += 160) tile[i] = to_f16(1.0f);
  barrier();
  if (thread_x() >= 128) {
    if (lane() == 0) {
      free.wait(0);
      for (int32 i = 0; i < 64 * 64; ++i) tile[i] = f16{};
    }
    return;
  }
  float sums[32];
  WarpgroupProducts products;
  products.begin();
  products.start(f16{}, sums, describe_matrix(tile), describe_matrix(tile), false);
  products.commit();
  )" + first + second + R"(
  products.done(sums);
  if (thread_x() == 0) y[0] = sums[0];
}
)";
  };
  const std::string wait = "products.wait<0>();\n", release = "if (lane() == 0) free.arrive();\n";
  for (const bool early : {false, true}) {
    auto kernel = load("early", early ? text(release, wait) : text(wait, release));
    ASSERT_NE(kernel, nullptr);
    const Buffer y(sizeof(float));
    ASSERT_EQ(kernel->launch({{1, 1, 1}, {160, 1, 1}, 16 << 10}, {y.address()}), "");
    EXPECT_EQ(y.values<float>()[0], early ? 0.0f : 16.0f);
  }
}

}  // namespace
}  // namespace kiln::emulator

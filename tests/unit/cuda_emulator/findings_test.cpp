// What the emulator must find in a kernel, and what it must not.
#include <gtest/gtest.h>

#include "emulator/kernel_run.h"

namespace kiln::emulator {
namespace {

using cuda::KernelSource;

// `body` is the kernel's; x and y have `n` elements, the block 64 threads.
std::string run(const std::string& body, Shape shape = {{1, 1, 1}, {64, 1, 1}, 0}, int n = 64,
                const std::string& before = "") {
  KernelSource source{"#include \"device/platform.h\"\n" + before +
                          "KILN_KERNEL(256) void probe(In<float> x, InOut<float> y, int32 n) {\n" +
                          body + "\n}\n",
                      "probe"};
  auto kernel = LoadedKernel::load(source);
  if (!kernel.ok()) return kernel.status().to_string();
  Buffer x(std::vector<float>(static_cast<size_t>(n), 1.0f));
  Buffer y(std::vector<float>(static_cast<size_t>(n), 2.0f));
  return (*kernel)->launch(shape, {x.address(), y.address(), static_cast<uint64_t>(n)});
}

#define EXPECT_FINDING(report, text) EXPECT_NE((report).find(text), std::string::npos) << report

TEST(EmulatorFindings, OutOfBounds) {
  EXPECT_EQ(run("int32 i = thread_x(); if (i < n) y[i] = x[i];"), "");
  EXPECT_FINDING(run("int32 i = thread_x(); if (i <= n) y[i] = x[i + 1];"),
                 "out of bounds: reads 1 x 4 bytes at byte 256 of argument 0, which has 256");
  EXPECT_FINDING(run("y[thread_x() - 1] = 0.0f;"),
                 "out of bounds: writes 1 x 4 bytes at byte -4 of argument 1");
  EXPECT_FINDING(run("KILN_SHARED(float, s, 63); s[thread_x()] = 1.0f;"), "of shared array s");
  EXPECT_FINDING(run("KILN_SHARED(float, s, 16); store<4>(s + 16, load<4>(x));"), "shared array s");
  EXPECT_FINDING(run("dynamic_shared<float>()[thread_x()] = 1.0f;", {{1, 1, 1}, {64, 1, 1}, 255}),
                 "of shared array dynamic_shared, which has 255");
  // The place is named.
  EXPECT_FINDING(run("if (block_x() == 1) y[thread_x() + 3] = 0.0f;", {{2, 1, 1}, {64, 1, 1}, 0}),
                 "in thread (61, 0, 0) of block (1, 0, 0) of kernel probe");
}

TEST(EmulatorFindings, LocalArrays) {
  const std::string sum =
      "float local[4] = {1.0f, 2.0f, 3.0f, 4.0f}; float sum = 0.0f;\n"
      "for (int32 i = 0; i < n; ++i) sum += local[i];\ny[thread_x()] = sum;";
  const Shape one{{1, 1, 1}, {1, 1, 1}, 0};
  EXPECT_EQ(run(sum, one, 4), "");
  EXPECT_FINDING(run(sum, one, 5),
                 "out of bounds: element 4 of a local array 'float [4]' at probe.cu:4");
  EXPECT_FINDING(run("Pack<float, 2> pair{}; pair.at[n - 5] = 1.0f; y[0] = pair.at[1];", one, 4),
                 "out of bounds: element -1 of a local array 'float [2]'");
  // The first one behind the last, by a class's assignment.
  EXPECT_FINDING(run("Pack<float, 2> pairs[1];\n#pragma unroll\n"
                     "for (int32 i = 0; i <= 1; ++i) pairs[i] = Pack<float, 2>{{1.0f, 2.0f}};\n"
                     "y[0] = pairs[0].at[1] + n;",
                     one, 4),
                 "an access outside of a local variable");
}

TEST(EmulatorFindings, Extents) {
  const KernelSource source{
      "#include \"device/platform.h\"\n"
      "KILN_KERNEL(64) void part(In<float> x, Out<float> y) { y[thread_x()] = x[thread_x()]; }\n",
      "part"};
  auto kernel = LoadedKernel::load(source);
  ASSERT_TRUE(kernel.ok()) << kernel.status().to_string();
  Buffer arena(std::vector<float>(64, 1.0f));
  const Shape shape{{1, 1, 1}, {8, 1, 1}, 0};
  Emulator::instance().set_extents({{0, 32}, {0, 32}});
  EXPECT_EQ((*kernel)->launch(shape, {arena.address(), arena.address() + 128}), "");
  Emulator::instance().set_extents({{0, 32}, {0, 28}});
  EXPECT_FINDING((*kernel)->launch(shape, {arena.address(), arena.address() + 128}),
                 "writes 1 x 4 bytes at byte 28 of argument 1, which has 28");
}

TEST(EmulatorFindings, CopiesUnderWay) {
  const std::string header = "#include \"device/async_copy.h\"\n";
  const Shape one_warp{{1, 1, 1}, {32, 1, 1}, 0};
  // Thread i < 16 copies elements 4 i to 4 i + 3; all read what the next thread copied.
  const auto copies = [&](const std::string& wait, const std::string& after) {
    return "KILN_SHARED(float, s, 64); AsyncCopies copies; const int32 i = thread_x();\n"
           "if (i < 16) copies.start(s + 4 * i, x + 4 * i, i != 3);\n"
           "copies.commit();\n" +
           wait + "\n" + after;
  };
  const std::string read = "y[i] = s[(i + 4) % 64];";
  EXPECT_EQ(run(copies("copies.wait<0>(); barrier();", read), one_warp, 64, header), "");
  EXPECT_FINDING(run(copies("copies.wait<0>();", read), one_warp, 64, header), "race");
  EXPECT_FINDING(run(copies("barrier(); copies.wait<0>();", read), one_warp, 64, header), "race");
  EXPECT_FINDING(run(copies("copies.wait<0>(); barrier();",
                            "if (i < 16) copies.start(s + i, x, true);"),
                     one_warp, 64, header),
                 "misaligned");
  // The last group may be under way still; zeros are for what is not there.
  const std::string check =
      "if (i == 0) { const float a = s[4], b = s[12]; y[0] = a == 1.0f ? 0.0f : x[1000];\n"
      "y[1] = b == 0.0f ? 0.0f : x[1000]; }";
  EXPECT_EQ(run(copies("copies.wait<0>(); barrier();", check), one_warp, 64, header), "");
  EXPECT_FINDING(
      run(copies("barrier(); copies.wait<1>(); barrier();", check), one_warp, 64, header),
      "which a copy is under way to");
}

TEST(EmulatorFindings, Alignment) {
  EXPECT_EQ(run("if (thread_x() < 16) store<4>(y + 4 * thread_x(), load<4>(x));"), "");
  EXPECT_FINDING(run("store<4>(y + 2, load<4>(x));"), "misaligned: writes 4 x 4 bytes at byte 8");
  EXPECT_FINDING(run("load<2>(x + 1);"), "misaligned: reads 2 x 4 bytes at byte 4");
  EXPECT_FINDING(run("dynamic_shared<float>(2)[0] = 1.0f;", {{1, 1, 1}, {64, 1, 1}, 64}),
                 "misaligned");
}

TEST(EmulatorFindings, SharedMemory) {
  const std::string reversed =
      "KILN_SHARED(float, s, 64); int32 i = thread_x(); s[i] = x[i]; %s y[i] = s[63 - i];";
  const auto with = [&](const std::string& text) {
    std::string result = reversed;
    return result.replace(result.find("%s"), 2, text);
  };
  EXPECT_EQ(run(with("barrier();")), "");
  // Thread 0 runs first and reads what thread 63 has not written yet.
  EXPECT_FINDING(run(with("")), "which nobody has written");
  EXPECT_FINDING(run("KILN_SHARED(float, s, 64); int32 i = thread_x(); s[i] = x[i]; barrier();\n"
                     "float v = s[i ^ 1]; s[i] = v + 1.0f;"),
                 "race: reads byte 0 of shared array s, which thread 0 of the block wrote");
  EXPECT_FINDING(run("KILN_SHARED(float, s, 64); int32 i = thread_x(); s[i] = x[i]; barrier();\n"
                     "if (i >= 32) s[i - 32] = 0.0f; else y[i] = s[i];"),
                 "race: writes byte 0 of shared array s, which thread 0 of the block reads");
  EXPECT_FINDING(run("KILN_SHARED(float, s, 1); s[0] = static_cast<float>(thread_x());"),
                 "which thread 0 of the block wrote with no barrier between");
  // Of the same value too.
  EXPECT_FINDING(run("KILN_SHARED(float, s, 1); s[0] = 1.0f;"),
                 "which thread 0 of the block wrote with no barrier between");
  // What a barrier orders is none, nor is another block.
  EXPECT_EQ(run("KILN_SHARED(float, s, 1); if (thread_x() == 9) s[0] = 1.0f;"), "");
  EXPECT_EQ(run("KILN_SHARED(float, s, 64); int32 i = thread_x(); s[i] = x[i]; barrier();\n"
                "float v = s[i ^ 1]; barrier(); s[i] = v + 1.0f;",
                {{3, 1, 1}, {64, 1, 1}, 0}),
            "");
  // Each block starts with nothing.
  EXPECT_FINDING(run("KILN_SHARED(float, s, 1); if (block_x() == 0) s[0] = 1.0f; barrier();\n"
                     "y[block_x()] = s[0];",
                     {{2, 1, 1}, {1, 1, 1}, 0}),
                 "which nobody has written");
  // Threads of one warp are ordered by their own barrier, those of two are not.
  const std::string warps =
      "KILN_SHARED(float, s, 64); int32 i = thread_x(); s[i] = x[i]; warp_barrier();\n";
  EXPECT_EQ(run(warps + "float v = s[i ^ 1]; warp_barrier(); s[i] = v + 1.0f;"), "");
  EXPECT_FINDING(run(warps + "warp_barrier(); y[i] = s[63 - i];"), "shared array s");
  EXPECT_FINDING(run(warps + "float v = s[i ^ 1]; s[i] = v + 1.0f;"), "race");
  // Many readers.
  EXPECT_FINDING(run("KILN_SHARED(float, s, 1); if (thread_x() == 0) s[0] = 1.0f; barrier();\n"
                     "float v = s[0]; if (thread_x() == 40) s[0] = v + 1.0f;"),
                 "threads of several warps read");
}

TEST(EmulatorFindings, GlobalMemory) {
  const Shape two{{2, 1, 1}, {32, 1, 1}, 0};
  EXPECT_FINDING(run("y[thread_x()] = static_cast<float>(block_x());", two),
                 "race: writes byte 0 of argument 1, which another block of the launch wrote");
  EXPECT_FINDING(run("y[thread_x()] = 5.0f;", two), "which another block of the launch wrote");
  EXPECT_FINDING(run("if (block_x() == 0) y[thread_x()] = 5.0f; else y[40] = y[thread_x()];", two),
                 "which another block of the launch wrote");
  EXPECT_FINDING(run("float v = y[0]; if (block_x() + thread_x() == 1) y[0] = v + 1.0f;",
                     {{2, 1, 1}, {1, 1, 1}, 0}),
                 "which another block of the launch reads");
  EXPECT_FINDING(run("float v = y[63 - thread_x()]; y[thread_x()] = v + 1.0f;"), "race");
  EXPECT_EQ(run("float v = y[63 - thread_x()]; barrier(); y[thread_x()] = v + 1.0f;"), "");
  EXPECT_EQ(run("atomic_add(y, 1.0f);", two), "");
  EXPECT_FINDING(run("atomic_add(y, 1.0f); float v = y[0]; y[1] = v;", two), "race");
}

TEST(EmulatorFindings, ConstantArgumentsAreNotWritten) {
  const KernelSource source{
      "#include \"device/platform.h\"\n"
      "KILN_KERNEL(64) void alias(In<float> x, Out<float> y) {\n"
      "  float v = x[thread_x()]; y[thread_x()] = v; y[thread_x()] = x[thread_x()] + 1.0f; }\n",
      "alias"};
  auto kernel = LoadedKernel::load(source);
  ASSERT_TRUE(kernel.ok()) << kernel.status().to_string();
  Buffer x(std::vector<float>(64, 1.0f));
  EXPECT_FINDING((*kernel)->launch({{1, 1, 1}, {64, 1, 1}, 0}, {x.address(), x.address()}),
                 "the launch itself has written, though the argument is In");
}

TEST(EmulatorFindings, Divergence) {
  EXPECT_FINDING(run("if (thread_x() < 32) barrier();"),
                 "barrier divergence: thread 0 waits at barrier at probe.cu:3, "
                 "thread 32 has ended");
  EXPECT_FINDING(run("if (thread_x() < 32) barrier();\nelse barrier();"), "barrier divergence");
  EXPECT_FINDING(run("if (thread_x() % 32 < 31) y[0] = shuffle(1.0f, 0);"), "warp divergence");
  EXPECT_FINDING(run("y[thread_x()] = shuffle_xor(1.0f, 32);"),
                 "an exchange with no lane of the warp");
  EXPECT_FINDING(run("float v = 0.0f;\nif (thread_x() & 1) v = shuffle(v, 0);\n"
                     "else v = shuffle_xor(v, 1);"),
                 "warp divergence: this lane is at shuffle at probe.cu:4, others at shuffle_xor");
  EXPECT_FINDING(run("shuffle(1.0f, 0);", {{1, 1, 1}, {48, 1, 1}, 0}),
                 "in a warp of 16 lanes; all 32 must take part");
  // Some warps may be elsewhere.
  EXPECT_EQ(run("if (warp() == 1) shuffle(1.0f, 0); barrier();"), "");
}

TEST(EmulatorFindings, LaunchLimits) {
  EXPECT_FINDING(run("", {{1, 1, 1}, {257, 1, 1}, 0}), "the kernel is made for 256");
  EXPECT_FINDING(run("", {{1, 65536, 1}, {1, 1, 1}, 0}), "the grid");
  EXPECT_FINDING(run("", {{1, 1, 1}, {1, 1, 1}, 228 << 10}), "dynamic shared memory");
  EXPECT_FINDING(run("KILN_SHARED(float, s, 12289); s[0] = 1.0f;"), "shared memory");
}

TEST(EmulatorFindings, EndlessLoops) {
  Execution& execution = Emulator::instance().execution();
  execution.set_access_limit(10000);
  EXPECT_FINDING(run("while (true) y[0] = 1.0f;"), "the launch does not come to an end");
  EXPECT_FINDING(run("while (true) warp_barrier();"), "the launch does not come to an end");
  execution.set_access_limit(int64_t{1} << 32);
}

TEST(EmulatorFindings, WritesThroughInDoNotCompile) {
  EXPECT_FINDING(run("x[0] = 1.0f;"), "does not compile");
  EXPECT_FINDING(run("store<4>(x, load<4>(y));"), "does not compile");
}

}  // namespace
}  // namespace kiln::emulator

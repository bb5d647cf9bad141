// Clusters of blocks on the emulator: what they compute together, and what it finds in them.
#include <gtest/gtest.h>

#include "emulator/kernel_run.h"

namespace kiln::emulator {
namespace {

// `body` of a kernel of clusters of three blocks of 32 threads, each with 128 numbers of dynamic
// shared memory; y has 96 numbers. "" or the finding.
std::string run(const std::string& body, std::vector<float>* result = nullptr,
                int64_t blocks = 3) {
  const cuda::KernelSource source{
      "#include \"device/cluster.h\"\n"
      "KILN_CLUSTER_KERNEL(32, 3) void probe(InOut<float> y) {\n"
      "const Shared<float> own = dynamic_shared<float>();\n"
      "const int32 rank = static_cast<int32>(block_x() % cluster_blocks(3));\n" +
          body + "\n}\n",
      "probe"};
  use_device();
  auto kernel = LoadedKernel::load(source);
  if (!kernel.ok()) return kernel.status().to_string();
  Buffer y(std::vector<float>(96, 2.0f));
  Shape shape{{blocks, 1, 1}, {32, 1, 1}, 512};
  std::string report = (*kernel)->launch(shape, {y.address()});
  if (result != nullptr) *result = y.values<float>();
  return report;
}

constexpr const char* kFill =
    "for (int32 e = 0; e < 4; ++e) own[thread_x() * 4 + e] = rank * 1000 + thread_x() * 4 + e;\n";
constexpr const char* kRead =
    "{\nfloat sum = 0;\n"
    "for (int32 p = 0; p < 3; ++p) sum += load_peer(own + thread_x() * 4, p).at[3];\n";
constexpr const char* kPut = "y[rank * 32 + thread_x()] = sum;\n}\n";
constexpr const char* kBarrier = "cluster_barrier();\n";

std::string all(std::initializer_list<const char*> parts) {
  std::string text;
  for (const char* part : parts) text += part;
  return text;
}

#define EXPECT_FINDING(report, text) EXPECT_NE((report).find(text), std::string::npos) << report

TEST(EmulatedClusters, BlocksReadEachOthersSharedMemory) {
  std::vector<float> y;
  ASSERT_EQ(run(all({kFill, kBarrier, kRead, kPut, kBarrier}), &y), "");
  for (size_t i = 0; i < y.size(); ++i) {
    EXPECT_EQ(y[i], 3000.0f + 3.0f * static_cast<float>(i % 32 * 4 + 3)) << i;
  }
}

TEST(EmulatedClusters, RacesBetweenBlocks) {
  EXPECT_FINDING(run(all({kFill, "barrier();\n", kRead, kPut, kBarrier})), "nobody has written");
  EXPECT_FINDING(run(all({kFill, kBarrier, kFill, "barrier();\n", kRead, kPut, kBarrier})),
                 "another block of the cluster");
  EXPECT_FINDING(run(all({kFill, kBarrier, kRead, kPut, "barrier();\nif (rank == 1) ", kFill,
                          kBarrier})),
                 "another block of the cluster reads with no barrier of the cluster between");
  EXPECT_EQ(run(all({kFill, kBarrier, kRead, kPut, kBarrier, kFill, kBarrier, kRead, kPut,
                     kBarrier})),
            "");
  // Through global memory.
  EXPECT_FINDING(run("y[thread_x()] = 1.0f;"), "another block of the cluster wrote");
  EXPECT_FINDING(run("if (rank == 0) y[thread_x()] = 1.0f;\nbarrier();\n"
                     "if (rank == 1) y[32 + thread_x()] = y[thread_x()];"),
                 "another block of the cluster wrote");
  EXPECT_EQ(run("if (rank == 0) y[thread_x()] = 1.0f;\ncluster_barrier();\n"
                "if (rank == 1) y[32 + thread_x()] = y[thread_x()];"),
            "");
}

TEST(EmulatedClusters, BlocksThatEndOrDoNotCome) {
  EXPECT_FINDING(run(all({kFill, kBarrier, kRead, kPut})),
                 "reads shared memory of a block that has ended");
  EXPECT_FINDING(run("if (rank != 1) cluster_barrier();"),
                 "waits at cluster_barrier at probe.cu:5, another block of the cluster does not");
  EXPECT_FINDING(run("if (rank == 1) cluster_barrier(); else\ncluster_barrier();"),
                 "barrier divergence");
  EXPECT_FINDING(run("load_peer(own, 3);"), "block 3 of a cluster of 3");
  EXPECT_FINDING(run("load_peer(own + 128, 1);"), "out of bounds");
}

TEST(EmulatedClusters, GridsAreWholeClusters) {
  EXPECT_FINDING(run("", nullptr, 4), "a grid of 4 blocks in clusters of 3");
}

}  // namespace
}  // namespace kiln::emulator

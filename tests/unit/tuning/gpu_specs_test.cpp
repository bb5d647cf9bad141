#include <gtest/gtest.h>

#include "tuning/device_spec.h"

namespace kiln {
namespace {

TEST(GpuSpecs, AreThereWithoutAGpu) {
  for (int sm : {80, 90, 100}) {
    auto spec = DeviceSpec::gpu(sm);
    ASSERT_TRUE(spec.ok()) << spec.status().to_string();
    EXPECT_EQ(spec->kind, DeviceKind::kCuda);
    EXPECT_EQ(spec->sm(), sm);
    EXPECT_EQ(spec->target(), "cuda:sm_" + std::to_string(sm));
    EXPECT_GT(spec->multiprocessors, 100);
    EXPECT_GE(spec->shared_bytes_per_block, 160 << 10);
    EXPECT_GE(spec->l2_bytes, 40 << 20);
    EXPECT_GT(spec->memory_bytes_per_second, int64_t{1} << 40);
  }
  auto missing = DeviceSpec::gpu(42);
  EXPECT_EQ(missing.status().code(), "K2010");
  EXPECT_NE(missing.status().hint().find("cuda:sm_90"), std::string::npos);
}

TEST(GpuSpecs, AreReadFromJson) {
  const std::string good =
      R"({"isa": "sm_90", "multiprocessors": 114, "shared_bytes_per_block": 232448,
          "l2_bytes": 52428800, "memory_bytes_per_second": 2000000000000})";
  auto spec = DeviceSpec::gpu_from_json(parse_json(good).value());
  ASSERT_TRUE(spec.ok()) << spec.status().to_string();
  EXPECT_EQ(spec->multiprocessors, 114);
  EXPECT_EQ(spec->memory_bytes_per_second, 2000000000000);
  for (const auto& [from, to] : {std::pair("sm_90", "sm_"),
                                 {"sm_90", "90"},
                                 {"sm_90", "sm_9x"},
                                 {"sm_90", "sm_75"},
                                 {"114", "0"},
                                 {"114", "5000000000"},
                                 {"\"isa\"", "\"name\""},
                                 {"232448", "\"large\""}}) {
    std::string text = good;
    text.replace(text.find(from), std::string(from).size(), to);
    EXPECT_EQ(DeviceSpec::gpu_from_json(parse_json(text).value()).status().code(), "K2010") << to;
  }
}

}  // namespace
}  // namespace kiln

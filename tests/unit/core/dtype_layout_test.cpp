#include <gtest/gtest.h>

#include <cmath>

#include "core/dtype.h"
#include "core/host_tensor.h"
#include "core/layout.h"

namespace kiln {
namespace {

TEST(DType, NamesRoundTrip) {
  for (int i = 0; i <= static_cast<int>(DType::kBool); ++i) {
    const auto dtype = static_cast<DType>(i);
    EXPECT_EQ(dtype_from_name(dtype_name(dtype)), dtype);
  }
  EXPECT_EQ(dtype_from_name("f31"), std::nullopt);
}

TEST(DType, EveryHalfSurvivesTheWayThroughFloat) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const float f16 = f16_to_f32(half);
    const float bf16 = bf16_to_f32(half);
    if (std::isnan(f16)) {
      EXPECT_TRUE(std::isnan(f16_to_f32(f32_to_f16(f16))));
    } else {
      EXPECT_EQ(f32_to_f16(f16), half);
    }
    if (std::isnan(bf16)) {
      EXPECT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(bf16))));
    } else {
      EXPECT_EQ(f32_to_bf16(bf16), half);
    }
  }
}

// Between two neighbouring halves the nearer one wins, and the even one in the middle.
TEST(DType, RoundsHalvesToNearestEven) {
  for (uint32_t bits = 0; bits < 0x7bff; ++bits) {
    const double low = f16_to_f32(static_cast<uint16_t>(bits));
    const double high = f16_to_f32(static_cast<uint16_t>(bits + 1));
    const auto middle = static_cast<float>((low + high) / 2);
    EXPECT_EQ(f32_to_f16(middle), (bits & 1) ? bits + 1 : bits);
    EXPECT_EQ(f32_to_f16(std::nextafterf(middle, 0.0f)), bits);
    EXPECT_EQ(f32_to_f16(std::nextafterf(middle, 1e9f)), bits + 1);
  }
  EXPECT_EQ(f32_to_f16(65520.0f), 0x7c00);
  EXPECT_EQ(f32_to_f16(65519.0f), 0x7bff);
}

TEST(Layout, TextRoundTrips) {
  Layout blocked;
  blocked.order = {0, 1, 2, 3};
  blocked.block_axis = 1;
  blocked.block = 16;
  Layout transposed;
  transposed.order = {1, 0};
  Layout packed;
  packed.packed = "onednn:key(1)";
  for (const Layout& layout : {Layout(), Layout::channels_last(3), Layout::channels_last(4),
                               Layout::channels_last(5), blocked, transposed, packed}) {
    const auto back = Layout::from_string(layout.to_string());
    ASSERT_TRUE(back.has_value()) << layout.to_string();
    EXPECT_EQ(*back, layout) << layout.to_string();
  }
  EXPECT_EQ(Layout::channels_last(4).to_string(), "nhwc");
  EXPECT_EQ(blocked.to_string(), "order(0,1,2,3;1:16)");
  for (const char* text : {"nchw", "order(0,0)", "order(0,2)", "order(0,1;2:8)", "order(0,1;1:0)",
                           "packed()", "order(1,0"}) {
    EXPECT_FALSE(Layout::from_string(text).has_value()) << text;
  }
}

TEST(HostTensor, StoresWithTheRulesOfItsDtype) {
  HostTensor bytes(DType::kI8, {2});
  bytes.set_int(0, 300);
  EXPECT_EQ(bytes.get_int(0), 44);
  HostTensor flags(DType::kBool, {1});
  flags.set_double(0, 0.5);
  EXPECT_EQ(flags.get_int(0), 1);
  HostTensor big(DType::kI64, {1});
  big.set_int(0, (int64_t{1} << 53) + 1);
  EXPECT_EQ(big.get_int(0), (int64_t{1} << 53) + 1);
  HostTensor scalar(DType::kF32, {});
  EXPECT_EQ(scalar.num_elements(), 1);
  EXPECT_NE(HostTensor(DType::kF32, {2}), HostTensor(DType::kF32, {1, 2}));
}

}  // namespace
}  // namespace kiln

#include "core/call_arg.h"

#include <gtest/gtest.h>

namespace kiln {
namespace {

TEST(Call, PrintsAsDocumented) {
  Call call{"aten::add", "Tensor", {CallArg::Operand{0}, CallArg::Operand{1}, 1}};
  EXPECT_EQ(call.to_string(), "aten::add.Tensor(%0, %1, 1)");
}

TEST(Call, RoundTripsEveryKindOfArgument) {
  const DimExpr s = DimExpr::symbol("s0");
  CallArg::List nested{CallArg(1), CallArg(CallArg::None{}), CallArg(CallArg::List{})};
  Call call{"my_lib::odd_op",
            "",
            {CallArg::None{}, true, false, DimExpr(-3), s, s * 2 + 1, 1.0, -0.0, 1e-5, "a\"b)",
             DType::kBF16, Device{}, Device{DeviceKind::kCuda, 3}, MemoryFormat::kChannelsLast3d,
             CallArg::Layout{"strided"}, CallArg::Operand{12}, nested}};
  const std::string text = call.to_string();
  Result<Call> back = Call::parse(text);
  ASSERT_TRUE(back.ok()) << back.status().to_string() << "\n" << text;
  EXPECT_EQ(*back, call) << text;
  EXPECT_EQ(back->to_string(), text);
  // An integer stays an integer and a float a float.
  EXPECT_NE(back->args[6].get<double>(), nullptr);
  EXPECT_NE(back->args[3].get<DimExpr>(), nullptr);
}

TEST(Call, RefusesDamagedText) {
  for (const char* text :
       {"", "aten::add", "aten::add(", "aten::add(%)", "aten::add(%0", "aten::add(%0,,%1)",
        "aten::add(1 2)", "aten::add(dtype:f31)", "aten::add(device:gpu)", "aten::add(?(s0)",
        "aten::add() x", "aten::add.()", "aten::add(tru)", "aten::add([1, 2)", "aten::add(%-1)"}) {
    Result<Call> call = Call::parse(text);
    ASSERT_FALSE(call.ok()) << text;
    EXPECT_EQ(call.status().code(), "K2103") << text;
  }
  std::string deep = "aten::f(";
  for (int i = 0; i < 100000; ++i) deep += "[";
  EXPECT_FALSE(Call::parse(deep).ok());
}

TEST(Call, EveryTruncationIsRefused) {
  const std::string text = "aten::f.x(%0, [1, ?(s0 + 2)], \"t\", dtype:f32, 1.5)";
  ASSERT_TRUE(Call::parse(text).ok());
  for (size_t n = 0; n < text.size(); ++n) EXPECT_FALSE(Call::parse(text.substr(0, n)).ok()) << n;
}

}  // namespace
}  // namespace kiln

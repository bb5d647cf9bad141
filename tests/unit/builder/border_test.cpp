// A bug in the compiler reaches a C++ caller as a Status: nothing is thrown across public headers.
#include <gtest/gtest.h>
#include <kiln/builder.h>

#include "aten/import_rule.h"
#include "base/check.h"
#include "ir/op_def.h"

namespace kiln {
namespace {

// Where the op below breaks: while it is captured, or when the compiler verifies the module.
enum class Breaks { kNever, kInCapture, kInCompile } breaks = Breaks::kNever;

Result<std::vector<Type>> infer(const OpContext& context) {
  KILN_CHECK_MSG(breaks != Breaks::kInCapture, "broken in capture");
  return std::vector<Type>{*context.operands[0]};
}

Status verify(const OpContext&) {
  KILN_CHECK_MSG(breaks != Breaks::kInCompile, "broken in compile");
  return {};
}

KILN_OP(t_breaks) {
  OpDef def;
  def.infer = infer;
  def.verify = verify;
  return def;
}

void import_breaks(ImportCall& call) { call.result(call.emit("t_breaks", {call.tensor(0)})); }
KILN_ATEN_RULE(import_breaks, "kiln_test::breaks(Tensor self) -> Tensor");

class Border : public testing::Test {
 protected:
  ~Border() override { breaks = Breaks::kNever; }

  Status capture(CaptureBuilder& builder) {
    CaptureMeta meta;
    meta.dims = {"4"};
    const auto x = builder.input("x", meta).value();
    auto y = builder.call("kiln_test::breaks", "", {{CaptureArg::Value{x}}}, {meta}, {}, "");
    return y.ok() ? builder.output((*y)[0], "y") : std::move(y).status();
  }
};

TEST_F(Border, CompileAndExplainReturnBugsAsStatuses) {
  CaptureBuilder compiled, explained;
  ASSERT_TRUE(capture(compiled).ok());
  ASSERT_TRUE(capture(explained).ok());
  breaks = Breaks::kInCompile;
  const Status first = compile(compiled, {}).status();
  EXPECT_EQ(first.code(), "K9001");
  EXPECT_NE(first.message().find("broken in compile"), std::string::npos) << first.message();
  EXPECT_EQ(explain(explained, {}).status().code(), "K9001");
}

TEST_F(Border, CallsOfTheCaptureReturnBugsAsStatuses) {
  breaks = Breaks::kInCapture;
  CaptureBuilder builder;
  EXPECT_EQ(capture(builder).code(), "K9001");
}

}  // namespace
}  // namespace kiln

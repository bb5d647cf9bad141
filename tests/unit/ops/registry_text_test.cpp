// The documentation page and the data for samples.
#include <cmath>

#include "eval_op.h"
#include "ops/ops_doc.h"

namespace kiln {
namespace {

TEST(OpsDoc, NamesEveryOpAndField) {
  const std::string page = ops_markdown();
  for (const OpDef* op : OpRegistry::global().all()) {
    EXPECT_NE(page.find("\n## " + op->name + "\n"), std::string::npos) << op->name;
    for (const FieldDef& field : op->fields)
      EXPECT_NE(page.find("\n| " + field.name + " | "), std::string::npos) << field.name;
  }
  EXPECT_EQ(page, ops_markdown());
  EXPECT_NE(page.find("| approximate | string | \"none\" |"), std::string::npos);
}

TEST(SampleDataTest, SeedDecides) {
  using Fill = OpSample::Fill;
  const HostTensor a = random_tensor(DType::kF32, {64}, Fill::kNormal, 0, 1);
  EXPECT_TRUE(a == random_tensor(DType::kF32, {64}, Fill::kNormal, 0, 1));
  EXPECT_FALSE(a == random_tensor(DType::kF32, {64}, Fill::kNormal, 0, 2));
}

TEST(SampleDataTest, FillsKeepTheirRange) {
  using Fill = OpSample::Fill;
  const auto check = [](DType dtype, Fill fill, double low, double high, int64_t limit = 0) {
    const HostTensor tensor = random_tensor(dtype, {500}, fill, limit, 3);
    double least = tensor.get_double(0), most = least;
    for (double value : doubles(tensor)) {
      least = std::min(least, value);
      most = std::max(most, value);
      const bool whole = fill != Fill::kNormal && fill != Fill::kPositive && fill != Fill::kUnit;
      EXPECT_TRUE(!whole || value == std::floor(value)) << value;
    }
    EXPECT_GE(least, low);
    EXPECT_LE(most, high);
    // It uses most of the range too.
    EXPECT_GT(most - least,
              0.9 * (high - low) * (fill == Fill::kNormal && is_float(dtype) ? 0.5 : 1));
  };
  check(DType::kF32, Fill::kNormal, -6, 6);
  check(DType::kF32, Fill::kSmallIntegers, -4, 4);
  check(DType::kF32, Fill::kPositive, 0.5, 4);
  check(DType::kF32, Fill::kUnit, -1, 1);
  check(DType::kF16, Fill::kMask, -65504, 0);
  check(DType::kU8, Fill::kNormal, 0, 18);
  check(DType::kI8, Fill::kNormal, -9, 9);
  check(DType::kI64, Fill::kPositive, 1, 8);
  check(DType::kI64, Fill::kIndices, 0, 31, 32);
  check(DType::kBool, Fill::kNormal, 0, 1);
}

TEST(SampleDataTest, SymbolsGetDistinctValues) {
  OpSample sample;
  sample.operands = {Type(DType::kF32, {DimExpr::symbol("b"), DimExpr::symbol("a")})};
  Result<SampleData> data = make_sample_data(sample, 1);
  ASSERT_TRUE(data.ok());
  EXPECT_EQ(data->symbols.size(), 2u);
  EXPECT_NE(data->symbols.at("a"), data->symbols.at("b"));
  EXPECT_EQ(data->operands[0]->shape(),
            (std::vector<int64_t>{data->symbols.at("b"), data->symbols.at("a")}));
}

}  // namespace
}  // namespace kiln

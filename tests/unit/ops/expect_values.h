// Comparison of whole results with values computed by PyTorch.
#pragma once

#include <cmath>

#include "eval_op.h"

namespace kiln {

inline void expect_values(const HostTensor& actual, const std::vector<int64_t>& shape,
                          const std::vector<double>& expected, double tolerance = 1e-6) {
  EXPECT_EQ(actual.shape(), shape);
  ASSERT_EQ(actual.num_elements(), static_cast<int64_t>(expected.size()));
  for (size_t i = 0; i < expected.size(); ++i) {
    const double value = actual.get_double(static_cast<int64_t>(i));
    if (std::isnan(expected[i])) {
      EXPECT_TRUE(std::isnan(value)) << "element " << i;
    } else if (value != expected[i]) {  // infinities are equal or wrong
      EXPECT_NEAR(value, expected[i], tolerance * (1 + std::abs(expected[i]))) << "element " << i;
    }
  }
}

// 1, 2, 3, ... in row-major order.
inline HostTensor counting(std::vector<int64_t> shape, DType dtype = DType::kF32) {
  HostTensor tensor(dtype, std::move(shape));
  for (int64_t i = 0; i < tensor.num_elements(); ++i) {
    tensor.set_double(i, static_cast<double>(i + 1));
  }
  return tensor;
}

// Every result of an op, where eval() gives the first.
inline std::vector<HostTensor> eval_all(const std::string& op, Tensors operands,
                                        AttrList attrs = {}) {
  OpSample sample;
  for (const std::optional<HostTensor>& operand : operands) {
    if (!operand) {
      sample.operands.emplace_back();
      continue;
    }
    sample.operands.emplace_back(
        Type(operand->dtype(), Shape(operand->shape().begin(), operand->shape().end())));
  }
  sample.attrs = std::move(attrs);
  SampleData data;
  data.operands = std::move(operands);
  Result<SampleGraph> graph = make_sample_graph(OpRegistry::global().get(op), sample);
  EXPECT_TRUE(graph.ok()) << graph.status().to_string();
  if (!graph.ok()) return {};
  Result<std::vector<HostTensor>> results = run_reference(*graph->node, data);
  EXPECT_TRUE(results.ok()) << results.status().to_string();
  return results.ok() ? std::move(results).value() : std::vector<HostTensor>();
}

// The shape that inference gives result 0 for these operands, as text; the refusal otherwise.
inline std::string inferred_shape(const std::string& op, std::vector<std::optional<Type>> operands,
                                  AttrList attrs = {}) {
  OpSample sample;
  sample.operands = std::move(operands);
  sample.attrs = std::move(attrs);
  Result<SampleGraph> graph = make_sample_graph(OpRegistry::global().get(op), sample);
  if (!graph.ok()) return graph.status().to_string();
  std::string text;
  for (const DimExpr& dim : graph->node->result()->shape()) {
    text += (text.empty() ? "" : ",") + dim_to_text(dim);
  }
  return "[" + text + "]";
}

}  // namespace kiln

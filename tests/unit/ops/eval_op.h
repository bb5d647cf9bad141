// Evaluates one op on given tensors, for tests that check values by hand.
#pragma once

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "ir/op_def.h"
#include "ops/sample_data.h"

namespace kiln {

using Tensors = std::vector<std::optional<HostTensor>>;

inline HostTensor floats(DType dtype, std::vector<int64_t> shape,
                         const std::vector<double>& values) {
  HostTensor tensor(dtype, std::move(shape));
  EXPECT_EQ(tensor.num_elements(), static_cast<int64_t>(values.size()));
  for (size_t i = 0; i < values.size(); ++i) tensor.set_double(static_cast<int64_t>(i), values[i]);
  return tensor;
}

inline HostTensor ints(DType dtype, std::vector<int64_t> shape,
                       const std::vector<int64_t>& values) {
  HostTensor tensor(dtype, std::move(shape));
  EXPECT_EQ(tensor.num_elements(), static_cast<int64_t>(values.size()));
  for (size_t i = 0; i < values.size(); ++i) tensor.set_int(static_cast<int64_t>(i), values[i]);
  return tensor;
}

inline HostTensor vector_of(const std::vector<double>& values) {
  return floats(DType::kF32, {static_cast<int64_t>(values.size())}, values);
}

inline std::vector<double> doubles(const HostTensor& tensor) {
  std::vector<double> values;
  for (int64_t i = 0; i < tensor.num_elements(); ++i) values.push_back(tensor.get_double(i));
  return values;
}

inline std::vector<int64_t> integers(const HostTensor& tensor) {
  std::vector<int64_t> values;
  for (int64_t i = 0; i < tensor.num_elements(); ++i) values.push_back(tensor.get_int(i));
  return values;
}

// Infers, verifies and runs the reference of `op` on concrete operands.
inline Result<HostTensor> try_eval(const std::string& op, Tensors operands, AttrList attrs = {}) {
  OpSample sample;
  SampleData data;
  for (std::optional<HostTensor>& operand : operands) {
    if (operand) {
      Shape shape(operand->shape().begin(), operand->shape().end());
      sample.operands.emplace_back(Type(operand->dtype(), std::move(shape)));
    } else {
      sample.operands.emplace_back();
    }
  }
  sample.attrs = std::move(attrs);
  data.operands = std::move(operands);
  KILN_ASSIGN_OR_RETURN(SampleGraph graph, make_sample_graph(OpRegistry::global().get(op), sample));
  KILN_ASSIGN_OR_RETURN(std::vector<HostTensor> results, run_reference(*graph.node, data));
  return results.at(0);
}

inline HostTensor eval(const std::string& op, Tensors operands, AttrList attrs = {}) {
  Result<HostTensor> result = try_eval(op, std::move(operands), std::move(attrs));
  EXPECT_TRUE(result.ok()) << op << ": " << result.status().to_string();
  return result.ok() ? result.value() : HostTensor();
}

// The code with which inference or verification of a node refuses; "" when it accepts.
inline std::string refusal(const std::string& op, std::vector<std::optional<Type>> operands,
                           AttrList attrs = {}) {
  OpSample sample;
  sample.operands = std::move(operands);
  sample.attrs = std::move(attrs);
  Result<SampleGraph> graph = make_sample_graph(OpRegistry::global().get(op), sample);
  return graph.ok() ? "" : graph.status().code();
}

}  // namespace kiln

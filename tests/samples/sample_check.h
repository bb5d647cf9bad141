// The samples of the op table: all of them, what they should give, and how two results compare.
#pragma once

#include <cmath>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/check.h"
#include "ir/op_def.h"
#include "ops/sample_data.h"

namespace kiln {

inline std::vector<const OpDef*> sampled_ops() {
  std::vector<const OpDef*> ops;
  for (const OpDef* op : OpRegistry::global().all()) {
    if (op->samples != nullptr) ops.push_back(op);
  }
  return ops;
}

// Of the first operand, or of the result where there is none.
inline DType sample_dtype(const OpDef& op, const OpSample& sample) {
  for (const std::optional<Type>& operand : sample.operands) {
    if (operand && operand->is_tensor()) return operand->tensor().dtype;
  }
  Result<SampleGraph> graph = make_sample_graph(op, sample);
  return graph.ok() ? graph->node->result()->dtype() : DType::kF32;
}

// Empty when equal within the tolerance (relative to the rms of the expected values; 0: equal, any
// NaN being equal to any other).
inline std::string difference(const HostTensor& actual, const HostTensor& expected,
                              double tolerance) {
  if (actual.dtype() != expected.dtype()) return "another dtype";
  if (actual.shape() != expected.shape()) return "another shape";
  const bool floats = is_float(expected.dtype());
  double squares = 0;
  int64_t count = 0;
  for (int64_t i = 0; floats && i < expected.num_elements(); ++i) {
    const double value = expected.get_double(i);
    if (!std::isfinite(value)) continue;
    squares += value * value;
    ++count;
  }
  const double rms = count == 0 ? 0 : std::sqrt(squares / static_cast<double>(count));
  int64_t wrong = 0;
  std::string first;
  for (int64_t i = 0; i < expected.num_elements(); ++i) {
    bool equal = false;
    if (!floats) {
      equal = actual.get_int(i) == expected.get_int(i);
    } else {
      const double a = actual.get_double(i), e = expected.get_double(i);
      if (std::isnan(e)) {
        equal = std::isnan(a);
      } else if (tolerance == 0 || !std::isfinite(e)) {
        equal = a == e && std::signbit(a) == std::signbit(e);
      } else {
        equal = std::abs(a - e) <= tolerance * rms;
      }
    }
    if (equal) continue;
    if (wrong++ == 0) {
      first = "element " + std::to_string(i) + " is " +
              (floats ? std::to_string(actual.get_double(i)) : std::to_string(actual.get_int(i))) +
              ", expected " +
              (floats ? std::to_string(expected.get_double(i))
                      : std::to_string(expected.get_int(i)));
    }
  }
  if (wrong == 0) return {};
  return std::to_string(wrong) + " of " + std::to_string(expected.num_elements()) +
         " elements differ: " + first;
}

// The sample with its symbols replaced.
inline OpSample at_sizes(const OpSample& sample, const SymbolValues& symbols) {
  std::map<std::string, DimExpr, std::less<>> values;
  for (const auto& [name, value] : symbols) values[name] = DimExpr(value);
  OpSample constant = sample;
  for (std::optional<Type>& operand : constant.operands) {
    if (!operand) continue;
    for (DimExpr& dim : operand->tensor().shape) dim = dim.substitute(values);
  }
  for (auto& [field, attr] : constant.attrs) {
    if (auto* dim = std::get_if<DimExpr>(&attr)) *dim = dim->substitute(values);
    if (auto* dims = std::get_if<std::vector<DimExpr>>(&attr)) {
      for (DimExpr& dim : *dims) dim = dim.substitute(values);
    }
  }
  return constant;
}

// A sample with symbols at sizes of its own.
struct OtherSizes {
  SampleGraph graph;
  SampleData data;
};
// None for sizes that the op does not take.
inline std::optional<OtherSizes> sample_at(const OpDef& op, const OpSample& sample,
                                           const SymbolValues& sizes, uint64_t seed) {
  const OpSample constant = at_sizes(sample, sizes);
  Result<SampleGraph> graph = make_sample_graph(op, constant);
  if (!graph.ok()) return std::nullopt;
  Result<SampleData> data = make_sample_data(constant, seed);
  KILN_CHECK_MSG(data.ok(), data.status().to_string());
  data->symbols = sizes;
  return OtherSizes{std::move(*graph), std::move(*data)};
}

// At sizes each of which is odd and larger than the first.
inline std::optional<OtherSizes> other_sizes(const OpDef& op, const OpSample& sample,
                                             const SampleData& first, uint64_t seed) {
  SymbolValues larger;
  for (const auto& [name, value] : first.symbols) larger[name] = (value + 4) | 1;
  return sample_at(op, sample, larger, seed);
}

}  // namespace kiln

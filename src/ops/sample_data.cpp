#include "ops/sample_data.h"

#include <limits>
#include <set>
#include <string>

#include "base/check.h"
#include "ops/reference_data.h"

namespace kiln {
namespace {

using Fill = OpSample::Fill;

// SplitMix64 (Steele, Lea, Flood 2014): fixed here because the standard library's distributions
// differ between implementations.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  double unit() { return static_cast<double>(next() >> 11) * 0x1p-53; }  // [0, 1)
  int64_t integer(int64_t low, int64_t high) {                           // both inclusive
    return low + static_cast<int64_t>(next() % static_cast<uint64_t>(high - low + 1));
  }
  // Sum of twelve uniforms: no transcendental function, so the same bits everywhere.
  double normal() {
    double sum = -6;
    for (int i = 0; i < 12; ++i) sum += unit();
    return sum;
  }

 private:
  uint64_t state_;
};

double lowest_of(DType dtype) {
  switch (dtype) {
    case DType::kF16: return -65504;
    case DType::kBF16: return -0x1.fep+127;
    case DType::kF32: return std::numeric_limits<float>::lowest();
    default: return std::numeric_limits<double>::lowest();
  }
}

void fill_floats(HostTensor& tensor, Fill fill, int64_t index_limit, Random& random) {
  for (int64_t i = 0; i < tensor.num_elements(); ++i) {
    double value = 0;
    switch (fill) {
      case Fill::kNormal: value = random.normal(); break;
      case Fill::kSmallIntegers: value = static_cast<double>(random.integer(-4, 4)); break;
      case Fill::kPositive: value = 0.5 + 3.5 * random.unit(); break;
      case Fill::kNonZero: {
        const double sign = random.integer(0, 1) == 0 ? -1 : 1;
        value = sign * (0.5 + 3.5 * random.unit());
        break;
      }
      case Fill::kUnit: value = 0.999 * (2 * random.unit() - 1); break;
      case Fill::kIndices: value = static_cast<double>(random.integer(0, index_limit - 1)); break;
      case Fill::kBool: value = static_cast<double>(random.integer(0, 1)); break;
      case Fill::kMask: value = random.integer(0, 1) == 0 ? 0 : lowest_of(tensor.dtype()); break;
    }
    tensor.set_double(i, value);
  }
}

void fill_integers(HostTensor& tensor, Fill fill, int64_t index_limit, Random& random) {
  const int64_t shift = tensor.dtype() == DType::kU8 ? 1 : 0;  // to start at 0
  for (int64_t i = 0; i < tensor.num_elements(); ++i) {
    int64_t value = 0;
    switch (fill) {
      case Fill::kNormal: value = random.integer(-9, 9) + 9 * shift; break;
      case Fill::kSmallIntegers: value = random.integer(-4, 4) + 4 * shift; break;
      case Fill::kPositive: value = random.integer(1, 8); break;
      case Fill::kNonZero:
        value = random.integer(1, 8);
        if (shift == 0) value -= value > 4 ? 9 : 0;
        break;
      case Fill::kUnit: value = random.integer(shift - 1, 1); break;
      case Fill::kIndices: value = random.integer(0, index_limit - 1); break;
      case Fill::kBool:
      case Fill::kMask: value = random.integer(0, 1); break;
    }
    tensor.set_int(i, value);
  }
}

void collect_symbols(const OpSample& sample, std::set<std::string>& names) {
  for (const std::optional<Type>& operand : sample.operands) {
    if (!operand || !operand->is_tensor()) continue;
    for (const DimExpr& dim : operand->tensor().shape) dim.collect_symbols(names);
  }
  for (const auto& [field, attr] : sample.attrs) {
    if (const auto* dim = std::get_if<DimExpr>(&attr)) dim->collect_symbols(names);
    if (const auto* dims = std::get_if<std::vector<DimExpr>>(&attr)) {
      for (const DimExpr& dim : *dims) dim.collect_symbols(names);
    }
  }
}

Result<std::vector<int64_t>> concrete(const Shape& shape, const SymbolValues& symbols) {
  KILN_ASSIGN_OR_RETURN(std::vector<int64_t> sizes, evaluate(shape, symbols));
  for (int64_t size : sizes) {
    if (size < 0) return Status::error("K4201", "negative size: " + std::to_string(size));
  }
  return sizes;
}

}  // namespace

std::vector<const HostTensor*> SampleData::pointers() const {
  std::vector<const HostTensor*> list;
  for (const std::optional<HostTensor>& operand : operands)
    list.push_back(operand ? &*operand : nullptr);
  return list;
}

HostTensor random_tensor(DType dtype, std::vector<int64_t> shape, Fill fill, int64_t index_limit,
                         uint64_t seed) {
  HostTensor tensor(dtype, std::move(shape));
  KILN_CHECK_MSG(fill != Fill::kIndices || index_limit > 0 || tensor.num_elements() == 0,
                 "indices need a limit");
  Random random(seed);
  if (is_float(dtype)) {
    fill_floats(tensor, fill, index_limit, random);
  } else {
    fill_integers(tensor, dtype == DType::kBool ? Fill::kBool : fill, index_limit, random);
  }
  return tensor;
}

Result<SampleData> make_sample_data(const OpSample& sample, uint64_t seed) {
  SampleData data;
  std::set<std::string> names;
  collect_symbols(sample, names);
  constexpr int64_t kSizes[] = {5, 3, 7, 2, 11, 4};
  size_t next = 0;
  for (const std::string& name : names) data.symbols[name] = kSizes[next++ % std::size(kSizes)];
  for (size_t i = 0; i < sample.operands.size(); ++i) {
    data.operands.emplace_back();
    if (!sample.operands[i]) continue;
    KILN_CHECK_MSG(sample.operands[i]->is_tensor(), "samples have tensor operands");
    const TensorType& type = sample.operands[i]->tensor();
    KILN_ASSIGN_OR_RETURN(std::vector<int64_t> shape, concrete(type.shape, data.symbols));
    const Fill fill = i < sample.fill.size() ? sample.fill[i] : Fill::kNormal;
    const int64_t limit = i < sample.index_limit.size() ? sample.index_limit[i] : 0;
    // Operands of one sample differ, and a tensor does not depend on the sizes of the others.
    const uint64_t operand_seed = seed * 1000003u + i;
    data.operands.back() = random_tensor(type.dtype, std::move(shape), fill, limit, operand_seed);
  }
  return data;
}

Result<SampleGraph> make_sample_graph(const OpDef& op, const OpSample& sample) {
  SampleGraph result;
  result.graph = std::make_unique<Graph>();
  std::vector<Value*> operands;
  for (size_t i = 0; i < sample.operands.size(); ++i) {
    operands.push_back(sample.operands[i]
                           ? result.graph->add_input(*sample.operands[i], "x" + std::to_string(i))
                           : nullptr);
  }
  KILN_ASSIGN_OR_RETURN(result.node, result.graph->create(op, std::move(operands), sample.attrs));
  for (int i = 0; i < result.node->num_results(); ++i)
    result.graph->add_output(result.node->result(i));
  return result;
}

Result<std::vector<HostTensor>> run_reference(Node& node, const SampleData& data) {
  KILN_CHECK_MSG(node.op->reference != nullptr, node.op->name);
  std::vector<HostTensor> results;
  for (int i = 0; i < node.num_results(); ++i) {
    const TensorType& type = node.result(i)->tensor();
    KILN_ASSIGN_OR_RETURN(std::vector<int64_t> shape, concrete(type.shape, data.symbols));
    results.emplace_back(type.dtype, std::move(shape));
  }
  ReferenceContext ctx;
  ctx.node = &node;
  ctx.operands = data.pointers();
  ctx.results = &results;
  ctx.symbols = &data.symbols;
  KILN_RETURN_IF_ERROR(node.op->reference(ctx));
  return results;
}

}  // namespace kiln

// The samples of the op table as programs for the emulated device.
#pragma once

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "backends/cpu/compile/cpu_backend.h"
#include "emulator/emulated_cuda.h"
#include "samples/own_cuda_kernels.h"
#include "samples/sample_check.h"
#include "samples/sample_program.h"

namespace kiln::emulator {

inline constexpr uint64_t kSeed = 20;

inline Status supported(Backend& backend, const OpDef& op, const OpSample& sample) {
  KILN_ASSIGN_OR_RETURN(SampleGraph graph, make_sample_graph(op, sample));
  return backend.supports(*graph.node);
}

struct Case {
  const OpDef* op = nullptr;
  OpSample sample;
  InputForm form = InputForm::kContiguous;
  SampleData data;
  Status status;  // of lowering
  std::unique_ptr<SampleProgram> program;
};

// All of them, lowered, and their kernels compiled: together that is a few calls of the compiler,
// one by one it would be thousands.
class Cases {
 public:
  static Cases& get() {
    static auto* cases = new Cases();
    return *cases;
  }
  std::vector<Case>& of(const OpDef* op) { return cases_[op]; }
  int native_samples() const { return native_; }
  const std::map<std::pair<std::string, DType>, std::string>& not_native() const {
    return not_native_;
  }

 private:
  Cases() {
    use_emulated_cuda();
    std::vector<KernelDesc> kernels;
    auto cpu = make_cpu_backend(DeviceSpec::host());
    OwnCudaKernels cuda;
    for (const OpDef* op : sampled_ops()) {
      for (const OpSample& sample : op->samples()) {
        const Status native = supported(cuda, *op, sample);
        if (!native.ok()) {
          if (supported(*cpu, *op, sample).ok()) {
            not_native_[{op->name, sample_dtype(*op, sample)}] = native.message();
          }
          continue;
        }
        ++native_;
        for (InputForm form : {InputForm::kContiguous, InputForm::kReversed, InputForm::kGaps,
                               InputForm::kWeights}) {
          cases_[op].push_back(lower(*op, sample, form));
          const Case& made = cases_[op].back();
          if (!made.status.ok()) continue;
          const std::vector<KernelDesc>& wanted = made.program->plan().kernels;
          kernels.insert(kernels.end(), wanted.begin(), wanted.end());
        }
      }
    }
    // What does not compile fails in the tests that use it.
    (void)HostKernelCompiler::instance().compile(kernels, 90).ok();
  }

  static Case lower(const OpDef& op, const OpSample& sample, InputForm form) {
    Case made{&op, sample, form, {}, {}, nullptr};
    Result<SampleData> data = make_sample_data(sample, kSeed);
    if (data.ok()) {
      made.data = std::move(*data);
      auto program =
          SampleProgram::lower(op, sample, form, std::make_unique<OwnCudaKernels>(), &made.data);
      if (program.ok()) made.program = std::move(*program);
      made.status = program.status();
    } else {
      made.status = data.status();
    }
    return made;
  }

  std::map<const OpDef*, std::vector<Case>> cases_;
  std::map<std::pair<std::string, DType>, std::string> not_native_;
  int native_ = 0;
};

// Further sizes for the symbols of a sample: each odd, one, beyond a warp and a block, and
// multiples of what tiles and vectors have.
inline std::vector<SymbolValues> further_sizes(const SampleData& first) {
  std::vector<SymbolValues> result;
  if (first.symbols.empty()) return result;
  // One symbol goes beyond several blocks, where that makes no large tensors.
  int64_t elements = 0;
  for (const auto& operand : first.operands) {
    if (operand) elements = std::max(elements, operand->num_elements());
  }
  const int64_t rest = elements / std::max<int64_t>(first.symbols.begin()->second, 1);
  const int64_t most = first.symbols.size() == 1 && rest <= 12 ? 2051 : 259;
  SymbolValues odd, one, beyond, even;
  int64_t next = 0;
  for (const auto& [name, value] : first.symbols) {
    odd[name] = (value + 4) | 1;
    one[name] = 1;
    beyond[name] = next == 0 ? most : 33 + next;
    even[name] = next == 0 ? 64 : 32;
    next += 4;
  }
  return {odd, one, beyond, even};
}

// Further data for a sample with an operand of one element, whose one value shows little.
inline std::vector<SampleData> further_data(const OpSample& sample, const SampleData& first) {
  std::vector<SampleData> result;
  const bool single = std::any_of(
      first.operands.begin(), first.operands.end(),
      [](const auto& operand) { return operand && operand->num_elements() == 1; });
  for (uint64_t i = 1; single && i <= 6; ++i) {
    Result<SampleData> data = make_sample_data(sample, kSeed + 1 + i);
    if (data.ok()) result.push_back(std::move(*data));
  }
  return result;
}

inline double largest_of(DType dtype) {
  switch (dtype) {
    case DType::kF16: return 65504;
    case DType::kBF16: return 0x1.fep+127;
    case DType::kF32: return std::numeric_limits<float>::max();
    default: return std::numeric_limits<double>::max();
  }
}

// The data with one index where ranges end: the last one too large by one, the first one -1 (which
// some ops take) and too small by one for those. The reference says which are refused.
inline std::vector<SampleData> with_outer_indices(const OpSample& sample, const SampleData& data) {
  std::vector<SampleData> result;
  for (size_t i = 0; i < sample.fill.size() && i < sample.index_limit.size(); ++i) {
    if (sample.fill[i] != OpSample::Fill::kIndices || !data.operands[i]) continue;
    const int64_t elements = data.operands[i]->num_elements();
    if (elements == 0) continue;
    const int64_t limit = sample.index_limit[i];
    for (const int64_t index : {limit, int64_t{-1}, -limit - 1}) {
      if (index < 0 && data.operands[i]->dtype() == DType::kU8) continue;
      result.push_back(data);
      result.back().operands[i]->set_int(index < 0 ? 0 : elements - 1, index);
    }
  }
  return result;
}

// The data with what floats have besides ordinary numbers, for ops that answer with truth values:
// they answer for those too.
inline std::optional<SampleData> with_special_numbers(Node& node, const SampleData& data) {
  if (node.result()->dtype() != DType::kBool) return std::nullopt;
  std::optional<SampleData> result;
  for (size_t i = 0; i < data.operands.size(); ++i) {
    if (!data.operands[i] || !is_float(data.operands[i]->dtype())) continue;
    if (!result) result = data;
    HostTensor& tensor = *result->operands[i];
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    const double most = largest_of(tensor.dtype());
    const double numbers[] = {0.0, kInfinity, -0.0, most, std::nan(""), -kInfinity, -most};
    // Another period for each operand, so that each number meets each.
    const auto count = static_cast<int64_t>(std::size(numbers) - (i % 2));
    for (int64_t e = 0; e < tensor.num_elements(); ++e) {
      if (e % 16 < 14) tensor.set_double(e, numbers[e % count]);
    }
  }
  return result;
}

// For logsumexp: no terms but the lowest number, which is finite; its results are such too.
inline std::optional<SampleData> with_lowest_numbers(const OpDef& op, const SampleData& data) {
  if (op.name != "logsumexp") return std::nullopt;
  SampleData result = data;
  HostTensor& tensor = *result.operands[0];
  for (int64_t i = 0; i < tensor.num_elements(); ++i) {
    tensor.set_double(i, -largest_of(tensor.dtype()));
  }
  return result;
}

// For ops that multiply many numbers: powers of two whose product neither vanishes nor overflows,
// with the signs of the data.
inline std::optional<SampleData> with_products_in_range(const OpDef& op, const SampleData& data) {
  if (op.name != "reduce_prod" && op.name != "cumprod") return std::nullopt;
  SampleData result = data;
  HostTensor& tensor = *result.operands[0];
  for (int64_t i = 0; i < tensor.num_elements(); ++i) {
    const auto hash = static_cast<uint32_t>(i) * 2654435761u >> 16;
    if (is_float(tensor.dtype())) {
      const double power = std::ldexp(1.0, static_cast<int>(hash % 3) - 1);
      tensor.set_double(i, std::copysign(power, tensor.get_double(i)));
    } else {
      tensor.set_int(i, (tensor.get_int(i) < 0 ? -1 : 1) * (hash % 97 == 0 ? 2 : 1));
    }
  }
  return result;
}

// What the program does otherwise than the reference, or "".
inline std::string difference_from(Node& reference, SampleProgram& program, const SampleData& data,
                                   double tolerance) {
  Result<std::vector<HostTensor>> expected = run_reference(reference, data);
  if (!expected.ok()) return "the reference: " + expected.status().to_string();
  Result<std::vector<HostTensor>> actual = program.run(data);
  if (!actual.ok()) return actual.status().to_string();
  if (actual->size() != expected->size()) return "another number of results";
  for (size_t i = 0; i < expected->size(); ++i) {
    const std::string wrong = difference((*actual)[i], (*expected)[i], tolerance);
    if (!wrong.empty()) return "result " + std::to_string(i) + ": " + wrong;
  }
  return {};
}

// Runs a case at all its sizes. "" or what is wrong first.
inline std::string check(Case& of) {
  if (!of.status.ok()) return of.status.to_string();
  Result<SampleGraph> graph = make_sample_graph(*of.op, of.sample);
  if (!graph.ok()) return graph.status().to_string();
  const Status loaded = of.program->load(1);
  if (!loaded.ok()) return loaded.to_string();
  SampleProgram& program = *of.program;
  std::string wrong = difference_from(*graph->node, program, of.data, of.sample.tolerance);
  if (!wrong.empty()) return wrong;
  if (program.has_weights()) return {};
  for (const SampleData& other : further_data(of.sample, of.data)) {
    wrong = difference_from(*graph->node, program, other, of.sample.tolerance);
    if (!wrong.empty()) return "other data: " + wrong;
  }
  for (const std::optional<SampleData>& other :
       {with_special_numbers(*graph->node, of.data), with_products_in_range(*of.op, of.data),
        with_lowest_numbers(*of.op, of.data)}) {
    if (!other) continue;
    wrong = difference_from(*graph->node, program, *other, of.sample.tolerance);
    if (!wrong.empty()) return "special numbers: " + wrong;
  }
  for (const SampleData& outer : with_outer_indices(of.sample, of.data)) {
    if (run_reference(*graph->node, outer).ok()) {
      wrong = difference_from(*graph->node, program, outer, of.sample.tolerance);
      if (!wrong.empty()) return "an index from the end: " + wrong;
      continue;
    }
    const Status refused = program.run(outer).status();
    if (refused.code() != "K4410") return "an index out of range: " + refused.to_string();
  }
  for (const SymbolValues& sizes : further_sizes(of.data)) {
    std::optional<OtherSizes> other = sample_at(*of.op, of.sample, sizes, kSeed + 1);
    if (!other) continue;
    wrong = difference_from(*other->graph.node, program, other->data, of.sample.tolerance);
    if (wrong.empty()) continue;
    std::string text = "sizes";
    for (const auto& [name, value] : sizes) text += " " + name + "=" + std::to_string(value);
    return text + ": " + wrong;
  }
  return {};
}

}  // namespace kiln::emulator

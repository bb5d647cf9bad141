// Every sample of the op table that the CUDA backend computes with kernels of its own, run on the
// emulator and compared with the op's reference: inputs contiguous, in reverse order of dims, with
// gaps, and as weights; symbolic samples also at further sizes on the same engine.
//
// What is native on the CPU and not here is listed, and an entry that is no longer true fails: the
// list is to become empty.
#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>
#include <set>
#include <string>

#include "emulated_samples.h"

namespace kiln::emulator {
namespace {

// Native on the CPU, and not yet on CUDA: op, and dtype of the first operand.
const std::set<std::pair<std::string, DType>>& missing() {
  static const std::set<std::pair<std::string, DType>> list = {
  };
  return list;
}

void expect_reference(SampleProgram& program, Node& reference, const SampleData& data,
                      double tolerance) {
  Result<std::vector<HostTensor>> expected = run_reference(reference, data);
  ASSERT_TRUE(expected.ok()) << expected.status().to_string();
  Result<std::vector<HostTensor>> actual = program.run(data);
  ASSERT_TRUE(actual.ok()) << actual.status().to_string();
  ASSERT_EQ(actual->size(), expected->size());
  for (size_t i = 0; i < expected->size(); ++i) {
    const std::string wrong = difference((*actual)[i], (*expected)[i], tolerance);
    EXPECT_EQ(wrong, "") << "result " << i << ", steps " << program.steps();
  }
}

// Programs with symbols that are refused (K3212) when all of these are 1: kernels were made for
// strides that such sizes do not have.
const std::set<std::string>& refused_at_one() {
  static const std::set<std::string> list = {"attention", "concat", "linear", "matmul"};
  return list;
}

void run_case(Case& of) {
  const OpDef& op = *of.op;
  SCOPED_TRACE(op.name + ": " + of.sample.why + ", form " +
               std::to_string(static_cast<int>(of.form)));
  ASSERT_TRUE(of.status.ok()) << of.status.to_string();
  Result<SampleGraph> graph = make_sample_graph(op, of.sample);
  ASSERT_TRUE(graph.ok());
  const Status loaded = of.program->load(1);
  ASSERT_TRUE(loaded.ok()) << loaded.to_string();
  expect_reference(*of.program, *graph->node, of.data, of.sample.tolerance);
  if (of.data.symbols.empty() || of.program->has_weights()) return;
  for (const SymbolValues& sizes : further_sizes(of.data)) {
    std::optional<OtherSizes> other = sample_at(op, of.sample, sizes, kSeed + 1);
    if (!other) continue;
    const bool ones = std::all_of(sizes.begin(), sizes.end(),
                                  [](const auto& size) { return size.second == 1; });
    if (ones && refused_at_one().contains(op.name)) continue;
    std::string text;
    for (const auto& [name, value] : sizes) text += " " + name + "=" + std::to_string(value);
    SCOPED_TRACE("sizes" + text);
    expect_reference(*of.program, *other->graph.node, other->data, of.sample.tolerance);
  }
}

class CudaOpConformance : public testing::TestWithParam<const OpDef*> {};

TEST_P(CudaOpConformance, SamplesMatchTheReference) {
  for (Case& of : Cases::get().of(GetParam())) {
    run_case(of);
    of.program.reset();
  }
}

std::string param_name(const testing::TestParamInfo<const OpDef*>& info) {
  std::string name = info.param->name;
  for (char& c : name) {
    if (c == '.') c = '_';
  }
  return name;
}

INSTANTIATE_TEST_SUITE_P(Ops, CudaOpConformance, testing::ValuesIn(sampled_ops()), param_name);

TEST(CudaOpCoverage, WhatIsMissingIsListed) {
  const Cases& cases = Cases::get();
  const CompileCounts& compiled = HostKernelCompiler::instance().host().counts();
  std::cout << cases.native_samples() << " samples with cuda kernels, " << compiled.distinct
            << " distinct kernels, " << compiled.compiled << " compiled in " << compiled.seconds
            << " s; " << cases.not_native().size() << " (op, dtype) native on the cpu only\n";
  for (const auto& [key, reason] : cases.not_native()) {
    EXPECT_TRUE(missing().contains(key))
        << "native on the cpu and not on cuda: " << key.first << " " << dtype_name(key.second)
        << ": " << reason;
  }
  for (const auto& key : missing()) {
    EXPECT_TRUE(cases.not_native().contains(key))
        << "no longer missing: " << key.first << " " << dtype_name(key.second);
  }
}

}  // namespace
}  // namespace kiln::emulator

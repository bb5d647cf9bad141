// What the tests of the libraries' providers share: fake libraries on host memory, programs that
// are compared with the reference, and the samples of the op table.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "library_backend.h"
#include "samples/sample_program.h"
#include "unit/cpu_compile/lowered_program.h"
#include "unit/cuda_runtime/fake_cudnn.h"

namespace kiln::cuda_test {

class LibraryProvider : public testing::Test {
 protected:
  using Program = cpu_compile_test::Program;

  void SetUp() override {
    fake_cublaslt() = {};
    fake_cudnn() = {};
    set_cublaslt_for_test(&fake_cublaslt_table());
    set_cudnn_for_test(&fake_cudnn_table());
    driver_.MemsetD8Async = [](CUdeviceptr to, unsigned char value, size_t bytes, CUstream) {
      std::memset(reinterpret_cast<void*>(to), value, bytes);
      return CUresult{0};
    };
    set_driver_for_test(&driver_);
  }
  void TearDown() override {
    set_cublaslt_for_test(nullptr);
    set_cudnn_for_test(nullptr);
    set_driver_for_test(nullptr);
  }

  // The program in steps, after it has computed what the reference does.
  static Program checked(const std::string& text, double tolerance = 0,
                         const SymbolValues& symbols = {}) {
    Program program = cpu_compile_test::lower(text, "assign_layouts, fuse_epilogues, fuse_tiles",
                                              DataKind::kSmallIntegers,
                                              std::make_unique<LibraryBackend>());
    cpu_compile_test::expect_same(program, symbols, tolerance);
    return program;
  }
  static std::vector<std::string> kinds(const Plan& plan) {
    std::vector<std::string> kinds;
    for (const StepDesc& step : plan.steps) kinds.push_back(step.kind);
    return kinds;
  }
  static std::vector<std::string> steps(const Program& program) {
    return kinds(program.plan.main);
  }

  // The provider's answer to the first node of `text`, see refusal_of().
  static std::string refusal(const std::string& text, KernelProvider& provider) {
    auto module = parse_module(text);
    EXPECT_TRUE(module.ok()) << module.status().to_string();
    return refusal_of(*(*module)->main.snapshot()[0], provider);
  }

  struct Compared {
    int programs = 0;
    std::vector<std::string> others;  // samples for which some program has no such step
  };
  // Every sample of these ops in a float dtype, in each form of its inputs: what has a step of kind
  // `kind` computes what the reference does.
  static Compared compare_samples(const std::vector<std::string>& ops, const std::string& kind) {
    Compared compared;
    for (const std::string& name : ops) {
      const OpDef& op = OpRegistry::global().get(name);
      for (const OpSample& sample : op.samples()) {
        if (is_float(sample.operands[0]->tensor().dtype)) compare(op, sample, kind, compared);
      }
    }
    return compared;
  }

 private:
  static void compare(const OpDef& op, const OpSample& sample, const std::string& kind,
                      Compared& compared) {
    const auto data = make_sample_data(sample, 7);
    ASSERT_TRUE(data.ok()) << data.status().to_string();
    const auto graph = make_sample_graph(op, sample);
    ASSERT_TRUE(graph.ok());
    const auto results = run_reference(*graph->node, *data);
    ASSERT_TRUE(results.ok());
    const DType dtype = sample.operands[0]->tensor().dtype;
    const double tolerance = dtype == DType::kBF16 ? 1e-2 : dtype == DType::kF16 ? 1e-3 : 1e-6;
    for (const InputForm form : {InputForm::kContiguous, InputForm::kReversed, InputForm::kGaps,
                                 InputForm::kWeights}) {
      auto program =
          SampleProgram::make(op, sample, form, 1, std::make_unique<LibraryBackend>(), &*data);
      if (!program.ok() || (*program)->steps().find(kind) == std::string::npos) {
        compared.others.push_back(op.name + ": " + sample.why);
        continue;
      }
      const auto outputs = (*program)->run(*data);
      ASSERT_TRUE(outputs.ok()) << sample.why << ": " << outputs.status().to_string();
      const HostTensor &actual = (*outputs)[0], &expected = (*results)[0];
      ASSERT_EQ(actual.shape(), expected.shape()) << sample.why;
      double sum = 0, error = 0;
      for (int64_t i = 0; i < expected.num_elements(); ++i) {
        const double difference = actual.get_double(i) - expected.get_double(i);
        sum += expected.get_double(i) * expected.get_double(i);
        error += difference * difference;
      }
      EXPECT_LE(std::sqrt(error), tolerance * std::sqrt(sum) + 1e-30)
          << op.name << " " << sample.why;
      ++compared.programs;
    }
  }

  cuda::Driver driver_;
};

}  // namespace kiln::cuda_test

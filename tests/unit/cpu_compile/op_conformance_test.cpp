// Every sample of every op, compiled for the CPU and run, against the op's reference.
//
// Inputs lie contiguously, in reverse order of dims, with gaps, or are weights; symbolic samples
// also run at a second set of sizes on the same engine. Then what the library computes runs once
// more on Kiln's own kernels. What the backend refuses is listed here with the reason, and an entry
// that is no longer true fails.
#include <gtest/gtest.h>

#include <iostream>
#include <map>
#include <set>
#include <string>

#include "own_kernels_backend.h"
#include "samples/sample_check.h"
#include "samples/sample_program.h"

namespace kiln {
namespace {

constexpr uint64_t kSeed = 20;

// What has no CPU kernel: it runs in PyTorch, by the op's ATen form.
struct Exception {
  std::string op;
  DType dtype;  // of the first operand, or of the result where there is none
  std::string why;
  bool depends = false;  // on the library and the machine
  std::string sample{};  // only the sample with this reason; empty: all of the dtype
};
const std::vector<Exception>& exceptions() {
  static const std::vector<Exception> list = [] {
    std::vector<Exception> result;
    for (const char* op : {"resize", "adaptive_max_pool"}) {
      for (DType dtype : {DType::kF16, DType::kBF16}) {
        result.push_back({op, dtype, "Kiln's own kernels compute in f32 and f64"});
      }
    }
    for (const char* op : {"conv", "conv_transpose", "linear", "matmul", "max_pool", "avg_pool",
                           "adaptive_avg_pool"}) {
      for (DType dtype : {DType::kF16, DType::kBF16}) {
        result.push_back({op, dtype, "only where oneDNN has a kernel for this machine", true});
      }
    }
    for (DType dtype : {DType::kI32, DType::kI64}) {
      result.push_back({"matmul", dtype, "integer products are rare and have no fast kernel"});
    }
    result.push_back({"logsumexp", DType::kF32, "-inf is no maximum of an empty row", false,
                      "rows without elements"});
    return result;
  }();
  return list;
}

const Exception* exception_for(const OpDef& op, const OpSample& sample) {
  const DType dtype = sample_dtype(op, sample);
  for (const Exception& exception : exceptions()) {
    if (exception.op != op.name || exception.dtype != dtype) continue;
    if (exception.sample.empty() || exception.sample == sample.why) return &exception;
  }
  return nullptr;
}

// Whether the backend has a kernel for the node.
Status supported(const OpDef& op, const OpSample& sample) {
  KILN_ASSIGN_OR_RETURN(SampleGraph graph, make_sample_graph(op, sample));
  return make_cpu_backend(DeviceSpec::host())->supports(*graph.node);
}

class CpuOpConformance : public testing::TestWithParam<const OpDef*> {};

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

void compare_sample(const OpDef& op, const OpSample& sample, InputForm form,
                    std::unique_ptr<Backend> backend) {
  SCOPED_TRACE(op.name + ": " + sample.why + ", form " + std::to_string(static_cast<int>(form)));
  Result<SampleGraph> graph = make_sample_graph(op, sample);
  ASSERT_TRUE(graph.ok());
  Result<SampleData> data = make_sample_data(sample, kSeed);
  ASSERT_TRUE(data.ok()) << data.status().to_string();
  // One thread and more than there are cores.
  const int threads = form == InputForm::kGaps ? 1 : 3;
  auto program = SampleProgram::make(op, sample, form, threads, std::move(backend), &*data);
  ASSERT_TRUE(program.ok()) << program.status().to_string();
  expect_reference(**program, *graph->node, *data, sample.tolerance);
  if (data->symbols.empty() || (*program)->has_weights()) return;

  // The same program at other sizes.
  std::optional<OtherSizes> other = other_sizes(op, sample, *data, kSeed + 1);
  if (!other) return;
  SCOPED_TRACE("second sizes");
  expect_reference(**program, *other->graph.node, other->data, sample.tolerance);
}

TEST_P(CpuOpConformance, SamplesMatchTheReference) {
  const OpDef& op = *GetParam();
  int compared = 0, excepted = 0;
  for (const OpSample& sample : op.samples()) {
    if (exception_for(op, sample) != nullptr && !supported(op, sample).ok()) {
      ++excepted;
      continue;
    }
    for (InputForm form : {InputForm::kContiguous, InputForm::kReversed, InputForm::kGaps,
                           InputForm::kWeights}) {
      compare_sample(op, sample, form, make_cpu_backend(DeviceSpec::host()));
      ++compared;
    }
  }
  EXPECT_GT(compared + excepted, 0);
}

// What the library computes elsewhere, on a machine without it.
TEST_P(CpuOpConformance, OwnKernelsMatchTheReference) {
  const OpDef& op = *GetParam();
  for (const OpSample& sample : op.samples()) {
    const DType dtype = sample_dtype(op, sample);
    if (!op.has(kAnchor) && op.name.find("_pool") == std::string::npos) continue;
    if (dtype != DType::kF32 && dtype != DType::kF64) continue;
    for (InputForm form : {InputForm::kContiguous, InputForm::kReversed, InputForm::kGaps}) {
      compare_sample(op, sample, form, std::make_unique<OwnKernelsBackend>());
    }
  }
}

std::string param_name(const testing::TestParamInfo<const OpDef*>& info) {
  std::string name = info.param->name;
  for (char& c : name) {
    if (c == '.') c = '_';
  }
  return name;
}

INSTANTIATE_TEST_SUITE_P(Ops, CpuOpConformance, testing::ValuesIn(sampled_ops()), param_name);

// The list of exceptions is what the backend refuses, no more and no less.
TEST(CpuOpCoverage, ExceptionsAreTheRefusals) {
  std::map<std::pair<std::string, std::string>, std::string> refused;  // op, dtype -> reason
  std::set<std::string> kernels, none;
  for (const OpDef* op : sampled_ops()) {
    bool any = false;
    for (const OpSample& sample : op->samples()) {
      const Exception* exception = exception_for(*op, sample);
      const Status status = supported(*op, sample);
      if (status.ok()) {
        any = true;
        EXPECT_TRUE(exception == nullptr || exception->depends)
            << "no exception any more: " << op->name << ": " << sample.why;
        continue;
      }
      EXPECT_NE(exception, nullptr) << op->name << ": " << sample.why << ": "
                                    << status.to_string();
      refused[{op->name, std::string(dtype_name(sample_dtype(*op, sample)))}] = status.message();
    }
    (any ? kernels : none).insert(op->name);
  }
  for (const Exception& exception : exceptions()) {
    const OpDef& op = OpRegistry::global().get(exception.op);
    bool seen = exception.depends;
    for (const OpSample& sample : op.samples()) {
      seen = seen || sample_dtype(op, sample) == exception.dtype;
    }
    EXPECT_TRUE(seen) << "no sample of this exception: " << exception.op;
  }
  EXPECT_TRUE(none.empty()) << *none.begin();
  std::cout << kernels.size() << " ops with a cpu kernel, " << none.size() << " without\n";
  for (const auto& [key, reason] : refused) {
    std::cout << "  " << key.first << " " << key.second << ": " << reason << "\n";
  }
}

}  // namespace
}  // namespace kiln

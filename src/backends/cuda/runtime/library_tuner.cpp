#include "backends/cuda/runtime/library_tuner.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <utility>

#include "backends/cuda/runtime/device_timer.h"
#include "base/log.h"
#include "base/status.h"
#include "runtime/timing_cache.h"

namespace kiln::cuda {
namespace {

constexpr int kMultiprocessorCount = 16;  // CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT
constexpr size_t kAlignment = 256;
constexpr size_t kMaxTuningBytes = size_t{4} << 30;

size_t aligned(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// The best candidate and its time.
Result<std::pair<size_t, double>> measure(const Driver& driver, const TuningProblem& problem) {
  const size_t bytes = aligned(problem.bytes);
  if (bytes > kMaxTuningBytes) {
    return Status::error("K5304", "operands too large to be timed: " + std::to_string(bytes));
  }
  const int copies = rotating_copies(bytes);
  KILN_ASSIGN_OR_RETURN(const TimingBuffer operands,
                        TimingBuffer::make(driver, bytes * static_cast<size_t>(copies)));
  KILN_ASSIGN_OR_RETURN(const TimingBuffer workspace,
                        TimingBuffer::make(driver, problem.workspace_bytes));
  std::pair<size_t, double> best{0, -1};
  Status last;
  for (size_t choice = 0; choice < problem.choices.size(); ++choice) {
    const Result<double> time = time_on_device(driver, [&](CUstream stream, int i) {
      char* place = operands.data() + static_cast<size_t>(i % copies) * bytes;
      return problem.run(choice, place, workspace.data(), stream);
    });
    if (!time.ok()) {
      last = time.status();
      KILN_LOG(kTuning, kWarning) << problem.choices[choice] << " left out: " << last.to_string();
      continue;
    }
    KILN_LOG(kTuning, kDebug) << problem.key << " " << problem.choices[choice] << ": " << *time;
    if (best.second < 0 || *time < best.second) best = {choice, *time};
  }
  if (best.second < 0) return last;
  return best;
}

Status tune_with(const TuningProblem& problem, size_t* chosen) {
  KILN_ASSIGN_OR_RETURN(const Driver* table, driver());
  KILN_ASSIGN_OR_RETURN(const std::string device, device_description(*table, problem.device));
  const std::string key = problem.key + "; " + device;
  TimingCache& cache = TimingCache::user();
  if (const auto known = cache.find(key)) {
    const auto found = std::find(problem.choices.begin(), problem.choices.end(), known->choice);
    if (found != problem.choices.end()) {
      *chosen = static_cast<size_t>(found - problem.choices.begin());
      return {};
    }
  }
  KILN_ASSIGN_OR_RETURN(const auto best, measure(*table, problem));
  *chosen = best.first;
  const Status kept = cache.add(key, {problem.choices[best.first], best.second});
  if (!kept.ok()) {
    KILN_LOG(kTuning, kWarning) << "timing not kept: " << kept.to_string();
  }
  return {};
}

}  // namespace

size_t tune(const TuningProblem& problem) {
  size_t chosen = 0;
  if (problem.choices.size() < 2) return chosen;
  const Status status = tune_with(problem, &chosen);
  if (!status.ok()) {
    KILN_LOG(kTuning, kWarning) << "not timed: " << problem.key << ": " << status.to_string();
  }
  return chosen;
}

Result<std::string> device_description(const Driver& driver, int index) {
  CUdevice device = 0;
  std::array<char, 256> name{};
  int multiprocessors = 0, version = 0;
  KILN_CUDA_RETURN_IF_ERROR(driver, DeviceGet, &device, index);
  KILN_CUDA_RETURN_IF_ERROR(driver, DeviceGetName, name.data(), int{name.size()} - 1, device);
  KILN_CUDA_RETURN_IF_ERROR(driver, DeviceGetAttribute, &multiprocessors, kMultiprocessorCount,
                            device);
  KILN_CUDA_RETURN_IF_ERROR(driver, DriverGetVersion, &version);
  return std::string(name.data()) + ", " + std::to_string(multiprocessors) + " SMs, driver " +
         std::to_string(version);
}

void tune_matmul(CublasLtMatmul& matmul) {
  const CublasLtParams& params = matmul.params();
  const auto info = cublaslt_info();
  TuningProblem problem;
  problem.key = "cublaslt " + (info.ok() ? info->version : "") + " " + params.key();
  problem.device = params.device;
  for (const CublasLtHeuristic& candidate : matmul.candidates()) {
    std::string text;
    for (const uint64_t word : candidate.algo.data) {
      char hex[20];
      std::snprintf(hex, sizeof(hex), "%llx.", static_cast<unsigned long long>(word));
      text += hex;
    }
    problem.choices.push_back(std::move(text));
    problem.workspace_bytes = std::max(problem.workspace_bytes, candidate.workspace_bytes);
  }
  // a, b, c, d and the bias one behind the other.
  std::array<size_t, 6> place{};
  const auto element = static_cast<int64_t>(dtype_bytes(params.dtype));
  for (size_t i = 0; i < 4; ++i) {
    const ColumnMajorMatrix& matrix = params.problem.matrices[i];
    const int64_t elements = (params.problem.batch - 1) * matrix.batch_stride +
                             matrix.leading * (matrix.columns - 1) + matrix.rows;
    place[i + 1] = place[i] + aligned(static_cast<size_t>(elements * element));
  }
  place[5] = place[4] + aligned(static_cast<size_t>(params.problem.m * element));
  problem.bytes = place[5];
  problem.run = [&](size_t choice, char* operands, void* workspace, CUstream stream) {
    return matmul.run_once(choice, {operands + place[kMatmulA], operands + place[kMatmulB],
                                    operands + place[kMatmulC], operands + place[4],
                                    operands + place[kMatmulD], workspace, stream});
  };
  matmul.choose(tune(problem));
}

void tune_conv(CudnnConv& conv, const CudnnConv::Operands& operands, int device) {
  const auto info = cudnn_info();
  TuningProblem problem;
  problem.key = "cudnn " + (info.ok() ? info->version : "") + " conv " + conv.key();
  problem.device = device;
  for (const auto& plan : conv.plans()) {
    problem.choices.push_back(plan->engine());
    problem.workspace_bytes = std::max(problem.workspace_bytes, plan->workspace_bytes());
  }
  // x, w, y, the addend and the bias one behind the other; what is not there is not read.
  std::array<size_t, 6> place{};
  const ConcreteView* views[] = {&operands.x, &operands.w, &operands.y, &operands.add};
  for (size_t i = 0; i < 4; ++i) {
    const auto element = static_cast<int64_t>(dtype_bytes(operands.y.dtype));
    int64_t elements = 1;
    for (size_t d = 0; d < views[i]->dims.size(); ++d) {
      elements += (views[i]->dims[d] - 1) * views[i]->strides[d];
    }
    place[i + 1] = place[i] + aligned(static_cast<size_t>(elements * element));
  }
  place[5] = place[4] + aligned(static_cast<size_t>(operands.y.dims[1]) * 8);
  problem.bytes = place[5];
  problem.run = [&](size_t choice, char* memory, void* workspace, CUstream stream) {
    return conv.run_plan(choice, {memory, memory + place[1],
                                  conv.has_bias() ? memory + place[4] : nullptr,
                                  conv.has_add() ? memory + place[3] : nullptr, memory + place[2],
                                  workspace, stream});
  };
  conv.choose(tune(problem));
}

}  // namespace kiln::cuda

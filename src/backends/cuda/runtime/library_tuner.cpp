#include "backends/cuda/runtime/library_tuner.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <utility>

#include "backends/cuda/runtime/device_timer.h"
#include "base/log.h"
#include "base/status.h"
#include "runtime/device_runtime.h"
#include "runtime/timing_cache.h"
#include "runtime/view_checks.h"

namespace kiln::cuda {
namespace {

constexpr int kMultiprocessorCount = 16;  // CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT
constexpr size_t kAlignment = 256;
constexpr size_t kMaxTuningBytes = size_t{4} << 30;

size_t aligned(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// Bytes from the first element of the view on; of one element when it has no dims.
size_t bytes_of(const ConcreteView& view) {
  int64_t elements = 1;
  for (size_t d = 0; d < view.dims.size(); ++d) {
    elements += (view.dims[d] - 1) * view.strides[d];
  }
  return aligned(static_cast<size_t>(elements) * dtype_bytes(view.dtype));
}

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

Result<std::string> key_on_device(const Driver& driver, const TuningProblem& problem) {
  KILN_ASSIGN_OR_RETURN(const std::string device, device_description(driver, problem.device));
  return problem.key + "; " + device;
}

std::optional<size_t> find_choice(const std::string& key, const TuningProblem& problem) {
  const auto known = TimingCache::user().find(key);
  if (!known) return {};
  const auto found = std::find(problem.choices.begin(), problem.choices.end(), known->choice);
  if (found == problem.choices.end()) return {};
  return static_cast<size_t>(found - problem.choices.begin());
}

Status tune_with(const TuningProblem& problem, size_t* chosen) {
  KILN_ASSIGN_OR_RETURN(const Driver* table, driver());
  KILN_ASSIGN_OR_RETURN(const std::string key, key_on_device(*table, problem));
  TimingCache& cache = TimingCache::user();
  if (const auto known = find_choice(key, problem)) {
    *chosen = *known;
    return {};
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

std::optional<size_t> known_choice(const TuningProblem& problem) {
  const auto table = driver();
  if (!table.ok()) return {};
  const auto key = key_on_device(**table, problem);
  if (!key.ok()) return {};
  return find_choice(*key, problem);
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

namespace {

// " [32:768,768:1]": sizes and strides.
std::string text_of(const ConcreteView& view) {
  std::string text = " [";
  for (size_t i = 0; i < view.dims.size(); ++i) {
    text += (i == 0 ? "" : ",") + std::to_string(view.dims[i]) + ":" +
            std::to_string(view.strides[i]);
  }
  return text + "]";
}

}  // namespace

std::unique_ptr<BoundStep> fastest_step(const std::string& what, const BindContext& context,
                                        std::vector<std::unique_ptr<BoundStep>> steps,
                                        DeviceRuntime& device) {
  const ScopedDevice scope(device);
  TuningProblem problem;
  problem.key = what;
  problem.device = device.device().index;
  for (const auto& step : steps) {
    problem.choices.push_back(step->implementation());
    problem.workspace_bytes = std::max(problem.workspace_bytes, step->scratch_bytes());
  }
  // The operands one behind the other.
  std::vector<size_t> inputs, outputs;
  for (const auto& [views, places] : {std::pair{&context.inputs, &inputs},
                                      std::pair{&context.outputs, &outputs}}) {
    for (const ConcreteView& view : *views) {
      problem.key += text_of(view);
      const ByteSpan span = byte_span(view);
      const size_t before = aligned(static_cast<size_t>(-span.low));
      places->push_back(problem.bytes + before);
      problem.bytes += before + aligned(static_cast<size_t>(span.high));
    }
  }
  problem.run = [&](size_t choice, char* memory, void* workspace, CUstream stream) {
    std::vector<void*> from, to;
    for (const size_t place : inputs) from.push_back(memory + place);
    for (const size_t place : outputs) to.push_back(memory + place);
    RunArgs args;
    args.inputs = from.data();
    args.outputs = to.data();
    args.scratch = workspace;
    args.stream = stream;
    return steps[choice]->run(args);
  };
  return std::move(steps[tune(problem)]);
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
  for (size_t i = 0; i < 4; ++i) place[i + 1] = place[i] + bytes_of(*views[i]);
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

Result<std::shared_ptr<CudnnSdpa>> tune_sdpa(const CudnnSdpaStepParams& params,
                                             const CudnnSdpa::Operands& operands,
                                             BoundStep* otherwise, int device) {
  KILN_ASSIGN_OR_RETURN(const std::string key, CudnnSdpa::key(params, operands));
  KILN_ASSIGN_OR_RETURN(const std::vector<std::string> engines,
                        CudnnSdpa::engines(params, operands, device));
  const auto info = cudnn_info();
  TuningProblem problem;
  problem.key = "cudnn " + (info.ok() ? info->version : "") + " sdpa " + key;
  problem.device = device;
  problem.choices = engines;
  const std::string own = otherwise == nullptr ? "" : otherwise->implementation();
  if (otherwise != nullptr) problem.choices.push_back(own);
  // A plan is a kernel that is compiled, so only those of problems that are new are all made.
  if (const auto known = known_choice(problem)) {
    if (*known == engines.size()) return std::shared_ptr<CudnnSdpa>();
    auto sdpa = CudnnSdpa::create_with(params, operands, device, engines[*known]);
    if (sdpa.ok()) return sdpa;
  }
  KILN_ASSIGN_OR_RETURN(std::shared_ptr<CudnnSdpa> sdpa,
                        CudnnSdpa::create(params, operands, device, true));
  problem.choices.clear();
  for (const auto& plan : sdpa->plans()) {
    problem.choices.push_back(plan->engine());
    problem.workspace_bytes = std::max(problem.workspace_bytes, plan->workspace_bytes());
  }
  if (otherwise != nullptr) {
    problem.choices.push_back(own);
    problem.workspace_bytes = std::max(problem.workspace_bytes, otherwise->scratch_bytes());
  }
  const size_t plans = sdpa->plans().size();
  // q, k, v, the result and the mask one behind the other; what is not there is not read.
  std::array<size_t, 6> place{};
  const ConcreteView* views[] = {&operands.q, &operands.k, &operands.v, &operands.out,
                                 &operands.mask};
  for (size_t i = 0; i < 5; ++i) place[i + 1] = place[i] + bytes_of(*views[i]);
  problem.bytes = place[5];
  problem.run = [&](size_t choice, char* memory, void* workspace, CUstream stream) -> Status {
    void* inputs[] = {memory, memory + place[1], memory + place[2], memory + place[4]};
    void* output = memory + place[3];
    if (choice < plans) {
      return sdpa->run_plan(choice, {inputs[0], inputs[1], inputs[2],
                                     params.mask ? inputs[3] : nullptr, output, workspace, stream});
    }
    RunArgs args;
    args.inputs = inputs;
    args.outputs = &output;
    args.scratch = workspace;
    args.stream = stream;
    return otherwise->run(args);
  };
  const size_t best = tune(problem);
  if (best == plans) return std::shared_ptr<CudnnSdpa>();
  sdpa->choose(best);
  return sdpa;
}

}  // namespace kiln::cuda

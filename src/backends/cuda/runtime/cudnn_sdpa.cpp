#include "backends/cuda/runtime/cudnn_sdpa.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <mutex>
#include <utility>

#include "backends/cuda/runtime/step_operands.h"
#include "base/status.h"

namespace kiln::cuda {
namespace {

constexpr size_t kFirstVersion = 91100;  // 9.10.0 and 9.10.1 compute wrong results
constexpr int64_t kMaxHead = 256;
constexpr int64_t kPack = 8;  // elements that are loaded as one: tensor maps take 16 bytes
constexpr uint32_t kAlignment = 16;
constexpr int64_t kMaxSize = int64_t{1} << 31;

Status bad(std::string what) {
  return Status::error("K3212", "attention step: " + std::move(what));
}
Status refuse(std::string what) { return Status::error("K5308", std::move(what)); }

struct Problem {
  CudnnSdpaStepParams params;
  CudnnTensorDesc q, k, v, out, mask;
};

Status check_shapes(const CudnnSdpaStepParams& p, const CudnnSdpa::Operands& o) {
  for (const ConcreteView* view : {&o.q, &o.k, &o.v, &o.out}) {
    if (view->dims.size() != 4) return bad("operands need four dims");
  }
  const auto& q = o.q.dims;
  const auto& k = o.k.dims;
  const auto& v = o.v.dims;
  if (q[0] != k[0] || q[0] != v[0] || k[1] != v[1] || k[2] != v[2] || q[3] != k[3] ||
      o.out.dims != std::vector<int64_t>{q[0], q[1], q[2], v[3]} || k[1] < 1 || q[1] % k[1] != 0) {
    return bad("sizes of the operands do not fit");
  }
  if (!p.mask) return {};
  if (o.mask.dims.size() != 4) return bad("the mask needs four dims");
  const int64_t scores[] = {q[0], q[1], q[2], k[2]};
  for (size_t i = 0; i < 4; ++i) {
    if (o.mask.dims[i] != scores[i] && o.mask.dims[i] != 1) return bad("the mask does not fit");
  }
  return {};
}

// Dims of one element get strides that no kernel stumbles over: the extent of the others.
void settle_single_dims(CudnnTensorDesc& tensor) {
  int64_t extent = kPack;
  for (size_t i = 0; i < 4; ++i) {
    if (tensor.dims[i] > 1) extent = std::max(extent, tensor.dims[i] * tensor.strides[i]);
  }
  for (size_t i = 0; i < 3; ++i) {
    if (tensor.dims[i] == 1) tensor.strides[i] = (extent + kPack - 1) / kPack * kPack;
  }
}

// q, k, v or the result. The kernels read them by tensor maps, whose strides are multiples of 16
// bytes and not zero.
Result<CudnnTensorDesc> describe(const char* name, const ConcreteView& view) {
  const std::string who(name);
  CudnnTensorDesc tensor{view.dtype, view.dims, view.strides, kAlignment};
  if (view.dims[3] % kPack != 0 || view.dims[3] > kMaxHead) {
    return refuse("heads of " + who + " have " + std::to_string(view.dims[3]) +
                  " elements, not a multiple of 8 up to 256");
  }
  if (view.strides[3] != 1) return refuse("elements of " + who + " do not lie side by side");
  for (size_t i = 0; i < 3; ++i) {
    if (view.dims[i] >= kMaxSize) return refuse("a size of " + who + " is too large");
    if (view.dims[i] > 1 && (view.strides[i] <= 0 || view.strides[i] % kPack != 0)) {
      return refuse("rows of " + who + " do not begin at multiples of 16 bytes");
    }
  }
  if (alignment_of(view) < kAlignment) return refuse(who + " is not aligned to 16 bytes");
  settle_single_dims(tensor);
  return tensor;
}

Result<CudnnTensorDesc> describe_mask(const ConcreteView& view, int64_t kv_len) {
  CudnnTensorDesc tensor{view.dtype, view.dims, view.strides, kAlignment};
  // Of bf16 and f32 the lowest numbers, which stand for "not seen", overflow in the kernels'
  // product with log2(e): a row of nothing else would count as one without keys.
  if (view.dtype != DType::kF16) {
    return refuse("an added mask of " + std::string(dtype_name(view.dtype)));
  }
  for (size_t i = 0; i < 3; ++i) {
    if (view.strides[i] == 0) tensor.dims[i] = 1;  // repeats
    if (view.strides[i] < 0) return refuse("the mask has negative strides");
  }
  if (view.dims[3] != kv_len || (kv_len > 1 && view.strides[3] != 1)) {
    return refuse("elements of the mask do not lie side by side");
  }
  if (alignment_of(view) < kAlignment) return refuse("the mask is not aligned to 16 bytes");
  tensor.strides[3] = 1;
  settle_single_dims(tensor);
  return tensor;
}

Result<Problem> problem_of(const CudnnSdpaStepParams& params, const CudnnSdpa::Operands& operands) {
  KILN_RETURN_IF_ERROR(check_shapes(params, operands));
  const DType dtype = operands.q.dtype;
  if (!is_half(dtype)) {
    return refuse("no attention in " + std::string(dtype_name(dtype)));
  }
  if (operands.out.num_elements() == 0 || operands.k.num_elements() == 0) {
    return refuse("there is nothing to attend to");
  }
  // A known issue of all versions so far (release notes of 9.18.1).
  if (params.causal && operands.q.dims[2] == 1 && operands.q.dims[1] != operands.k.dims[1]) {
    return refuse("one causal query with grouped heads");
  }
  Problem problem;
  problem.params = params;
  KILN_ASSIGN_OR_RETURN(problem.q, describe("q", operands.q));
  KILN_ASSIGN_OR_RETURN(problem.k, describe("k", operands.k));
  KILN_ASSIGN_OR_RETURN(problem.v, describe("v", operands.v));
  KILN_ASSIGN_OR_RETURN(problem.out, describe("the result", operands.out));
  if (params.mask) {
    KILN_ASSIGN_OR_RETURN(problem.mask, describe_mask(operands.mask, operands.k.dims[2]));
  }
  return problem;
}

// The operations in the order and the form that the engines look for; what a softmax keeps for a
// backward pass is part of the pattern even where nobody reads it.
class Builder {
 public:
  Builder(CudnnGraph& graph, const Problem& problem) : graph_(graph), problem_(problem) {
    const int64_t b = problem.q.dims[0], h = problem.q.dims[1];
    const int64_t m = problem.q.dims[2], n = problem.k.dims[2];
    full_.dims = {b, h, m, n};
    full_.strides = {h * m * n, m * n, n, 1};
    row_.dims = {b, h, m, 1};
    row_.strides = {h * m, m, 1, 1};
    full_.is_virtual = row_.is_virtual = true;
  }

  // `ids` receives q, k, v, the result and the mask.
  Status build(std::vector<int64_t>* ids) {
    CudnnTensorDesc transposed = problem_.k;
    std::swap(transposed.dims[2], transposed.dims[3]);
    std::swap(transposed.strides[2], transposed.strides[3]);
    KILN_ASSIGN_OR_RETURN(const int64_t q, graph_.tensor(problem_.q));
    KILN_ASSIGN_OR_RETURN(const int64_t k, graph_.tensor(transposed));
    KILN_ASSIGN_OR_RETURN(const int64_t v, graph_.tensor(problem_.v));
    KILN_ASSIGN_OR_RETURN(const int64_t out, graph_.tensor(problem_.out));
    *ids = {q, k, v, out};
    KILN_ASSIGN_OR_RETURN(int64_t score, graph_.tensor(full_));
    KILN_RETURN_IF_ERROR(graph_.matmul(q, k, score));
    KILN_ASSIGN_OR_RETURN(const int64_t scale, number(static_cast<float>(problem_.params.scale)));
    KILN_ASSIGN_OR_RETURN(score, then(kCudnnMul, score, scale, full_));
    if (problem_.params.mask) {
      KILN_ASSIGN_OR_RETURN(const int64_t mask, graph_.tensor(problem_.mask));
      ids->push_back(mask);
      KILN_ASSIGN_OR_RETURN(score, then(kCudnnAdd, score, mask, full_));
    }
    if (problem_.params.causal) {
      KILN_ASSIGN_OR_RETURN(score, causal(score));
    }
    KILN_ASSIGN_OR_RETURN(const int64_t max, graph_.tensor(row_));
    KILN_RETURN_IF_ERROR(graph_.reduction(kCudnnReduceMax, score, max));
    KILN_ASSIGN_OR_RETURN(int64_t term, then(kCudnnSub, score, max, full_));
    KILN_ASSIGN_OR_RETURN(term, then(kCudnnExp, term, 0, full_));
    KILN_ASSIGN_OR_RETURN(const int64_t sum, graph_.tensor(row_));
    KILN_RETURN_IF_ERROR(graph_.reduction(kCudnnReduceAdd, term, sum));
    KILN_ASSIGN_OR_RETURN(const int64_t log, then(kCudnnLog, sum, 0, row_));
    KILN_RETURN_IF_ERROR(then(kCudnnAdd, max, log, row_).status());
    CudnnTensorDesc narrow = full_;
    narrow.dtype = problem_.q.dtype;
    KILN_ASSIGN_OR_RETURN(const int64_t weight, then(kCudnnDiv, term, sum, narrow));
    return graph_.matmul(weight, v, out);
  }

 private:
  Result<int64_t> number(float value) {
    return graph_.tensor({DType::kF32, {1, 1, 1, 1}, {1, 1, 1, 1}}, value);
  }
  Result<int64_t> then(int mode, int64_t x, int64_t b, const CudnnTensorDesc& to) {
    CudnnGraph::Pointwise operation;
    operation.mode = mode;
    KILN_ASSIGN_OR_RETURN(const int64_t y, graph_.tensor(to));
    KILN_RETURN_IF_ERROR(graph_.pointwise(operation, x, b, y));
    return y;
  }
  // row >= column ? score : -inf
  Result<int64_t> causal(int64_t score) {
    CudnnTensorDesc index = full_, seen = full_;
    index.dtype = DType::kI32;
    seen.dtype = DType::kBool;
    CudnnGraph::Pointwise generate, compare, select;
    generate.mode = kCudnnGenIndex;
    generate.axis = 2;
    KILN_ASSIGN_OR_RETURN(const int64_t row, graph_.tensor(index));
    KILN_RETURN_IF_ERROR(graph_.pointwise(generate, score, 0, row));
    generate.axis = 3;
    KILN_ASSIGN_OR_RETURN(const int64_t column, graph_.tensor(index));
    KILN_RETURN_IF_ERROR(graph_.pointwise(generate, score, 0, column));
    compare.mode = kCudnnGreaterEqual;
    compare.math = DType::kBool;
    KILN_ASSIGN_OR_RETURN(const int64_t sees, graph_.tensor(seen));
    KILN_RETURN_IF_ERROR(graph_.pointwise(compare, row, column, sees));
    KILN_ASSIGN_OR_RETURN(const int64_t nothing, number(-std::numeric_limits<float>::infinity()));
    select.mode = kCudnnBinarySelect;
    KILN_ASSIGN_OR_RETURN(const int64_t result, graph_.tensor(full_));
    KILN_RETURN_IF_ERROR(graph_.pointwise(select, score, nothing, result, sees));
    return result;
  }

  CudnnGraph& graph_;
  const Problem& problem_;
  CudnnTensorDesc full_, row_;  // virtual f32: scores, and a number of each of their rows
};

Result<CudnnGraph> graph_of(const Cudnn& library, const Problem& problem, const CudnnDevice& device,
                            std::vector<int64_t>* ids) {
  CudnnGraph graph(library);
  KILN_RETURN_IF_ERROR(Builder(graph, problem).build(ids));
  KILN_RETURN_IF_ERROR(graph.finish(device));
  return graph;
}

std::string key_of(const Problem& problem) {
  std::string key = std::string(dtype_name(problem.q.dtype)) + text_of(problem.q) +
                    text_of(problem.k) + text_of(problem.v) + text_of(problem.out);
  if (problem.params.mask) key += " mask" + text_of(problem.mask);
  return key + (problem.params.causal ? " causal" : "") + " scale " +
         Json(problem.params.scale).dump() + " workspace " +
         std::to_string(problem.params.workspace_bytes);
}

Result<const Cudnn*> usable_library() {
  KILN_ASSIGN_OR_RETURN(const Cudnn* library, cudnn());
  if (library->cudnnGetVersion() < kFirstVersion) {
    return refuse("attention of cuDNN before 9.11 is wrong in places");
  }
  return library;
}

// Plans that somebody holds, by problem.
struct Shared {
  std::mutex mutex;
  std::map<std::string, std::weak_ptr<CudnnSdpa>> entries;
};

Shared& shared() {
  static auto* plans = new Shared;
  return *plans;
}

std::shared_ptr<CudnnSdpa> find_shared(const std::string& key) {
  std::lock_guard lock(shared().mutex);
  const auto found = shared().entries.find(key);
  return found == shared().entries.end() ? nullptr : found->second.lock();
}

void share(const std::string& key, const std::shared_ptr<CudnnSdpa>& sdpa) {
  std::lock_guard lock(shared().mutex);
  std::erase_if(shared().entries, [](const auto& entry) { return entry.second.expired(); });
  shared().entries[key] = sdpa;
}

}  // namespace

Status CudnnSdpa::takes(const CudnnSdpaStepParams& params, const Operands& operands) {
  KILN_RETURN_IF_ERROR(usable_library().status());
  return problem_of(params, operands).status();
}

Status CudnnSdpa::supports(const CudnnSdpaStepParams& params, const Operands& operands, int sm,
                           int multiprocessors) {
  KILN_ASSIGN_OR_RETURN(const Cudnn* library, usable_library());
  KILN_ASSIGN_OR_RETURN(const Problem problem, problem_of(params, operands));
  if (!driver().ok()) return {};
  const std::string key =
      "sdpa " + std::to_string(sm) + "/" + std::to_string(multiprocessors) + " " + key_of(problem);
  CudnnAnswers& known = CudnnAnswers::global();
  if (const auto answer = known.find(library, key)) return *answer;
  KILN_ASSIGN_OR_RETURN(const CudnnDevice device,
                        CudnnDevice::described(*library, sm, multiprocessors));
  std::vector<int64_t> ids;
  auto graph = graph_of(*library, problem, device, &ids);
  const Status status = graph.ok() ? graph->find_engines(device, {}, false) : graph.status();
  known.add(library, key, status);
  return status;
}

Result<std::string> CudnnSdpa::key(const CudnnSdpaStepParams& params, const Operands& operands) {
  KILN_ASSIGN_OR_RETURN(const Problem problem, problem_of(params, operands));
  return key_of(problem);
}

Result<std::vector<std::string>> CudnnSdpa::engines(const CudnnSdpaStepParams& params,
                                                    const Operands& operands, int device) {
  KILN_ASSIGN_OR_RETURN(const Cudnn* library, usable_library());
  KILN_ASSIGN_OR_RETURN(const Problem problem, problem_of(params, operands));
  KILN_ASSIGN_OR_RETURN(const CudnnLease lease, CudnnLease::take(*library, device));
  const CudnnDevice here{lease.handle(), nullptr};
  std::vector<int64_t> ids;
  KILN_ASSIGN_OR_RETURN(CudnnGraph graph, graph_of(*library, problem, here, &ids));
  // The heuristics of 9.19 answer alike in every mode: the first has all that there is.
  KILN_RETURN_IF_ERROR(graph.find_engines(here, {}, false));
  std::vector<std::string> names;
  for (size_t i = 0; i < graph.num_engines(); ++i) names.push_back(graph.engine_name(i));
  return names;
}

Result<std::shared_ptr<CudnnSdpa>> CudnnSdpa::create(const CudnnSdpaStepParams& params,
                                                     const Operands& operands, int device,
                                                     bool all) {
  return make(params, operands, device, all, "");
}

Result<std::shared_ptr<CudnnSdpa>> CudnnSdpa::create_with(const CudnnSdpaStepParams& params,
                                                          const Operands& operands, int device,
                                                          const std::string& engine) {
  return make(params, operands, device, false, engine);
}

Result<std::shared_ptr<CudnnSdpa>> CudnnSdpa::make(const CudnnSdpaStepParams& params,
                                                   const Operands& operands, int device, bool all,
                                                   const std::string& engine) {
  KILN_ASSIGN_OR_RETURN(const Cudnn* library, usable_library());
  KILN_ASSIGN_OR_RETURN(const Problem problem, problem_of(params, operands));
  const std::string key = std::to_string(reinterpret_cast<uintptr_t>(library)) + "/" +
                          std::to_string(device) + "/" + engine + " " + key_of(problem);
  if (!all) {
    if (auto known = find_shared(key)) return known;
  }
  KILN_ASSIGN_OR_RETURN(const CudnnLease lease, CudnnLease::take(*library, device));
  const CudnnDevice here{lease.handle(), nullptr};
  std::shared_ptr<CudnnSdpa> sdpa(new CudnnSdpa);
  sdpa->library_ = library;
  sdpa->device_ = device;
  KILN_ASSIGN_OR_RETURN(CudnnGraph graph, graph_of(*library, problem, here, &sdpa->ids_));
  if (engine.empty()) {
    KILN_ASSIGN_OR_RETURN(sdpa->plans_,
                          graph.fitting_plans(here, {}, params.workspace_bytes, {all, false}));
  } else {
    KILN_RETURN_IF_ERROR(graph.find_engines(here, {}, false));
    size_t i = 0;
    while (i < graph.num_engines() && graph.engine_name(i) != engine) ++i;
    if (i == graph.num_engines()) return refuse("cuDNN has no engine " + engine + " for this");
    KILN_ASSIGN_OR_RETURN(auto plan, graph.plan(here, i));
    sdpa->plans_.push_back(std::move(plan));
  }
  if (!all) share(key, sdpa);
  return sdpa;
}

void CudnnSdpa::choose(size_t plan) {
  std::unique_ptr<CudnnPlan> kept = std::move(plans_[plan]);
  plans_.clear();
  plans_.push_back(std::move(kept));
}

Status CudnnSdpa::run_plan(size_t plan, const Args& args) const {
  std::array<void*, 5> memory{const_cast<void*>(args.q), const_cast<void*>(args.k),
                              const_cast<void*>(args.v), args.out, const_cast<void*>(args.mask)};
  KILN_ASSIGN_OR_RETURN(const CudnnLease lease, CudnnLease::take(*library_, device_));
  return plans_[plan]->run(lease.handle(), args.stream, ids_, {memory.data(), ids_.size()},
                           args.workspace);
}

}  // namespace kiln::cuda

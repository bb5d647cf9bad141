#include "backends/cuda/runtime/cudnn_conv.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "backends/cuda/runtime/step_operands.h"
#include "base/status.h"

namespace kiln::cuda {
namespace {

Status bad(std::string what) {
  return Status::error("K3212", "convolution step: " + std::move(what));
}

// The operands as cuDNN wants them: at least two spatial dims, and dims of one element with the
// strides that they would have channels-last.
struct Problem {
  CudnnConvStepParams params;
  CudnnTensorDesc x, w, y, add, bias;
};

void add_height(CudnnTensorDesc& tensor) {
  tensor.strides.insert(tensor.strides.begin() + 2, tensor.dims[2] * tensor.strides[2]);
  tensor.dims.insert(tensor.dims.begin() + 2, 1);
}

void settle_single_dims(CudnnTensorDesc& tensor) {
  const size_t rank = tensor.dims.size();
  int64_t expected = 1;
  for (size_t i = 0; i < rank; ++i) {
    const size_t dim = i == 0 ? 1 : i + 1 < rank ? rank - i : 0;  // c, w, h, n
    if (tensor.dims[dim] == 1) tensor.strides[dim] = expected;
    else expected = tensor.strides[dim] * tensor.dims[dim];
  }
}

CudnnTensorDesc describe(const ConcreteView& view) {
  CudnnTensorDesc tensor{view.dtype, view.dims, view.strides, alignment_of(view)};
  if (tensor.dims.size() == 3) add_height(tensor);
  settle_single_dims(tensor);
  return tensor;
}

Status check_shapes(const CudnnConvStepParams& p, const CudnnConv::Operands& o) {
  const size_t spatial = p.stride.size();
  for (const ConcreteView* view : {&o.x, &o.w, &o.y}) {
    if (view->dims.size() != spatial + 2) return bad("operands of another rank");
  }
  if (p.add && o.add.dims != o.y.dims) return bad("what is added has another shape");
  // A transposed convolution is the gradient of one from y to x.
  const ConcreteView& from = p.transposed ? o.y : o.x;
  const ConcreteView& to = p.transposed ? o.x : o.y;
  if (from.dims[0] != to.dims[0] || to.dims[1] != o.w.dims[0] ||
      o.w.dims[1] > from.dims[1] || p.groups > from.dims[1] ||
      from.dims[1] != o.w.dims[1] * p.groups ||
      o.w.dims[0] % p.groups != 0) {
    return bad("channels do not fit");
  }
  for (size_t i = 0; i < spatial; ++i) {
    const int64_t extent = p.dilation[i] * (o.w.dims[i + 2] - 1) + 1;
    const int64_t room = from.dims[i + 2] + p.padding_low[i] + p.padding_high[i] - extent;
    if (o.w.dims[i + 2] < 1 || room < 0 || room / p.stride[i] + 1 != to.dims[i + 2]) {
      return bad("spatial sizes do not fit");
    }
  }
  return {};
}

Result<Problem> problem_of(const CudnnConvStepParams& params,
                           const CudnnConv::Operands& operands) {
  KILN_RETURN_IF_ERROR(check_shapes(params, operands));
  Problem problem{params, describe(operands.x), describe(operands.w), describe(operands.y), {}, {}};
  if (params.add) problem.add = describe(operands.add);
  CudnnConvStepParams& p = problem.params;
  if (p.stride.size() == 1) {
    for (auto* list : {&p.stride, &p.dilation}) list->insert(list->begin(), 1);
    for (auto* list : {&p.padding_low, &p.padding_high}) list->insert(list->begin(), 0);
  }
  const int64_t channels = problem.y.dims[1];
  problem.bias.dtype = problem.y.dtype;
  problem.bias.dims.assign(problem.y.dims.size(), 1);
  problem.bias.strides.assign(problem.y.dims.size(), channels);
  problem.bias.dims[1] = channels;
  problem.bias.strides[1] = 1;
  problem.bias.alignment = operands.bias_alignment;
  return problem;
}

// Adds the operations from `value` on that make `y` of it.
class Epilogue {
 public:
  Epilogue(CudnnGraph& graph, const CudnnTensorDesc& y, DType math)
      : graph_(graph), virtual_(y), math_(math) {
    virtual_.is_virtual = true;
    virtual_.dtype = math;
    number_ = {DType::kF32, std::vector<int64_t>(y.dims.size(), 1),
               std::vector<int64_t>(y.dims.size(), 1)};
  }
  Result<int64_t> intermediate() { return graph_.tensor(virtual_); }

  // Unary, or binary with a tensor or a number.
  void then(CudnnGraph::Pointwise operation, int64_t b = 0) { steps_.push_back({operation, b}); }
  void then_with(int mode, float number) {
    CudnnGraph::Pointwise operation;
    operation.mode = mode;
    steps_.push_back({operation, 0, number});
  }
  // Multiplies by what the chain was when remember() was called.
  void remember() { remembered_at_ = steps_.size(); }
  void then_times_remembered() {
    CudnnGraph::Pointwise operation;
    operation.mode = kCudnnMul;
    steps_.push_back({operation, -1});
  }

  bool empty() const { return steps_.empty(); }
  Status emit(int64_t value, int64_t y) {
    int64_t remembered = value;
    for (size_t i = 0; i < steps_.size(); ++i) {
      Step& step = steps_[i];
      if (i == remembered_at_) remembered = value;
      int64_t b = step.b == -1 ? remembered : step.b;
      if (step.number) {
        KILN_ASSIGN_OR_RETURN(b, graph_.tensor(number_, *step.number));
      }
      int64_t to = y;
      if (i + 1 < steps_.size()) {
        KILN_ASSIGN_OR_RETURN(to, intermediate());
      }
      step.operation.math = math_;
      KILN_RETURN_IF_ERROR(graph_.pointwise(step.operation, value, b, to));
      value = to;
    }
    return {};
  }

 private:
  struct Step {
    CudnnGraph::Pointwise operation;
    int64_t b = 0;  // -1: what was remembered
    std::optional<float> number = {};
  };
  CudnnGraph& graph_;
  CudnnTensorDesc virtual_, number_;
  DType math_;
  std::vector<Step> steps_;
  size_t remembered_at_ = 0;
};

void add_activation(const KernelActivation& a, Epilogue& epilogue) {
  using Kind = KernelActivation::Kind;
  CudnnGraph::Pointwise p;
  p.mode = kCudnnRelu;
  auto clip_to_six = [&] {
    epilogue.remember();
    epilogue.then_with(kCudnnAdd, 3.0f);
    p.has_upper_clip = true;
    p.upper_clip = 6;
    epilogue.then(p);
  };
  switch (a.kind) {
    case Kind::kNone: return;
    case Kind::kRelu: break;
    case Kind::kClip:
      p.lower_clip = a.alpha;
      p.has_upper_clip = true;
      p.upper_clip = a.beta;
      break;
    case Kind::kLeakyRelu: p.slope = a.alpha; break;
    case Kind::kElu:
      p.mode = kCudnnElu;
      p.alpha = a.alpha;
      break;
    case Kind::kSigmoid: p.mode = kCudnnSigmoid; break;
    case Kind::kTanh: p.mode = kCudnnTanh; break;
    case Kind::kSilu: p.mode = kCudnnSwish; break;
    case Kind::kGelu: p.mode = kCudnnGelu; break;
    case Kind::kGeluTanh: p.mode = kCudnnGeluTanh; break;
    case Kind::kHardsigmoid:
      clip_to_six();
      epilogue.then_with(kCudnnMul, 1.0f / 6.0f);
      return;
    case Kind::kHardswish:
      clip_to_six();
      epilogue.then_times_remembered();
      epilogue.then_with(kCudnnMul, 1.0f / 6.0f);
      return;
  }
  epilogue.then(p);
}

// The graph; `ids` receives x, w, y, bias, addend, as far as there are.
Result<CudnnGraph> graph_of(const Cudnn& library, const Problem& problem, const CudnnDevice& device,
                            std::vector<int64_t>* ids) {
  const CudnnConvStepParams& p = problem.params;
  CudnnGraph graph(library);
  const DType math = problem.x.dtype == DType::kF64 ? DType::kF64 : DType::kF32;
  KILN_ASSIGN_OR_RETURN(const int64_t x, graph.tensor(problem.x));
  KILN_ASSIGN_OR_RETURN(const int64_t w, graph.tensor(problem.w));
  KILN_ASSIGN_OR_RETURN(const int64_t y, graph.tensor(problem.y));
  *ids = {x, w, y};
  Epilogue epilogue(graph, problem.y, math);
  // The order that cuDNN's ready-made kernels know: addend, bias, activation.
  int64_t bias = 0, add = 0;
  if (p.bias) {
    KILN_ASSIGN_OR_RETURN(bias, graph.tensor(problem.bias));
    ids->push_back(bias);
  }
  if (p.add) {
    KILN_ASSIGN_OR_RETURN(add, graph.tensor(problem.add));
    ids->push_back(add);
    epilogue.then({}, add);
  }
  if (p.bias) epilogue.then({}, bias);
  add_activation(p.activation, epilogue);
  int64_t result = y;
  if (!epilogue.empty()) {
    KILN_ASSIGN_OR_RETURN(result, epilogue.intermediate());
  }
  KILN_RETURN_IF_ERROR(
      graph.convolution({math, p.stride, p.dilation, p.padding_low, p.padding_high}, p.transposed,
                        x, w, result));
  KILN_RETURN_IF_ERROR(epilogue.emit(result, y));
  KILN_RETURN_IF_ERROR(graph.finish(device));
  return graph;
}

CudnnArithmetic arithmetic_of(const Problem& problem) {
  return {problem.x.dtype != DType::kF32 || problem.params.allow_tf32};
}

std::string key_of(const Problem& problem) {
  CudnnConvStepParams params = problem.params;
  params.tune = false;
  std::string key = std::string(dtype_name(problem.x.dtype)) + text_of(problem.x) +
                    text_of(problem.w) + text_of(problem.y);
  if (params.add) key += text_of(problem.add);
  if (params.bias) key += text_of(problem.bias);
  return key + " " + params.to_json().dump();
}

// Ready-made engines know bias, addend and a simple activation, and nothing without a bias.
bool needs_compiled_engine(const CudnnConvStepParams& p) {
  using Kind = KernelActivation::Kind;
  switch (p.activation.kind) {
    case Kind::kSilu:
    case Kind::kGelu:
    case Kind::kGeluTanh:
    case Kind::kHardsigmoid:
    case Kind::kHardswish: return true;
    default: return !p.bias && (p.add || p.activation.kind != Kind::kNone);
  }
}

}  // namespace

Status CudnnConv::supports(const CudnnConvStepParams& params, const Operands& operands, int sm,
                           int multiprocessors) {
  KILN_ASSIGN_OR_RETURN(const Cudnn* library, cudnn());
  KILN_ASSIGN_OR_RETURN(const Problem problem, problem_of(params, operands));
  const std::string key = std::to_string(sm) + "/" + std::to_string(multiprocessors) + " " +
                          key_of(problem);
  CudnnAnswers& known = CudnnAnswers::global();
  if (const auto answer = known.find(library, key)) return *answer;
  // Without a driver the library offers none of the engines that it compiles at run time, and takes
  // a second to find that out.
  if (needs_compiled_engine(params) && !driver().ok()) {
    return Status::error("K5308", "no engine for this epilogue without the CUDA driver");
  }
  const auto device = CudnnDevice::described(*library, sm, multiprocessors);
  if (!device.ok()) return {};  // an old library: the shape will tell
  std::vector<int64_t> ids;
  auto graph = graph_of(*library, problem, *device, &ids);
  Status status = graph.ok() ? graph->find_engines(*device, arithmetic_of(problem), false)
                             : std::move(graph).status();
  known.add(library, key, status);
  return status;
}

Result<std::unique_ptr<CudnnConv>> CudnnConv::create(const CudnnConvStepParams& params,
                                                     const Operands& operands, int device,
                                                     bool all) {
  KILN_ASSIGN_OR_RETURN(const Cudnn* library, cudnn());
  KILN_ASSIGN_OR_RETURN(const Problem problem, problem_of(params, operands));
  KILN_ASSIGN_OR_RETURN(const CudnnLease lease, CudnnLease::take(*library, device));
  const CudnnDevice here{lease.handle(), nullptr};
  std::unique_ptr<CudnnConv> conv(new CudnnConv);
  conv->library_ = library;
  conv->device_ = device;
  conv->bias_ = params.bias;
  conv->add_ = params.add;
  conv->key_ = key_of(problem);
  KILN_ASSIGN_OR_RETURN(CudnnGraph graph, graph_of(*library, problem, here, &conv->ids_));
  KILN_ASSIGN_OR_RETURN(conv->plans_, graph.fitting_plans(here, arithmetic_of(problem),
                                                          params.workspace_bytes, {all, all}));
  return conv;
}

void CudnnConv::choose(size_t plan) {
  std::unique_ptr<CudnnPlan> kept = std::move(plans_[plan]);
  plans_.clear();
  plans_.push_back(std::move(kept));
  chosen_ = 0;
}

Status CudnnConv::run_plan(size_t plan, const Args& args) const {
  std::array<void*, 5> memory{const_cast<void*>(args.x), const_cast<void*>(args.w), args.y};
  size_t n = 3;
  if (args.bias != nullptr) memory[n++] = const_cast<void*>(args.bias);
  if (args.add != nullptr) memory[n++] = const_cast<void*>(args.add);
  KILN_ASSIGN_OR_RETURN(const CudnnLease lease, CudnnLease::take(*library_, device_));
  return plans_[plan]->run(lease.handle(), args.stream, ids_, {memory.data(), n}, args.workspace);
}

}  // namespace kiln::cuda

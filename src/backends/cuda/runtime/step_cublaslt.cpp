// "cuda.cublaslt": matrix products by cuBLASLt, with bias, an addend and an activation.
#include <algorithm>
#include <utility>

#include "backends/cuda/runtime/cublaslt_step.h"
#include "backends/cuda/runtime/library_tuner.h"
#include "backends/cuda/runtime/step_operands.h"
#include "base/status.h"
#include "runtime/device_runtime.h"
#include "runtime/step.h"

namespace kiln::cuda {
namespace {

constexpr std::string_view kName = "cuda.cublaslt";
// The fastest is often far down the heuristics' list when the product is small.
constexpr int kTimedCandidates = 32;

Status bad(std::string what) {
  return Status::error("K3212", "matmul step: " + std::move(what));
}

const char* activation_name(MatmulActivation activation) {
  switch (activation) {
    case MatmulActivation::kNone: return "none";
    case MatmulActivation::kRelu: return "relu";
    case MatmulActivation::kGeluTanh: return "gelu_tanh";
  }
  return "?";
}

class BoundMatmul : public BoundStep {
 public:
  std::unique_ptr<CublasLtMatmul> matmul;  // null: the result is empty
  const Driver* zeros_by = nullptr;        // set when k is 0: zeros stand for both operands
  size_t zero_bytes = 0;                   // at the front of scratch
  bool swapped = true;
  int bias = -1, add = -1;  // inputs

  size_t scratch_bytes() const override {
    return matmul == nullptr ? 0 : zero_bytes + matmul->workspace_bytes();
  }

  Status run(const RunArgs& args) override {
    if (matmul == nullptr) return {};
    const void* a = args.inputs[0];
    const void* b = args.inputs[1];
    const auto stream = static_cast<CUstream>(args.stream);
    if (zeros_by != nullptr) {
      KILN_CUDA_RETURN_IF_ERROR(*zeros_by, MemsetD8Async,
                                reinterpret_cast<CUdeviceptr>(args.scratch), 0, zero_bytes,
                                stream);
      a = b = args.scratch;
    }
    if (swapped) std::swap(a, b);
    return matmul->run({a, b, add < 0 ? nullptr : args.inputs[add],
                        bias < 0 ? nullptr : args.inputs[bias], args.outputs[0],
                        static_cast<char*>(args.scratch) + zero_bytes, stream});
  }

  Replay replay() const override { return Replay::kSameAddresses; }
  std::string implementation() const override {
    if (matmul == nullptr) return "cublaslt:nothing";
    const size_t calls = matmul->params().problem.calls.size();
    return "cublaslt:" + std::to_string(matmul->chosen()) + "/" +
           std::to_string(matmul->candidates().size()) +
           (calls > 1 ? " x" + std::to_string(calls) : "") +
           (matmul->params().allow_tf32 ? " tf32" : "");
  }
};

class MatmulStep : public Step {
 public:
  MatmulStep(const CublasLtStepParams& params, DeviceRuntime& device)
      : params_(params), device_(device) {}

  Result<std::unique_ptr<BoundStep>> bind(const BindContext& context) const override {
    ConcreteView a = context.inputs[0];
    ConcreteView b = context.inputs[1];
    const ConcreteView& d = context.outputs[0];
    auto bound = std::make_unique<BoundMatmul>();
    int next = 2;
    if (params_.bias) bound->bias = next++;
    if (params_.add) bound->add = next++;
    const ConcreteView* add =
        params_.add ? &context.inputs[static_cast<size_t>(bound->add)] : nullptr;
    KILN_RETURN_IF_ERROR(check_dense_operands(kName, context, d.dtype));
    if (params_.bias) {
      const ConcreteView& bias = context.inputs[static_cast<size_t>(bound->bias)];
      if (bias.rank() != 1 || d.rank() < 2 || bias.dims[0] != d.dims.back() ||
          !bias.is_contiguous()) {
        return bad("bias does not fit");
      }
    }
    CublasLtParams p;
    const bool nothing_to_sum = a.rank() >= 2 && a.dims.back() == 0;
    if (nothing_to_sum) KILN_RETURN_IF_ERROR(stand_for_nothing(d, a, b, *bound));
    KILN_ASSIGN_OR_RETURN(p.problem, describe_matmul(a, b, add, d, params_.bias));
    bound->swapped = p.problem.swapped;
    if (p.problem.calls.empty()) return std::unique_ptr<BoundStep>(std::move(bound));
    p.dtype = d.dtype;
    p.alpha = params_.alpha;
    p.add = params_.add;
    p.bias = params_.bias;
    p.activation = params_.activation;
    p.allow_tf32 = params_.allow_tf32;
    p.device = device_.device().index;
    p.max_workspace_bytes = static_cast<size_t>(params_.workspace_bytes);
    const bool tune = params_.tune && !device_.is_recording(device_.current_stream());
    if (tune) p.max_candidates = kTimedCandidates;
    set_alignments(context, add, bound->bias, nothing_to_sum, p);
    const ScopedDevice scope(device_);
    KILN_ASSIGN_OR_RETURN(bound->matmul, CublasLtMatmul::create(p));
    if (tune) tune_matmul(*bound->matmul);
    return std::unique_ptr<BoundStep>(std::move(bound));
  }

 private:
  // A sum over nothing is 0: the product of a column and a row of zeros, which lie in scratch.
  static Status stand_for_nothing(const ConcreteView& d, ConcreteView& a, ConcreteView& b,
                                  BoundMatmul& bound) {
    const size_t rank = d.dims.size();
    if (rank < 2 || b.dims.size() != rank || b.dims[rank - 2] != 0 || a.dims.size() != rank) {
      return bad("sizes of the operands do not fit");
    }
    KILN_ASSIGN_OR_RETURN(bound.zeros_by, driver());
    for (ConcreteView* view : {&a, &b}) {
      std::fill(view->dims.begin(), view->dims.end() - 2, 1);
      std::fill(view->strides.begin(), view->strides.end(), 0);
    }
    a.dims[rank - 2] = d.dims[rank - 2];
    a.dims[rank - 1] = b.dims[rank - 2] = 1;
    b.dims[rank - 1] = d.dims[rank - 1];
    a.strides[rank - 2] = b.strides[rank - 1] = 1;
    const auto longest = static_cast<size_t>(std::max({d.dims[rank - 2], d.dims[rank - 1],
                                                       int64_t{1}}));
    bound.zero_bytes = (longest * dtype_bytes(d.dtype) + 255) / 256 * 256;
    return {};
  }

  static void set_alignments(const BindContext& context, const ConcreteView* add, int bias,
                             bool nothing_to_sum, CublasLtParams& p) {
    const uint32_t scratch = 64;
    uint32_t a = nothing_to_sum ? scratch : alignment_of(context.inputs[0]);
    uint32_t b = nothing_to_sum ? scratch : alignment_of(context.inputs[1]);
    if (p.problem.swapped) std::swap(a, b);
    const uint32_t d = alignment_of(context.outputs[0]);
    p.alignments = {a, b, add != nullptr ? alignment_of(*add) : d, d};
    if (bias >= 0) {
      p.bias_alignment = alignment_of(context.inputs[static_cast<size_t>(bias)]);
    }
    const auto bytes = static_cast<int64_t>(dtype_bytes(p.dtype));
    for (const auto& offsets : p.problem.calls) {
      for (size_t i = 0; i < 4; ++i) {
        p.alignments[i] = std::min(p.alignments[i], alignment_of_offset(offsets[i] * bytes));
      }
    }
    if (!p.add) p.alignments[kMatmulC] = p.alignments[kMatmulD];
  }

  CublasLtStepParams params_;
  DeviceRuntime& device_;
};

Result<std::unique_ptr<Step>> make(const StepDesc& desc, const StepEnvironment& environment) {
  KILN_ASSIGN_OR_RETURN(const CublasLtStepParams params,
                        CublasLtStepParams::from_json(desc.params));
  KILN_ASSIGN_OR_RETURN(DeviceRuntime* device, cuda_device_of(kName, environment));
  const size_t inputs = 2 + (params.bias ? 1u : 0u) + (params.add ? 1u : 0u);
  if (desc.inputs.size() != inputs || desc.outputs.size() != 1) {
    return bad("wrong number of operands");
  }
  return std::unique_ptr<Step>(new MatmulStep(params, *device));
}

KILN_STEP(cuda_cublaslt, kName, make);

}  // namespace

Json CublasLtStepParams::to_json() const {
  Json json = Json::object();
  json.set("alpha", alpha);
  json.set("bias", bias);
  json.set("add", add);
  json.set("activation", activation_name(activation));
  json.set("allow_tf32", allow_tf32);
  json.set("tune", tune);
  json.set("workspace_bytes", workspace_bytes);
  return json;
}

Result<CublasLtStepParams> CublasLtStepParams::from_json(const Json& json) {
  KILN_RETURN_IF_ERROR(check_members(kName, json, {"alpha", "bias", "add", "activation",
                                                   "allow_tf32", "tune", "workspace_bytes"}));
  CublasLtStepParams p;
  KILN_ASSIGN_OR_RETURN(p.alpha, json.double_at("alpha"));
  KILN_ASSIGN_OR_RETURN(p.bias, json.bool_at("bias"));
  KILN_ASSIGN_OR_RETURN(p.add, json.bool_at("add"));
  KILN_ASSIGN_OR_RETURN(const std::string activation, json.string_at("activation"));
  KILN_ASSIGN_OR_RETURN(p.allow_tf32, json.bool_at("allow_tf32"));
  KILN_ASSIGN_OR_RETURN(p.tune, json.bool_at("tune"));
  KILN_ASSIGN_OR_RETURN(p.workspace_bytes,
                        json.int_at("workspace_bytes", 0, kMaxLibraryWorkspace));
  for (const MatmulActivation known : {MatmulActivation::kNone, MatmulActivation::kRelu,
                                       MatmulActivation::kGeluTanh}) {
    if (activation != activation_name(known)) continue;
    p.activation = known;
    return p;
  }
  return bad("unknown activation '" + activation + "'");
}

}  // namespace kiln::cuda

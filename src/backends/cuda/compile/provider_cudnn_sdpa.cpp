// Attention by cuDNN. Its steps carry Kiln's own with them: which one runs is decided where sizes
// and strides are numbers (step_cudnn_sdpa.cpp), by time where the user wishes that.
#include <cmath>
#include <utility>

#include "backends/cuda/compile/library_providers.h"
#include "backends/cuda/runtime/cublaslt_step.h"
#include "backends/cuda/runtime/cudnn_sdpa.h"
#include "base/status.h"
#include "fusion/engine_lowering.h"
#include "fusion/representative_sizes.h"
#include "ir/op_def.h"

namespace kiln::cuda {
namespace {

constexpr std::string_view kName = "cudnn.sdpa";
constexpr std::string_view kOwnStep = "cuda.attention";
constexpr int kFirstBlackwell = 100;

ConcreteView contiguous(DType dtype, std::vector<int64_t> dims) {
  ConcreteView view;
  view.dtype = dtype;
  view.dims = std::move(dims);
  view.strides.assign(view.dims.size(), 1);
  for (size_t i = view.dims.size(); i-- > 1;) {
    view.strides[i - 1] = view.strides[i] * view.dims[i];
  }
  return view;
}

// [..., heads, length, dim] as [batch, heads, length, dim].
std::vector<int64_t> four_dims(std::vector<int64_t> dims) {
  while (dims.size() < 4) dims.insert(dims.begin(), 1);
  while (dims.size() > 4) {
    dims[1] *= dims[0];
    dims.erase(dims.begin());
  }
  return dims;
}

// `mask_dtype`: what the mask has, or would have.
Status check_node(Node& node, DType mask_dtype, int sm) {
  const auto refuse = [](std::string why) { return Status::error("K2411", std::move(why)); };
  if (!node.operand(0)->shape().back().is_constant() ||
      !node.operand(2)->shape().back().is_constant()) {
    return refuse("head sizes are symbolic");
  }
  if (!node.has_operand(3)) return {};
  if (mask_dtype == DType::kBool) return refuse("a mask of bool");
  // Masks of another length than the queries are reported to go wrong on these.
  if (sm >= kFirstBlackwell) return refuse("a mask on compute capability 10.0 and later");
  return {};
}

CudnnSdpaStepParams params_of(Node& node, const LibraryWishes& wishes, int sm) {
  CudnnSdpaStepParams p;
  p.scale = node.get_float("scale");
  if (p.scale == 0) {
    p.scale = 1.0 / std::sqrt(static_cast<double>(node.operand(0)->shape().back().value()));
  }
  p.causal = node.get_bool("is_causal");
  p.mask = node.has_operand(3);
  p.tune = wishes.tune;
  p.workspace_bytes = library_workspace_bytes(sm);
  return p;
}

// Does cuDNN compute it, at representative sizes?
Status supported(Node& node, DType mask_dtype, const DeviceSpec& device,
                 const LibraryWishes& wishes) {
  KILN_RETURN_IF_ERROR(cudnn().status());
  KILN_RETURN_IF_ERROR(check_node(node, mask_dtype, device.sm()));
  std::vector<Shape> shapes;
  for (int i = 0; i < 3; ++i) shapes.push_back(node.operand(i)->shape());
  for (const Shape& shape : shapes) {
    if (has_empty_dim(shape)) return Status::error("K2411", "a size is 0");
  }
  KILN_ASSIGN_OR_RETURN(const SymbolValues symbols, representative_symbols(shapes));
  CudnnSdpa::Operands operands;
  ConcreteView* views[] = {&operands.q, &operands.k, &operands.v};
  for (int i = 0; i < 3; ++i) {
    KILN_ASSIGN_OR_RETURN(std::vector<int64_t> dims,
                          evaluate(shapes[static_cast<size_t>(i)], symbols));
    *views[i] = contiguous(node.operand(i)->dtype(), four_dims(std::move(dims)));
  }
  std::vector<int64_t> dims = operands.q.dims;
  dims[3] = operands.v.dims[3];
  operands.out = contiguous(node.result()->dtype(), std::move(dims));
  if (node.has_operand(3)) {
    KILN_ASSIGN_OR_RETURN(dims, evaluate(node.operand(3)->shape(), symbols));
    dims = four_dims(std::move(dims));
    operands.mask = contiguous(mask_dtype, std::move(dims));
  }
  return CudnnSdpa::supports(params_of(node, wishes, device.sm()), operands, device.sm(),
                             device.multiprocessors);
}

class SdpaTactic : public Tactic {
 public:
  SdpaTactic(std::unique_ptr<Tactic> own, CudnnSdpaStepParams params)
      : own_(std::move(own)), params_(std::move(params)) {}

  std::string name() const override { return std::string(kName); }

  Status lower(Node& node, EngineLowering& lowering) override {
    KILN_ASSIGN_OR_RETURN(std::vector<StepDesc> steps,
                          lowering.collect([&] { return own_->lower(node, lowering); }));
    for (StepDesc& step : steps) {
      if (step.kind == kOwnStep) {
        params_.otherwise_kind = std::move(step.kind);
        params_.otherwise_params = std::move(step.params);
        step.kind = "cuda.cudnn_sdpa";
        step.params = params_.to_json();
      }
      lowering.emit(std::move(step));
    }
    return {};
  }

 private:
  std::unique_ptr<Tactic> own_;
  CudnnSdpaStepParams params_;
};

class SdpaProvider : public KernelProvider {
 public:
  SdpaProvider(const LibraryWishes& wishes, std::unique_ptr<KernelProvider> own)
      : wishes_(wishes), own_(std::move(own)) {}
  std::string_view name() const override { return kName; }

  void candidates(Node& node, const DeviceSpec& device, Candidates& out) override {
    if (!node.is("attention")) return;
    Candidates own;
    own_->candidates(node, device, own);
    if (own.tactics.empty()) {
      out.refusals.push_back({std::string(kName), "no own kernel stands in for it"});
      return;
    }
    const DType mask = node.has_operand(3) ? node.operand(3)->dtype() : DType::kF16;
    const Status status = supported(node, mask, device, wishes_);
    if (!status.ok()) {
      out.refusals.push_back({std::string(kName), status.message()});
      return;
    }
    out.tactics.push_back(std::make_unique<SdpaTactic>(std::move(own.tactics[0]),
                                                       params_of(node, wishes_, device.sm())));
  }

 private:
  LibraryWishes wishes_;
  std::unique_ptr<KernelProvider> own_;
};

}  // namespace

bool cudnn_sdpa_adds_mask(Node& attention, const DeviceSpec& device, const LibraryWishes& wishes) {
  return supported(attention, attention.operand(0)->dtype(), device, wishes).ok();
}

std::unique_ptr<KernelProvider> make_cudnn_sdpa_provider(const LibraryWishes& wishes,
                                                         std::unique_ptr<KernelProvider> own) {
  return std::make_unique<SdpaProvider>(wishes, std::move(own));
}

}  // namespace kiln::cuda

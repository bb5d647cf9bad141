#include "backends/cpu/runtime/dnnl_step_operands.h"

#include <algorithm>
#include <string>
#include <utility>

#include "backends/cpu/runtime/dnnl_reorder.h"

namespace kiln {
namespace {

Status bad(std::string what) { return Status::error("K3221", std::move(what)); }

}  // namespace

Status check_dnnl_dtype(DType dtype) {
  if (dtype == DType::kF32 || dtype == DType::kBF16 || dtype == DType::kF16) return {};
  return bad("dtype that oneDNN steps do not have: " + std::string(dtype_name(dtype)));
}

Result<DnnlTensor> dnnl_operand(const ConcreteView& view, DType dtype) {
  if (view.packed != nullptr || view.kind == SlotKind::kObject) {
    return bad("operand of a oneDNN step is no tensor");
  }
  if (view.dtype != dtype) {
    return bad("operand of a oneDNN step has another dtype: " +
               std::string(dtype_name(view.dtype)));
  }
  for (int64_t dim : view.dims) {
    if (dim < 1) return bad("operand of a oneDNN step is empty");
  }
  for (int64_t stride : view.strides) {
    if (stride < 0) return bad("operand of a oneDNN step steps backwards");
  }
  return DnnlTensor{dtype, view.dims, view.strides};
}

Status check_dnnl_bias(const ConcreteView& view, DType dtype, int64_t channels) {
  KILN_ASSIGN_OR_RETURN(const DnnlTensor bias, dnnl_operand(view, dtype));
  if (bias.dims.size() != 1 || bias.dims[0] != channels ||
      (channels > 1 && bias.strides[0] != 1)) {
    return bad("bias of a oneDNN step is no dense vector of channels " + std::to_string(channels));
  }
  return {};
}

Result<std::vector<DnnlPostOp>> dnnl_bind_post_ops(const std::vector<DnnlPostOpParams>& params,
                                                   const BindContext& context, size_t first,
                                                   DType dtype) {
  std::vector<DnnlPostOp> result;
  size_t input = first;
  for (const DnnlPostOpParams& param : params) {
    DnnlPostOp op{param.kind, param.alpha, param.beta};
    if (param.has_tensor()) {
      if (input >= context.inputs.size()) return bad("post-op without its tensor");
      KILN_ASSIGN_OR_RETURN(op.tensor, dnnl_operand(context.inputs[input++], dtype));
      for (size_t i = 0; i < op.tensor.dims.size(); ++i) {
        if (op.tensor.strides[i] == 0) op.tensor.dims[i] = 1;
      }
    }
    result.push_back(std::move(op));
  }
  if (input != context.inputs.size() || input - first > DnnlPrimitive::kMaxOperands - 5) {
    return bad("oneDNN step with a wrong number of inputs: " +
               std::to_string(context.inputs.size()));
  }
  return result;
}

Status check_packed_output(const BindContext& context) {
  // A plain view of rank 0 has an element, so its slot cannot be empty.
  const ConcreteView& output = context.outputs[0];
  if (output.kind == SlotKind::kOutput && output.rank() == 0 && output.slot_elements == 0) {
    return {};
  }
  return bad("packing step whose output is a plain tensor");
}

Status check_packed_input(const ConcreteView& view, const Json& pack, const DnnlLayout& layout) {
  if (view.packed == nullptr || view.offset != 0 || view.packed->format != pack.dump()) {
    return Status::error("K3222", "weights that were not packed for this step");
  }
  if (view.packed->bytes != layout.bytes()) {
    return Status::error("K3222", "packed weights have another size than their layout: " +
                                      std::to_string(view.packed->bytes) + " and " +
                                      std::to_string(layout.bytes()));
  }
  return {};
}

Result<std::unique_ptr<DnnlAdaptedWeights>> DnnlAdaptedWeights::make(const DnnlLayout& layout,
                                                                     const ConstantData& packed,
                                                                     const DnnlLayout& wanted) {
  std::unique_ptr<DnnlAdaptedWeights> result(new DnnlAdaptedWeights(layout, packed, wanted));
  KILN_ASSIGN_OR_RETURN(result->copy_, result->store_.in_layout(wanted));
  return result;
}

Result<const void*> DnnlAdaptedWeights::get(const void* packed, void* scratch) const {
  if (packed == packed_ && !owner_.expired()) return copy_;
  KILN_RETURN_IF_ERROR(dnnl_copy(store_.layout(), packed, wanted_, scratch));
  return static_cast<const void*>(scratch);
}

}  // namespace kiln

// What the oneDNN steps share when they bind: operands as oneDNN sees them, checked, because plans
// also come from files.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "backends/cpu/runtime/dnnl_packed_weights.h"
#include "backends/cpu/runtime/dnnl_step_params.h"
#include "runtime/step.h"

namespace kiln {

// The view as a tensor. K3221 when it is packed, empty, of another dtype, or steps backwards.
Result<DnnlTensor> dnnl_operand(const ConcreteView& view, DType dtype);
// Is the dtype one that the oneDNN steps have (f32, bf16, f16)? K3221.
Status check_dnnl_dtype(DType dtype);
// A dense vector of `channels`; K3221.
Status check_dnnl_bias(const ConcreteView& view, DType dtype, int64_t channels);
// The post-ops with their tensors, which are the inputs from `first` on; K3221 when their number
// is another. Dims that a view repeats (stride 0) become broadcast ones.
Result<std::vector<DnnlPostOp>> dnnl_bind_post_ops(const std::vector<DnnlPostOpParams>& params,
                                                   const BindContext& context, size_t first,
                                                   DType dtype);
// The one output of a packing step is packed bytes; K3221.
Status check_packed_output(const BindContext& context);
// Packed bytes of the format `pack` in `layout`; K3222.
Status check_packed_input(const ConcreteView& view, const Json& pack, const DnnlLayout& layout);

// Pointers of the post-op tensors, for a run.
class DnnlTensorPointers {
 public:
  DnnlTensorPointers(void* const* inputs, size_t first, size_t count) : count_(count) {
    for (size_t i = 0; i < count; ++i) pointers_[i] = inputs[first + i];
  }
  std::span<const void* const> span() const { return {pointers_.data(), count_}; }

 private:
  std::array<const void*, DnnlPrimitive::kMaxOperands> pointers_;
  size_t count_;
};

// Packed weights for a primitive that wants another layout. The copy is made when the step is
// bound. The weights may be replaced later, when the program's weights are updated: then they are
// copied at every run, until the step is bound again.
class DnnlAdaptedWeights {
 public:
  static Result<std::unique_ptr<DnnlAdaptedWeights>> make(const DnnlLayout& layout,
                                                          const ConstantData& packed,
                                                          const DnnlLayout& wanted);
  size_t scratch_bytes() const { return wanted_.bytes(); }
  // `packed` in the wanted layout. Thread-safe.
  Result<const void*> get(const void* packed, void* scratch) const;

 private:
  DnnlAdaptedWeights(const DnnlLayout& layout, const ConstantData& packed, DnnlLayout wanted)
      : store_(layout, packed.data),
        wanted_(std::move(wanted)),
        owner_(packed.owner),
        packed_(packed.data) {}

  DnnlPackedWeights store_;
  DnnlLayout wanted_;
  std::weak_ptr<void> owner_;  // alive: nothing else can be at packed_
  const void* packed_;
  const void* copy_ = nullptr;
};

// A size rounded up so that what follows in scratch memory is aligned.
constexpr size_t dnnl_aligned(size_t bytes) { return (bytes + 63) / 64 * 64; }

}  // namespace kiln

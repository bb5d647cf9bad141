// "copy": a strided copy between two views of one shape. No params.
#include "backends/cpu/kernels/copy.h"
#include "runtime/step.h"

namespace kiln {
namespace {

class BoundCopy : public BoundStep {
 public:
  explicit BoundCopy(const cpu::CopyParams& params) : plan_(params) {}
  Status run(const RunArgs& args) override {
    plan_.run(args.inputs[0], args.outputs[0]);
    return {};
  }
  bool can_fail() const override { return false; }
  std::string implementation() const override { return "kiln:copy"; }

 private:
  cpu::CopyPlan plan_;
};

class CopyStep : public Step {
 public:
  Result<std::unique_ptr<BoundStep>> bind(const BindContext& context) const override {
    const ConcreteView& source = context.inputs[0];
    const ConcreteView& target = context.outputs[0];
    if (source.dtype != target.dtype || source.dims != target.dims || source.packed != nullptr ||
        target.packed != nullptr) {
      return Status::error("K3230", "copy between tensors of different dtype or shape");
    }
    cpu::CopyParams params;
    params.element_bytes = static_cast<int>(dtype_bytes(source.dtype));
    params.rank = source.rank();
    if (params.rank > cpu::kMaxRank) return Status::error("K3230", "copy has too many dims");
    for (size_t i = 0; i < source.dims.size(); ++i) {
      params.sizes[i] = source.dims[i];
      params.src_strides[i] = source.strides[i];
      params.dst_strides[i] = target.strides[i];
    }
    KILN_RETURN_IF_ERROR(params.validate());
    return std::unique_ptr<BoundStep>(new BoundCopy(params));
  }
};

Result<std::unique_ptr<Step>> make_copy(const StepDesc& desc, const StepEnvironment&) {
  if (desc.inputs.size() != 1 || desc.outputs.size() != 1) {
    return Status::error("K3230", "copy takes one input and one output");
  }
  return std::unique_ptr<Step>(new CopyStep());
}

KILN_STEP(copy, "copy", make_copy);

}  // namespace
}  // namespace kiln

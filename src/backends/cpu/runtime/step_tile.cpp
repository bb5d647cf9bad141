// "tile": a tile program on the SIMD virtual machine.
//
// params: code (text of runtime/tile_code.h), extents (sizes of the domain), accesses (per memory
// statement: offset, strides, and for gathers the axes), all expressions over the symbols. Inputs
// and outputs are the operands; accesses count from an operand's first element and must stay in the
// rest of its slot.
#include <algorithm>

#include "backends/cpu/kernels/tile_vm.h"
#include "runtime/step.h"
#include "runtime/tile_code.h"
#include "runtime/tile_params.h"

namespace kiln {
namespace {

class BoundTile : public BoundStep {
 public:
  BoundTile(std::unique_ptr<cpu::TileKernel> kernel, int threads, bool can_fail)
      : kernel_(std::move(kernel)), threads_(threads), can_fail_(can_fail) {}

  size_t scratch_bytes() const override { return kernel_->scratch_bytes(threads_); }
  Status run(const RunArgs& args) override {
    return kernel_->run(args.inputs, args.outputs, args.scratch, threads_);
  }
  bool can_fail() const override { return can_fail_; }
  std::string implementation() const override { return "kiln:tile " + kernel_->describe(); }

 private:
  std::unique_ptr<cpu::TileKernel> kernel_;
  int threads_;
  bool can_fail_;
};

class TileStep : public Step {
 public:
  explicit TileStep(TileParams params) : params_(std::move(params)) {}

  Result<std::unique_ptr<BoundStep>> bind(const BindContext& context) const override {
    KILN_ASSIGN_OR_RETURN(TileBinding binding, params_.bind(*context.symbols));
    const TileCode& code = params_.code;
    if (context.inputs.size() != code.inputs.size() ||
        context.outputs.size() != code.outputs.size()) {
      return Status::error("K3210", "tile program has another number of operands");
    }
    for (size_t i = 0; i < code.inputs.size(); ++i) {
      KILN_RETURN_IF_ERROR(check(context.inputs[i], code.inputs[i]));
      binding.input_elements.push_back(rest_of_slot(context.inputs[i]));
    }
    for (size_t i = 0; i < code.outputs.size(); ++i) {
      KILN_RETURN_IF_ERROR(check(context.outputs[i], code.outputs[i]));
      binding.output_elements.push_back(rest_of_slot(context.outputs[i]));
    }
    KILN_ASSIGN_OR_RETURN(auto kernel, cpu::TileKernel::bind(code, binding));
    return std::unique_ptr<BoundStep>(
        new BoundTile(std::move(kernel), context.threads, code.can_fail()));
  }

 private:
  static Status check(const ConcreteView& view, DType dtype) {
    if (view.dtype != dtype || view.packed != nullptr) {
      return Status::error("K3210", "operand of a tile program has another dtype: " +
                                        std::string(dtype_name(view.dtype)));
    }
    return {};
  }
  static int64_t rest_of_slot(const ConcreteView& view) {
    return std::max<int64_t>(view.slot_elements - view.offset, 0);
  }

  TileParams params_;
};

Result<std::unique_ptr<Step>> make_tile(const StepDesc& desc, const StepEnvironment&) {
  KILN_ASSIGN_OR_RETURN(TileParams params, TileParams::from_json(desc.params));
  return std::unique_ptr<Step>(new TileStep(std::move(params)));
}

KILN_STEP(tile, "tile", make_tile);

}  // namespace
}  // namespace kiln

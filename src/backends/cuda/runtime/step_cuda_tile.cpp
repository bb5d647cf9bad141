// "cuda.tile": a tile program as a generated kernel (tile_kernel.h).
//
// params: kernel (of family "tile"), extents and accesses of the kernel's program as in runtime/
// tile_params.h. Inputs and outputs are the operands; accesses count from an operand's first
// element and must stay in the rest of its slot.
#include <algorithm>
#include <numeric>

#include "backends/cuda/runtime/kernel_sizes.h"
#include "backends/cuda/runtime/launch.h"
#include "backends/cuda/runtime/step_operands.h"
#include "backends/cuda/runtime/tile_kernel.h"
#include "runtime/step.h"
#include "runtime/tile_params.h"

namespace kiln::cuda {
namespace {

class TileStep : public Step {
 public:
  TileStep(StepKernel step_kernel, TileKernel kernel, TileParams params)
      : step_kernel_(std::move(step_kernel)),
        kernel_(std::move(kernel)),
        params_(std::move(params)) {}

  Result<std::unique_ptr<BoundStep>> bind(const BindContext& context) const override {
    KILN_ASSIGN_OR_RETURN(TileBinding binding, params_.bind(*context.symbols));
    const TileCode& code = kernel_.code;
    if (context.inputs.size() != code.inputs.size() ||
        context.outputs.size() != code.outputs.size()) {
      return Status::error("K3212", "tile kernel has another number of operands");
    }
    std::vector<int64_t> alignments;
    const auto add = [&](const ConcreteView& view, DType dtype, std::vector<int64_t>* sizes) {
      if (view.dtype != dtype || view.packed != nullptr) {
        return Status::error("K3212", "operand of a tile kernel has another dtype: " +
                                          std::string(dtype_name(view.dtype)));
      }
      sizes->push_back(std::max<int64_t>(view.slot_elements - view.offset, 0));
      alignments.push_back(alignment_of(view));
      return Status();
    };
    for (size_t i = 0; i < code.inputs.size(); ++i) {
      KILN_RETURN_IF_ERROR(add(context.inputs[i], code.inputs[i], &binding.input_elements));
    }
    for (size_t i = 0; i < code.outputs.size(); ++i) {
      KILN_RETURN_IF_ERROR(add(context.outputs[i], code.outputs[i], &binding.output_elements));
    }
    KILN_RETURN_IF_ERROR(check_binding(kernel_, binding, alignments));

    std::vector<Argument> arguments;
    for (size_t i = 0; i < code.inputs.size(); ++i) {
      arguments.push_back(Argument::input(static_cast<int>(i)));
    }
    for (size_t i = 0; i < code.outputs.size(); ++i) {
      arguments.push_back(Argument::output(static_cast<int>(i)));
    }
    if (kernel_.may_fault()) arguments.push_back(Argument::fault(*step_kernel_.code));
    for (const Argument& size : size_arguments(kernel_, binding)) arguments.push_back(size);
    const Launch launch = launch_blocks(step_kernel_, block_count(kernel_, binding),
                                        std::move(arguments), kernel_.schedule.threads);
    return bind_launch(step_kernel_, launch, context, "kiln:tile " + kernel_.name);
  }

 private:
  StepKernel step_kernel_;
  TileKernel kernel_;
  TileParams params_;
};

Result<std::unique_ptr<Step>> make_tile(const StepDesc& desc, const StepEnvironment& environment) {
  KILN_ASSIGN_OR_RETURN(StepKernel step_kernel_found, step_kernel(desc, environment, "tile"));
  KILN_ASSIGN_OR_RETURN(TileKernel kernel, TileKernel::from_json(*step_kernel_found.params));
  KILN_ASSIGN_OR_RETURN(TileParams params, TileParams::places_from_json(desc.params, kernel.code));
  if (params.extents.size() != kernel.extents.size() ||
      params.accesses.size() != kernel.accesses.size()) {
    return Status::error("K3212", "tile step does not fit its kernel");
  }
  for (size_t i = 0; i < params.accesses.size(); ++i) {
    if (params.accesses[i].strides.size() != kernel.accesses[i].strides.size() ||
        params.accesses[i].axes.size() != kernel.accesses[i].axes.size()) {
      return Status::error("K3212", "tile step does not fit its kernel");
    }
  }
  return std::unique_ptr<Step>(
      new TileStep(std::move(step_kernel_found), std::move(kernel), std::move(params)));
}

KILN_STEP(cuda_tile, "cuda.tile", make_tile);

}  // namespace
}  // namespace kiln::cuda

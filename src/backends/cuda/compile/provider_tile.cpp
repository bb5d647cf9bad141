// Tile programs: elementwise ops, reductions and norms as generated kernels.
#include <algorithm>
#include <numeric>
#include <optional>
#include <utility>

#include "backends/cuda/compile/cuda_backend.h"
#include "backends/cuda/compile/tile_form.h"
#include "backends/cuda/compile/tile_schedule.h"
#include "backends/cuda/compile/tile_split.h"
#include "core/dtype.h"
#include "fusion/engine_lowering.h"
#include "fusion/outline.h"
#include "fusion/tile_builder.h"
#include "ir/op_def.h"

namespace kiln::cuda {
namespace {

// "add+relu" of f16 results: "add_relu_f16".
std::string kernel_name(const std::string& label, const TileCode& code) {
  std::string name;
  for (char c : label) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    const bool letter = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    if (letter) {
      name += c;
    } else if (!name.empty() && name.back() != '_') {
      name += '_';
    }
  }
  name.resize(std::min<size_t>(name.size(), 60));
  while (!name.empty() && name.back() == '_') name.pop_back();
  if (name.empty() || (name[0] >= '0' && name[0] <= '9')) name = "tile_" + name;
  if (!code.outputs.empty()) name += "_" + std::string(dtype_name(code.outputs[0]));
  return name;
}

// Every address is a multiple of 16 bytes but for the view's offset (runtime/device_runtime.h).
int64_t alignment_of(const PlanView& view, DType dtype) {
  return std::gcd(int64_t{16},
                  known_divisor(view.offset) * static_cast<int64_t>(dtype_bytes(dtype)));
}

class TileTactic : public Tactic {
 public:
  explicit TileTactic(const DeviceSpec& device) : device_(device) {}
  std::string name() const override { return "tile"; }

  Status lower(Node& node, EngineLowering& lowering) override {
    Graph& body = *node.bodies[0];
    TilePlaces places;
    const std::string label = label_of(body);
    StepDesc step{"cuda.tile", {}, {}, Json::object(), node.origin.to_string(), label};
    // The loop order is the memory order of the widest result.
    const TileDomain domain = domain_of(body);
    for (Value* output : body.outputs()) {
      if (output->shape() == domain.full) places.order = output->tensor().layout.order;
    }
    TileSurroundings around;
    around.device = &device_;
    around.symbols = &lowering.symbols();
    for (Value* operand : node.operands()) {
      places.inputs.push_back(lowering.view(operand));
      step.inputs.push_back(places.inputs.back());
      around.alignments.push_back(alignment_of(places.inputs.back(), operand->dtype()));
    }
    for (int i = 0; i < node.num_results(); ++i) {
      places.outputs.push_back(lowering.allocate(node.result(i)));
      step.outputs.push_back(places.outputs.back());
      around.alignments.push_back(alignment_of(places.outputs.back(), node.result(i)->dtype()));
    }
    for (size_t i = 0; i < step.inputs.size(); ++i) {
      if (std::any_of(step.outputs.begin(), step.outputs.end(),
                      [&](const PlanView& output) { return output.slot == step.inputs[i].slot; })) {
        around.in_place.push_back(static_cast<int>(i));
      }
    }
    KILN_ASSIGN_OR_RETURN(const TileProgram program, build_tile_program(body, places));
    TileParams form = canonical_form(program);
    const std::string kernel = kernel_name(label, form.code);
    if (std::optional<SplitTile> split = split_reduction(form, device_)) {
      return lower_split(std::move(*split), std::move(step), std::move(around), kernel, lowering);
    }
    return emit(std::move(form), std::move(step), around, kernel, lowering);
  }

 private:
  static Status emit(TileParams form, StepDesc step, const TileSurroundings& around,
                     const std::string& name, EngineLowering& lowering) {
    KILN_ASSIGN_OR_RETURN(const TileKernel kernel, make_tile_kernel(form, around, name));
    step.params.set("kernel", lowering.kernel({"tile", kernel.to_json()}));
    form.places_to_json(step.params);
    lowering.emit(std::move(step));
    return {};
  }

  static Status lower_split(SplitTile split, StepDesc step, TileSurroundings around,
                            const std::string& name, EngineLowering& lowering) {
    StepDesc first = step;
    first.outputs.clear();
    TileSurroundings around_first = around;
    around_first.alignments.resize(step.inputs.size());
    around_first.in_place.clear();
    std::vector<int64_t> partial_alignments;
    for (DType dtype : split.partial_types) {
      const PlanView partial = lowering.allocate_temp(dtype, {split.partial_elements});
      first.outputs.push_back(partial);
      step.inputs.push_back(partial);
      around_first.alignments.push_back(16);
      partial_alignments.push_back(16);
    }
    around.alignments.insert(
        around.alignments.begin() + static_cast<std::ptrdiff_t>(first.inputs.size()),
        partial_alignments.begin(), partial_alignments.end());
    KILN_RETURN_IF_ERROR(emit(canonical_form(split.first), std::move(first), around_first,
                              "part_of_" + name, lowering));
    return emit(canonical_form(split.second), std::move(step), around, name, lowering);
  }

  DeviceSpec device_;
};

class TileProvider : public KernelProvider {
 public:
  std::string_view name() const override { return "cuda.tile"; }

  void candidates(Node& node, const DeviceSpec& device, Candidates& out) override {
    const bool ours = node.is("fused") ? node.get_string("kind") == "tile"
                                       // Asked about single nodes before fusions are formed.
                                       : is_tileable(node);
    if (ours) out.tactics.push_back(std::make_unique<TileTactic>(device));
  }
};

}  // namespace

std::unique_ptr<KernelProvider> make_tile_provider() { return std::make_unique<TileProvider>(); }

}  // namespace kiln::cuda

// Tile programs: elementwise ops, reductions and norms on the SIMD virtual machine.
#include "backends/cpu/compile/cpu_backend.h"
#include "fusion/engine_lowering.h"
#include "fusion/outline.h"
#include "fusion/tile_builder.h"
#include "ir/op_def.h"

namespace kiln {
namespace {

class TileTactic : public Tactic {
 public:
  std::string name() const override { return "tile"; }

  Status lower(Node& node, EngineLowering& lowering) override {
    Graph& body = *node.bodies[0];
    TilePlaces places;
    StepDesc step{"tile", {}, {}, {}, node.origin.to_string(), label_of(body)};
    // The loop order is the memory order of the widest result.
    const TileDomain domain = domain_of(body);
    for (Value* output : body.outputs()) {
      if (output->shape() == domain.full) places.order = output->tensor().layout.order;
    }
    for (Value* operand : node.operands()) {
      places.inputs.push_back(lowering.view(operand));
      step.inputs.push_back(places.inputs.back());
    }
    for (int i = 0; i < node.num_results(); ++i) {
      places.outputs.push_back(lowering.allocate(node.result(i)));
      step.outputs.push_back(places.outputs.back());
    }
    KILN_ASSIGN_OR_RETURN(TileProgram program, build_tile_program(body, places));
    step.params = program.to_json();
    lowering.emit(std::move(step));
    return {};
  }
};

class TileProvider : public KernelProvider {
 public:
  std::string_view name() const override { return "tile"; }

  void candidates(Node& node, const DeviceSpec&, Candidates& out) override {
    if (node.is("fused")) {
      if (node.get_string("kind") == "tile") out.tactics.push_back(std::make_unique<TileTactic>());
      return;
    }
    // Asked about single nodes before fusions are formed.
    if (is_tileable(node)) out.tactics.push_back(std::make_unique<TileTactic>());
  }
};

}  // namespace

std::unique_ptr<KernelProvider> make_tile_provider() { return std::make_unique<TileProvider>(); }

}  // namespace kiln

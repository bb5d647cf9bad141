// From a body of ordinary ops to a tile program.
#pragma once

#include <optional>
#include <vector>

#include "fusion/tile_domain.h"
#include "ir/graph.h"
#include "runtime/plan.h"
#include "tile/tile_program.h"

namespace kiln {

// Where the body's inputs and outputs lie. Offsets are relative to the operand's first element,
// that is: PlanView::offset is not part of the program.
struct TilePlaces {
  std::vector<PlanView> inputs;   // parallel to body.inputs()
  std::vector<PlanView> outputs;  // parallel to body.outputs()
  std::vector<int> order;         // memory order of values of the full shape; empty: logical
};

// The domain of a whole body: that of its first reduction or norm, else the shape of its outputs.
TileDomain domain_of(Graph& body);

// "add+relu+..." for reports: what the body computes.
std::string label_of(Graph& body);

// K2322 with the reason when some node or index map cannot be expressed.
Result<TileProgram> build_tile_program(Graph& body, const TilePlaces& places);

// One body's value at one index map becomes a register.
class TileEmitter {
 public:
  TileEmitter(const TileDomain& domain, const TilePlaces& places, Graph& body);

  int emit(Value* value, const IndexMap& map);  // -1 after fail()
  void store(int output, int reg, const IndexMap& map, DType dtype);
  TileProgram take() { return std::move(program_); }
  const Status& status() const { return status_; }
  int fail(std::string reason);

  // --- statements, for the lowering of single ops
  int unary(TileOp op, int a, std::array<double, 3> params = {});
  int binary(TileOp op, int a, int b);
  int select(int condition, int a, int b);
  int constant(double value, LaneType type);
  int integer(int64_t value, LaneType type);
  int iota(size_t domain_dim);
  int cast(int a, LaneType type);
  int round_to(int a, DType dtype);  // only where the dtype is narrower than its lanes
  // The result of a node: rounded to its dtype, unless storing it is all that follows.
  int finish(Node& node, int a);
  int reduce(TileOp op, int a);
  LaneType type(int reg) const { return program_.code.registers[static_cast<size_t>(reg)]; }
  int row_count(LaneType type);      // number of elements of a row, as a float
  // `index` as an i64 register. Fails for symbolic scales.
  int index_value(const AffineIndex& index);

  // Map of the operand of a reduction: result map plus the row dims at `axes`.
  IndexMap reduction_operand_map(Node& node, const IndexMap& result);
  // Does the map run over the domain's row exactly along these axes of the value?
  bool spans_row(const IndexMap& map, const std::vector<int64_t>& axes);
  const TileDomain& domain() const { return domain_; }
  size_t rank() const { return extents_.size(); }
  size_t first_row_dim() const { return extents_.size() - static_cast<size_t>(row_rank_); }

 private:
  int add(TileInstr instr, LaneType result);
  int emit_node(Node& node, const IndexMap& map);
  int load(int input, const IndexMap& map, DType dtype);

  const TileDomain& domain_;
  const TilePlaces& places_;
  Graph& body_;
  std::vector<DimExpr> extents_;
  int row_rank_ = 0;
  TileProgram program_;
  std::map<std::pair<Value*, std::string>, int> registers_;
  Status status_;
};

// Lowers one elementwise node whose operands are registers; false when the op is not known.
// tile_elementwise.cpp.
bool emit_elementwise(TileEmitter& emitter, Node& node, const std::vector<int>& operands, int* out);
bool is_tileable_elementwise(Node& node);

}  // namespace kiln

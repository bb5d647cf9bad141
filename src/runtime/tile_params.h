// Parameters of tile steps, whatever the backend: the program with its sizes as expressions.
#pragma once

#include <vector>

#include "base/json.h"
#include "core/dim.h"
#include "runtime/tile_code.h"

namespace kiln {

struct TileParams {
  struct Axis {
    DimExpr size, stride;
  };
  struct Access {
    DimExpr offset;
    std::vector<DimExpr> strides;
    std::vector<Axis> axes;
  };
  TileCode code;
  std::vector<DimExpr> extents;
  std::vector<Access> accesses;

  Json to_json() const;
  // K3211 when malformed; the code is verified.
  static Result<TileParams> from_json(const Json& json);
  // Everything but the code, for steps that keep it elsewhere.
  void places_to_json(Json& json) const;
  static Result<TileParams> places_from_json(const Json& json, TileCode code);
  // Everything but the operand sizes.
  Result<TileBinding> bind(const SymbolValues& symbols) const;
};

}  // namespace kiln

#include "runtime/tile_params.h"

namespace kiln {
namespace {

Json expr(const DimExpr& value) {
  return value.is_constant() ? Json(static_cast<long>(value.value())) : Json(value.to_string());
}

Json exprs(const std::vector<DimExpr>& values) {
  Json::Array array;
  for (const DimExpr& value : values) array.push_back(expr(value));
  return Json(std::move(array));
}

Status bad() { return Status::error("K3211", "parameters of a tile step are malformed"); }

Result<DimExpr> expr_from(const Json& json) {
  if (json.is_int()) return DimExpr(json.as_int());
  if (json.is_string()) return DimExpr::parse(json.as_string());
  return bad();
}

Result<std::vector<DimExpr>> exprs_from(const Json& json) {
  if (!json.is_array()) return bad();
  std::vector<DimExpr> result;
  for (const Json& item : json.as_array()) {
    KILN_ASSIGN_OR_RETURN(DimExpr value, expr_from(item));
    result.push_back(std::move(value));
  }
  return result;
}

}  // namespace

Json TileParams::to_json() const {
  Json json = Json::object();
  json.set("code", print_tile_code(code));
  places_to_json(json);
  return json;
}

void TileParams::places_to_json(Json& json) const {
  json.set("extents", exprs(extents));
  Json::Array list;
  for (const Access& access : accesses) {
    Json::Array entry{expr(access.offset), exprs(access.strides)};
    if (!access.axes.empty()) {
      Json::Array axes;
      for (const Axis& axis : access.axes) {
        axes.push_back(Json(Json::Array{expr(axis.size), expr(axis.stride)}));
      }
      entry.push_back(Json(std::move(axes)));
    }
    list.push_back(Json(std::move(entry)));
  }
  json.set("accesses", std::move(list));
}

Result<TileParams> TileParams::from_json(const Json& json) {
  KILN_ASSIGN_OR_RETURN(const std::string text, json.string_at("code"));
  KILN_ASSIGN_OR_RETURN(TileCode code, parse_tile_code(text));
  return places_from_json(json, std::move(code));
}

Result<TileParams> TileParams::places_from_json(const Json& json, TileCode code) {
  TileParams params;
  params.code = std::move(code);
  KILN_ASSIGN_OR_RETURN(const Json* extents, json.member("extents"));
  KILN_ASSIGN_OR_RETURN(params.extents, exprs_from(*extents));
  KILN_ASSIGN_OR_RETURN(const Json::Array* accesses, json.array_at("accesses"));
  for (const Json& entry : *accesses) {
    if (!entry.is_array() || entry.size() < 2 || entry.size() > 3) return bad();
    Access access;
    KILN_ASSIGN_OR_RETURN(access.offset, expr_from(entry[0]));
    KILN_ASSIGN_OR_RETURN(access.strides, exprs_from(entry[1]));
    if (entry.size() == 3) {
      if (!entry[2].is_array()) return bad();
      for (const Json& axis : entry[2].as_array()) {
        if (!axis.is_array() || axis.size() != 2) return bad();
        Axis parsed;
        KILN_ASSIGN_OR_RETURN(parsed.size, expr_from(axis[0]));
        KILN_ASSIGN_OR_RETURN(parsed.stride, expr_from(axis[1]));
        access.axes.push_back(std::move(parsed));
      }
    }
    params.accesses.push_back(std::move(access));
  }
  return params;
}

Result<TileBinding> TileParams::bind(const SymbolValues& symbols) const {
  TileBinding binding;
  KILN_ASSIGN_OR_RETURN(binding.extents, evaluate(extents, symbols));
  for (const Access& access : accesses) {
    TileAccess concrete;
    KILN_ASSIGN_OR_RETURN(concrete.offset, access.offset.evaluate(symbols));
    KILN_ASSIGN_OR_RETURN(concrete.strides, evaluate(access.strides, symbols));
    for (const Axis& axis : access.axes) {
      TileGatherAxis values;
      KILN_ASSIGN_OR_RETURN(values.size, axis.size.evaluate(symbols));
      KILN_ASSIGN_OR_RETURN(values.stride, axis.stride.evaluate(symbols));
      concrete.axes.push_back(values);
    }
    binding.accesses.push_back(std::move(concrete));
  }
  return binding;
}

}  // namespace kiln

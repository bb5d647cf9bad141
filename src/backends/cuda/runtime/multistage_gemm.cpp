#include "backends/cuda/runtime/multistage_gemm.h"

#include <algorithm>

#include "base/status.h"
#include "runtime/view_checks.h"

namespace kiln::cuda {
namespace {

// Of a block on any GPU.
constexpr int64_t kMaxShared = 227 << 10;

}  // namespace

const std::vector<GemmTiling>& gemm_tiles() {
  static const std::vector<GemmTiling> tiles = {
      {16, 64, 16, 16},  {16, 128, 16, 32}, {32, 64, 16, 32},  {32, 128, 32, 32},
      {64, 32, 32, 16},  {64, 64, 32, 32},  {64, 96, 32, 48},  {64, 128, 32, 64},
      {128, 32, 32, 32}, {128, 64, 64, 32}, {128, 96, 64, 48}, {128, 128, 64, 32},
  };
  return tiles;
}

bool is_valid(const GemmTiling& tiling) {
  const bool known = std::any_of(gemm_tiles().begin(), gemm_tiles().end(), [&](const auto& tile) {
    return tile.rows == tiling.rows && tile.columns == tiling.columns &&
           tile.warp_rows == tiling.warp_rows && tile.warp_columns == tiling.warp_columns;
  });
  if (!known || (tiling.depth != 32 && tiling.depth != 64)) return false;
  // A thread copies a piece of eight elements of each so many rows.
  const int64_t at_once = tiling.threads() / (tiling.depth / 8);
  return tiling.rows % at_once == 0 && tiling.columns % at_once == 0 && tiling.stages >= 2 &&
         tiling.stages <= 16 && tiling.split >= 1 && tiling.split <= MultistageGemm::kMaxSplit &&
         tiling.shared_bytes() <= kMaxShared;
}

GemmTiling with_fitting_stages(GemmTiling tiling, int64_t shared_bytes) {
  while (tiling.stages > 2 && tiling.shared_bytes() > shared_bytes) --tiling.stages;
  return tiling;
}

int64_t GemmTiling::shared_bytes() const {
  const int64_t of_stages = (rows + columns) * depth * 2 * stages;
  const int64_t of_sums = rows * (columns + 8) * 4;
  return std::max(of_stages, of_sums);
}

std::string GemmTiling::to_string() const {
  return std::to_string(rows) + "x" + std::to_string(columns) + "x" + std::to_string(depth) +
         " stages " + std::to_string(stages) + " split " + std::to_string(split);
}

Json MultistageGemm::to_json() const {
  Json json = Json::object();
  json.set("rows", tiling.rows);
  json.set("columns", tiling.columns);
  json.set("warp_rows", tiling.warp_rows);
  json.set("warp_columns", tiling.warp_columns);
  json.set("depth", tiling.depth);
  json.set("stages", tiling.stages);
  json.set("split", tiling.split);
  json.set("four", four);
  add_to(json);
  return json;
}

Result<MultistageGemm> MultistageGemm::from_json(const Json& params) {
  MultistageGemm kernel;
  GemmTiling& tiling = kernel.tiling;
  KILN_RETURN_IF_ERROR(kernel.read(params));
  KILN_ASSIGN_OR_RETURN(tiling.rows, params.int_at("rows", 16, 256));
  KILN_ASSIGN_OR_RETURN(tiling.columns, params.int_at("columns", 16, 256));
  KILN_ASSIGN_OR_RETURN(tiling.warp_rows, params.int_at("warp_rows", 16, 256));
  KILN_ASSIGN_OR_RETURN(tiling.warp_columns, params.int_at("warp_columns", 16, 256));
  KILN_ASSIGN_OR_RETURN(tiling.depth, params.int_at("depth", 32, 64));
  KILN_ASSIGN_OR_RETURN(tiling.stages, params.int_at("stages", 2, 16));
  KILN_ASSIGN_OR_RETURN(tiling.split, params.int_at("split", 1, kMaxSplit));
  KILN_ASSIGN_OR_RETURN(kernel.four, params.bool_at("four"));
  if (!kernel.is_valid() || !cuda::is_valid(tiling)) {
    return Status::error("K3212", "multistage_gemm kernel: parameters do not fit each other");
  }
  return kernel;
}

}  // namespace kiln::cuda

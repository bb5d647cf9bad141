#include "backends/cuda/runtime/warpgroup_gemm.h"

#include <algorithm>
#include <utility>

#include "backends/cuda/runtime/multistage_gemm.h"
#include "base/status.h"
#include "runtime/view_checks.h"

namespace kiln::cuda {
namespace {

constexpr std::string_view kName = "cuda.warpgroup_gemm";
constexpr int64_t kMaxShared = 227 << 10;  // of a block, on GPUs of compute capability 9.0

}  // namespace

std::vector<WarpgroupTiling> warpgroup_tilings(bool add) {
  std::vector<WarpgroupTiling> tilings = {
      {1, 192, 2, true, 5}, {1, 192, 3, false, 4}, {1, 128, 2, true, 6},
      {1, 64, 2, true, 8},  {1, 256, 2, false, 4}, {1, 192, 2, false, 5},
  };
  for (WarpgroupTiling& tiling : tilings) {
    while (tiling.shared_bytes(add) > kMaxShared) --tiling.stages;
  }
  return tilings;
}

int64_t WarpgroupTiling::shared_bytes(bool add) const {
  const int64_t of_stages = stages * (rows() + columns) * WarpgroupGemm::kDepth * 2;
  // Groups of 16 x 64: results, and addends of one or two to come.
  const int64_t groups = 1 + (!add ? 0 : row_blocks * columns > 64 ? 2 : 1);
  const int64_t of_warps = consumers * 4 * (groups * 16 * 128 + columns * 2 * (overlap ? 2 : 1));
  const int64_t of_barriers = stages * 16;
  return 1024 + of_stages + of_warps + of_barriers;  // stages begin at multiples of 1024
}

std::string WarpgroupTiling::to_string() const {
  return std::to_string(rows()) + "x" + std::to_string(columns) + " stages " +
         std::to_string(stages) + (overlap ? " overlap" : "");
}

Json WarpgroupGemm::to_json() const {
  Json json = Json::object();
  json.set("row_blocks", tiling.row_blocks);
  json.set("columns", tiling.columns);
  json.set("consumers", tiling.consumers);
  json.set("overlap", tiling.overlap);
  json.set("stages", tiling.stages);
  add_to(json);
  return json;
}

Result<WarpgroupGemm> WarpgroupGemm::from_json(const Json& params) {
  WarpgroupGemm kernel;
  WarpgroupTiling& tiling = kernel.tiling;
  KILN_RETURN_IF_ERROR(kernel.read(params));
  KILN_ASSIGN_OR_RETURN(tiling.row_blocks, params.int_at("row_blocks", 1, 2));
  KILN_ASSIGN_OR_RETURN(tiling.columns, params.int_at("columns", 64, 256));
  KILN_ASSIGN_OR_RETURN(tiling.consumers, params.int_at("consumers", 2, 3));
  KILN_ASSIGN_OR_RETURN(tiling.overlap, params.bool_at("overlap"));
  KILN_ASSIGN_OR_RETURN(tiling.stages, params.int_at("stages", 2, 8));
  // Of a thread, in registers.
  const int64_t sums = tiling.row_blocks * tiling.columns / 2 * (tiling.overlap ? 2 : 1);
  if (!kernel.is_valid() || tiling.columns % 64 != 0 ||
      sums > (tiling.consumers == 2 ? 192 : 128) || tiling.rows() > 256 ||
      tiling.shared_bytes(kernel.add) > kMaxShared) {
    return Status::error("K3212", "warpgroup_gemm kernel: parameters do not fit each other");
  }
  return kernel;
}

Result<std::unique_ptr<BoundStep>> bind_warpgroup_gemm(const StepKernel& kernel,
                                                       const WarpgroupGemm& params,
                                                       const BindContext& context,
                                                       int64_t multiprocessors) {
  const WarpgroupTiling& tiling = params.tiling;
  const ConcreteView &a = context.inputs[0], &b = context.inputs[1], &c = context.outputs[0];
  const ConcreteView* bias = params.bias ? &context.inputs[2] : nullptr;
  const ConcreteView* d = params.add ? &context.inputs[params.bias ? 3 : 2] : nullptr;
  std::vector<const ConcreteView*> views{&a, &b, &c};
  if (bias != nullptr) views.push_back(bias);
  if (d != nullptr) views.push_back(d);
  for (const ConcreteView* view : views) {
    KILN_RETURN_IF_ERROR(check_dtype(kName, *view, params.dtype));
    KILN_RETURN_IF_ERROR(check_narrow(params.wide, {view}));
  }
  KILN_ASSIGN_OR_RETURN(const NamedSizes<int64_t> sizes,
                        multistage_gemm_sizes(a, b, bias, d, c));
  const int64_t m = c.dims[0], n = c.dims[1], k = a.dims[1];
  // A row of one element alone may have any stride; maps have one for all.
  const int64_t a_row = m == 1 ? k : a.strides[0], b_row = n == 1 ? k : b.strides[1];
  const bool fits = takes_width(a, 1, 8) && takes_width(b, 0, 8) && takes_width(c, 1, 8) &&
                    (bias == nullptr || takes_width(*bias, 0, 8)) &&
                    (d == nullptr || takes_width(*d, 1, 8)) && a_row >= k && b_row >= k;
  if (!fits || m > INT32_MAX || n > INT32_MAX || k > INT32_MAX) {
    return Status::error("K3212", "warpgroup_gemm kernel: operands do not lie as it needs them");
  }
  std::vector<Argument> arguments{Argument::input(0), Argument::input(1)};
  arguments[0].matrix = 0;
  arguments[1].matrix = 1;
  for (size_t i = 2; i < context.inputs.size(); ++i) {
    arguments.push_back(Argument::input(static_cast<int>(i)));
  }
  arguments.push_back(Argument::output(0));
  KILN_RETURN_IF_ERROR(params.sizes.bind(sizes, &arguments));
  const int64_t tiles = ceil_div(m, tiling.rows()) * ceil_div(n, tiling.columns);
  const int64_t blocks = std::min(tiles, std::max<int64_t>(multiprocessors, 1));
  Launch launch =
      launch_blocks(kernel, blocks, std::move(arguments), tiling.threads());
  launch.shared_bytes = tiling.shared_bytes(params.add);
  const auto matrix = [&](int64_t rows, int64_t by_row, int64_t box_rows) {
    return MatrixMap{params.dtype, rows, k, by_row * 2, box_rows, WarpgroupGemm::kDepth};
  };
  launch.matrices = {matrix(m, a_row, tiling.rows()), matrix(n, b_row, tiling.columns)};
  return bind_launch(kernel, std::move(launch), context,
                     "kiln:warpgroup_gemm " + tiling.to_string());
}

}  // namespace kiln::cuda

#include "backends/cuda/runtime/warpgroup_gemm.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "backends/cuda/runtime/multistage_gemm.h"
#include "base/status.h"
#include "runtime/view_checks.h"

namespace kiln::cuda {
namespace {

constexpr std::string_view kName = "cuda.warpgroup_gemm";
constexpr int64_t kBufferRows = 16;  // by 64 columns
constexpr int64_t kMaxShared = 227 << 10;  // of a block, on GPUs of compute capability 9.0

}  // namespace

const std::vector<WarpgroupTiling>& warpgroup_tilings() {
  static const std::vector<WarpgroupTiling> tilings = {
      {1, 192, 2, false, 4, 3}, {1, 192, 3, false, 3, 3}, {1, 128, 3, false, 4, 2},
      {1, 256, 2, false, 3, 4}, {1, 128, 2, false, 5, 2}, {1, 64, 2, false, 8, 1},
      {1, 128, 2, true, 7, 2},
  };
  return tilings;
}

int64_t WarpgroupTiling::shared_bytes() const {
  const int64_t of_stages = stages * (rows() + columns) * WarpgroupGemm::kDepth * 2;
  const int64_t of_warps = consumers * 4 * (buffers * kBufferRows * 128 + columns * 2);
  const int64_t of_barriers = stages * 16 + consumers * 8;
  return 1024 + of_stages + of_warps + of_barriers;  // stages begin at multiples of 1024
}

std::string WarpgroupTiling::to_string() const {
  return std::to_string(rows()) + "x" + std::to_string(columns) + " stages " +
         std::to_string(stages) + (turns ? " turns" : "");
}

Json WarpgroupGemm::to_json() const {
  Json json = Json::object();
  json.set("dtype", dtype_name(dtype));
  json.set("row_blocks", tiling.row_blocks);
  json.set("columns", tiling.columns);
  json.set("consumers", tiling.consumers);
  json.set("turns", tiling.turns);
  json.set("stages", tiling.stages);
  json.set("buffers", tiling.buffers);
  json.set("factor", alpha);
  json.set("bias", bias);
  json.set("add", add);
  activation.add_to(json);
  json.set("wide", wide);
  json.set("sizes", sizes.to_json());
  return json;
}

Result<WarpgroupGemm> WarpgroupGemm::from_json(const Json& params) {
  WarpgroupGemm kernel;
  WarpgroupTiling& tiling = kernel.tiling;
  KILN_ASSIGN_OR_RETURN(kernel.dtype, kernel_dtype(params, "dtype"));
  KILN_ASSIGN_OR_RETURN(tiling.row_blocks, params.int_at("row_blocks", 1, 2));
  KILN_ASSIGN_OR_RETURN(tiling.columns, params.int_at("columns", 64, 256));
  KILN_ASSIGN_OR_RETURN(tiling.consumers, params.int_at("consumers", 2, 3));
  KILN_ASSIGN_OR_RETURN(tiling.turns, params.bool_at("turns"));
  KILN_ASSIGN_OR_RETURN(tiling.stages, params.int_at("stages", 2, 8));
  KILN_ASSIGN_OR_RETURN(tiling.buffers, params.int_at("buffers", 1, 8));
  KILN_ASSIGN_OR_RETURN(kernel.alpha, params.double_at("factor"));
  KILN_ASSIGN_OR_RETURN(kernel.bias, params.bool_at("bias"));
  KILN_ASSIGN_OR_RETURN(kernel.add, params.bool_at("add"));
  KILN_ASSIGN_OR_RETURN(kernel.activation, KernelActivation::from_json(params));
  KILN_ASSIGN_OR_RETURN(kernel.wide, params.bool_at("wide"));
  KILN_ASSIGN_OR_RETURN(kernel.sizes, KernelSizes::from_json(params));
  const bool half = kernel.dtype == DType::kF16 || kernel.dtype == DType::kBF16;
  const int64_t sums = tiling.row_blocks * tiling.columns / 2;  // of a thread, in registers
  if (!half || tiling.columns % 64 != 0 || sums > (tiling.consumers == 2 ? 192 : 96) ||
      tiling.rows() > 256 || tiling.shared_bytes() > kMaxShared || !std::isfinite(kernel.alpha)) {
    return Status::error("K3212", "warpgroup_gemm kernel: parameters do not fit each other");
  }
  return kernel;
}

double warpgroup_gemm_clocks(const WarpgroupTiling& tiling, int64_t m, int64_t n, int64_t k,
                             int64_t multiprocessors) {
  const int64_t tiles = ceil_div(m, tiling.rows()) * ceil_div(n, tiling.columns);
  const int64_t rounds = ceil_div(tiles, multiprocessors);
  // Of a tile: a multiprocessor's 1024 products of 16-bit numbers in a clock, the smaller tiles'
  // copies; of all: the first copies, the last results.
  const double products = static_cast<double>(tiling.rows() * tiling.columns) *
                          static_cast<double>(ceil_div(k, WarpgroupGemm::kDepth)) *
                          static_cast<double>(WarpgroupGemm::kDepth) / 1024;
  const double copies = static_cast<double>(tiling.rows() + tiling.columns) *
                        static_cast<double>(k) * 2 / 48;
  const double results = static_cast<double>(tiling.rows() * tiling.columns) / 16;
  const double once = 2000 + (tiling.turns ? results * 2 : results);
  return static_cast<double>(rounds) *
             (std::max(products, copies) + (tiling.turns ? 0 : results)) +
         once;
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
  const int64_t c_row = m == 1 ? n : c.strides[0];
  const bool fits = takes_width(a, 1, 8) && takes_width(b, 0, 8) && takes_width(c, 1, 8) &&
                    (bias == nullptr || takes_width(*bias, 0, 8)) &&
                    (d == nullptr || takes_width(*d, 1, 8)) && a_row >= k && b_row >= k && c_row >= n;
  if (!fits || k == 0 || m > INT32_MAX || n > INT32_MAX || k > INT32_MAX) {
    return Status::error("K3212", "warpgroup_gemm kernel: operands do not lie as it needs them");
  }
  std::vector<Argument> arguments{Argument::input(0), Argument::input(1), Argument::output(0)};
  for (int i = 0; i < 3; ++i) arguments[static_cast<size_t>(i)].matrix = i;
  for (size_t i = 2; i < context.inputs.size(); ++i) {
    arguments.push_back(Argument::input(static_cast<int>(i)));
  }
  KILN_RETURN_IF_ERROR(params.sizes.bind(sizes, &arguments));
  const int64_t tiles = ceil_div(m, tiling.rows()) * ceil_div(n, tiling.columns);
  const int64_t units = std::min(tiles, std::max<int64_t>(multiprocessors / tiling.buffers, 1));
  Launch launch =
      launch_blocks(kernel, units * tiling.buffers, std::move(arguments), tiling.threads());
  launch.shared_bytes = tiling.shared_bytes();
  const auto matrix = [&](int64_t rows, int64_t columns, int64_t by_row, int64_t box_rows) {
    return MatrixMap{params.dtype, rows, columns, by_row * 2, box_rows, WarpgroupGemm::kDepth};
  };
  launch.matrices = {matrix(m, k, a_row, tiling.rows()), matrix(n, k, b_row, tiling.columns),
                     matrix(m, n, c_row, kBufferRows)};
  return bind_launch(kernel, std::move(launch), context,
                     "kiln:warpgroup_gemm " + tiling.to_string());
}

}  // namespace kiln::cuda

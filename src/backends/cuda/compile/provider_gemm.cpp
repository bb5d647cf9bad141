// Matrix products and convolutions on Kiln's own kernels: what the libraries refuse, and everything
// where there is none.
#include <algorithm>
#include <utility>

#include "backends/cuda/compile/conv_operands.h"
#include "backends/cuda/compile/own_providers.h"
#include "backends/cuda/compile/plan_views.h"
#include "backends/cuda/runtime/conv_kernel.h"
#include "backends/cuda/runtime/gemm_kernel.h"
#include "backends/operand_views.h"
#include "backends/step_tactic.h"
#include "ops/window.h"

namespace kiln::cuda {
namespace {

// From here on tiles of 128 x 128 fill a GPU.
constexpr int64_t kManyBlocks = 100;

// 128 where the tiles are many enough; `rows`, `columns`, `products`: how large and how many.
int64_t tile_for(const DimExpr& rows, const DimExpr& columns, const DimExpr& products,
                 DType dtype) {
  if (!is_half(dtype) && dtype != DType::kF32) return 64;
  if (!rows.is_constant() || !columns.is_constant() || !products.is_constant()) return 64;
  const int64_t blocks = ceil_div(rows.value(), 128) * ceil_div(columns.value(), 128);
  return blocks * products.value() >= kManyBlocks ? 128 : 64;
}

Status emit_gemm(StepDesc step, DType dtype, EngineLowering& lowering) {
  const PlanView& a = step.inputs[0];
  const PlanView& b = step.inputs[1];
  const PlanView& c = step.outputs[0];
  const PlanView* bias = step.inputs.size() == 3 ? &step.inputs[2] : nullptr;
  const size_t ra = a.dims.size(), rb = b.dims.size(), rc = c.dims.size();
  GemmKernel kernel;
  kernel.dtype = dtype;
  kernel.batch_rank = static_cast<int64_t>(rc - 2);
  kernel.bias = bias != nullptr;
  kernel.a_along = a.strides[ra - 1].is_value(1);
  kernel.b_along = b.strides[rb - 2].is_value(1);
  kernel.wide = !all_narrow({&a, &b, bias, &c}, lowering.symbols());
  const DimExpr& m = c.dims[rc - 2];
  const DimExpr& n = c.dims[rc - 1];
  const Shape batch(c.dims.begin(), c.dims.end() - 2);
  if (m.is_constant() && m.value() <= GemmKernel::kFewRows && kernel.b_along) {
    kernel.form = GemmKernel::Form::kRows;
    kernel.tile = 16 / static_cast<int64_t>(dtype_bytes(dtype));
    while (!takes_width(a, ra - 1, kernel.tile) || !takes_width(b, rb - 2, kernel.tile)) {
      kernel.tile /= 2;
    }
  } else {
    const bool half = is_half(dtype);
    kernel.form = half ? GemmKernel::Form::kMatrix : GemmKernel::Form::kSimt;
    kernel.tile = tile_for(m, n, num_elements(batch), dtype);
    kernel.a_eight = half && takes_width(a, ra - 1, 8);
    kernel.b_eight = half && takes_width(b, rb - 2, 8);
  }
  KILN_ASSIGN_OR_RETURN(const NamedSizes<DimExpr> sizes, gemm_sizes(a, b, bias, c));
  kernel.sizes = KernelSizes(sizes);
  step.params.set("kernel", lowering.kernel({GemmKernel::kFamily, kernel.to_json()}));
  lowering.emit(std::move(step));
  return {};
}

Status lower_linear(Node& node, EngineLowering& lowering) {
  StepDesc step = step_for(node, "cuda.gemm");
  const ProductViews views = linear_views(node, lowering);
  step.inputs = {views.a, views.b};
  if (node.has_operand(2)) step.inputs.push_back(lowering.view(node.operand(2)));
  step.outputs.push_back(views.c);
  return emit_gemm(std::move(step), node.result()->dtype(), lowering);
}

Status lower_matmul(Node& node, EngineLowering& lowering) {
  StepDesc step = step_for(node, "cuda.gemm");
  const ProductViews views = matmul_views(node, lowering);
  step.inputs = {views.a, views.b};
  step.outputs.push_back(views.c);
  return emit_gemm(std::move(step), node.result()->dtype(), lowering);
}

Status lower_conv(Node& node, EngineLowering& lowering) {
  const int rank = node.result()->tensor().rank();
  const bool deconvolves = node.is("conv_transpose");
  const PlanView source = lowering.view(node.operand(0));
  const bool channels = source.strides[1].is_value(1);
  std::vector<int> order;  // [out, spatial..., in]; transposed weights have their dims swapped
  if (channels) {
    order.push_back(deconvolves ? 1 : 0);
    for (int i = 2; i < rank; ++i) order.push_back(i);
    order.push_back(deconvolves ? 0 : 1);
  }
  StepDesc step = step_for(node, "cuda.conv");
  step.inputs = {source, conv_weight(node.operand(1), order, lowering)};
  if (node.has_operand(2)) step.inputs.push_back(lowering.view(node.operand(2)));
  step.outputs.push_back(lowering.allocate(node.result()));
  const PlanView& x = step.inputs[0];
  const PlanView& weight = step.inputs[1];
  const PlanView& y = step.outputs[0];
  const PlanView* bias = step.inputs.size() == 3 ? &step.inputs[2] : nullptr;
  const Window window = conv_window(node);
  ConvKernel kernel;
  kernel.dtype = node.result()->dtype();
  kernel.spatial = window.rank();
  kernel.transposed = deconvolves;
  kernel.groups = node.get_int("groups");
  kernel.window = kernel_window(window);
  kernel.bias = bias != nullptr;
  kernel.wide = conv_is_wide(window, x, weight, bias, y, lowering.symbols());
  const bool half = is_half(kernel.dtype);
  kernel.matrix = half;
  kernel.channels = channels;
  kernel.x_along = channels;
  kernel.x_eight = half && channels && conv_x_eight(x, kernel.groups);
  kernel.w_along = weight_along_depth(weight, kernel.transposed, kernel.channels);
  kernel.w_eight = half && kernel.w_along && conv_weight_eight(weight, kernel.transposed);
  DimExpr positions = y.dims[0];
  for (int i = 2; i < rank; ++i) positions *= y.dims[static_cast<size_t>(i)];
  kernel.tile =
      tile_for(positions, quotient(y.dims[1], kernel.groups), kernel.groups, kernel.dtype);
  KILN_ASSIGN_OR_RETURN(const NamedSizes<DimExpr> sizes,
                        conv_sizes(x, weight, bias, y, kernel.groups, kernel.transposed));
  kernel.sizes = KernelSizes(sizes);
  step.params.set("kernel", lowering.kernel({ConvKernel::kFamily, kernel.to_json()}));
  lowering.emit(std::move(step));
  return {};
}

class GemmProvider : public KernelProvider {
 public:
  std::string_view name() const override { return "cuda.gemm"; }

  void candidates(Node& node, const DeviceSpec&, Candidates& out) override {
    LowerFunction lower = nullptr;
    if (node.is("linear")) lower = lower_linear;
    if (node.is("matmul")) lower = lower_matmul;
    const bool conv = node.is("conv") || node.is("conv_transpose");
    if (conv) lower = lower_conv;
    if (lower == nullptr || (conv && is_depthwise(node))) return;
    const DType dtype = node.result()->dtype();
    if (dtype == DType::kBool || (conv && !is_float(dtype))) {
      out.refusals.push_back(
          {"cuda.gemm", "no kernel for dtype " + std::string(dtype_name(dtype))});
      return;
    }
    out.tactics.push_back(std::make_unique<StepTactic>(conv ? "conv" : "gemm", lower));
  }
};

}  // namespace

std::unique_ptr<KernelProvider> make_gemm_provider() { return std::make_unique<GemmProvider>(); }

}  // namespace kiln::cuda

// Moving elements: reorder, flip, roll, pad, scans, sorts, and sources that are no tile programs.
#include <cstring>
#include <utility>

#include "backends/cuda/compile/copy_kernel.h"
#include "backends/cuda/compile/own_providers.h"
#include "backends/cuda/compile/plan_views.h"
#include "backends/cuda/runtime/pad_kernel.h"
#include "backends/cuda/runtime/scan_kernel.h"
#include "backends/cuda/runtime/sort_kernel.h"
#include "backends/cuda/runtime/source_kernel.h"
#include "backends/movement_provider.h"
#include "core/host_tensor.h"

namespace kiln::cuda {

void emit_copy(const PlanView& from, const PlanView& to, DType dtype, const Origin& origin,
               std::string_view label, EngineLowering& lowering) {
  CopyLowering copy = lower_copy(from, to, dtype, lowering.symbols());
  StepDesc step{"cuda.copy",    {std::move(copy.from)}, {std::move(copy.to)},
                Json::object(), origin.to_string(),     std::string(label)};
  step.params.set("kernel", lowering.kernel(std::move(copy.kernel)));
  lowering.emit(std::move(step));
}

namespace {

Status lower_reorder(Node& node, EngineLowering& lowering) {
  const PlanView source = lowering.view(node.operand(0));
  const PlanView result = lowering.allocate(node.result());
  emit_copy(source, result, node.result()->dtype(), node.origin, node.op_name(), lowering);
  return {};
}

Status lower_flip(Node& node, EngineLowering& lowering) {
  const PlanView source = flipped(lowering.view(node.operand(0)), node.get_ints("axes"));
  const PlanView result = lowering.allocate(node.result());
  emit_copy(source, result, node.result()->dtype(), node.origin, "flip", lowering);
  return {};
}

Status emit_pad(Node& node, PadKernel::Mode mode, const std::vector<DimExpr>& low, double value,
                EngineLowering& lowering) {
  StepDesc step = step_for(node, "cuda.pad");
  step.inputs.push_back(lowering.view(node.operand(0)));
  step.outputs.push_back(lowering.allocate(node.result()));
  const PlanView& from = step.inputs[0];
  const PlanView& to = step.outputs[0];
  PadKernel kernel;
  kernel.mode = mode;
  kernel.order = memory_order(to);
  const DType dtype = node.result()->dtype();
  const int64_t element = static_cast<int64_t>(dtype_bytes(dtype));
  if (mode == PadKernel::Mode::kConstant) {
    HostTensor rounded(dtype, {});
    rounded.set_double(0, value);
    std::memcpy(&kernel.value, rounded.bytes(), rounded.num_bytes());
  }
  // Along a dim that is not padded elements can travel together.
  const size_t inner = kernel.inner();
  if (kernel.value == 0 && !low.empty() && low[inner].is_value(0) &&
      from.dims[inner] == to.dims[inner]) {
    for (int64_t width = 16 / element; width > 1 && kernel.width == 1; width /= 2) {
      if (takes_width(from, inner, width) && takes_width(to, inner, width)) kernel.width = width;
    }
  }
  kernel.bytes = element * kernel.width;
  // Along one that is padded, too, they can be written together.
  for (int64_t count = 16 / element; count > 1 && kernel.width == 1 && kernel.together == 1;
       count /= 2) {
    if (takes_width(to, inner, count)) kernel.together = count;
  }
  kernel.wide = !all_narrow({&from, &to}, lowering.symbols());
  for (const DimExpr& pad : low) {
    const DimRange range = pad.range(lowering.symbols());
    if (range.min < -kOffsetLimit || range.max > kOffsetLimit) kernel.wide = true;
  }
  kernel.sizes = KernelSizes(pad_sizes(widened(from, inner, kernel.width),
                                       widened(to, inner, kernel.width * kernel.together), low));
  step.params.set("low", dims_param(low));
  step.params.set("kernel", lowering.kernel({PadKernel::kFamily, kernel.to_json()}));
  lowering.emit(std::move(step));
  return {};
}

Status lower_roll(Node& node, EngineLowering& lowering) {
  std::vector<DimExpr> low(node.result()->shape().size());
  const std::vector<int64_t>& axes = node.get_ints("axes");
  for (size_t i = 0; i < axes.size(); ++i) {
    const auto axis = static_cast<size_t>(axes[i]);
    // Any shift means the same modulo the size.
    const DimExpr& size = node.result()->shape()[axis];
    const DimExpr& shift = node.get_dims("shifts")[i];
    low[axis] = size.is_value(0) ? DimExpr(0) : DimExpr::mod(shift, DimExpr::max(size, 1));
  }
  return emit_pad(node, PadKernel::Mode::kCircular, low, 0, lowering);
}

Status lower_pad(Node& node, EngineLowering& lowering) {
  const std::string& mode = node.get_string("mode");
  const PadKernel::Mode kind = mode == "reflect"     ? PadKernel::Mode::kReflect
                               : mode == "replicate" ? PadKernel::Mode::kReplicate
                               : mode == "circular"  ? PadKernel::Mode::kCircular
                                                     : PadKernel::Mode::kConstant;
  return emit_pad(node, kind, node.get_dims("low"), node.get_float("value"), lowering);
}

Status lower_scan(Node& node, EngineLowering& lowering) {
  StepDesc step = step_for(node, "cuda.scan");
  step.inputs.push_back(lowering.view(node.operand(0)));
  step.outputs.push_back(lowering.allocate(node.result()));
  const PlanView& from = step.inputs[0];
  const PlanView& to = step.outputs[0];
  ScanKernel kernel;
  kernel.dtype = node.result()->dtype();
  kernel.product = node.is("cumprod");
  kernel.axis = node.get_int("axis");
  kernel.order = memory_order(to);
  const auto axis = static_cast<size_t>(kernel.axis);
  constexpr int64_t kShort = 32;
  const DimExpr& length = to.dims[axis];
  kernel.rows = to.strides[axis].is_value(1) && !(length.is_constant() && length.value() <= kShort);
  kernel.wide = !all_narrow({&from, &to}, lowering.symbols());
  kernel.sizes = KernelSizes(scan_sizes(from, to));
  step.params.set("kernel", lowering.kernel({ScanKernel::kFamily, kernel.to_json()}));
  lowering.emit(std::move(step));
  return {};
}

Status lower_sort(Node& node, EngineLowering& lowering) {
  const bool topk = node.is("topk");
  StepDesc step = step_for(node, "cuda.sort");
  step.inputs.push_back(lowering.view(node.operand(0)));
  step.outputs = {lowering.allocate(node.result(0)), lowering.allocate(node.result(1))};
  const PlanView& from = step.inputs[0];
  SortKernel kernel;
  kernel.dtype = node.operand(0)->dtype();
  kernel.descending = node.get_bool(topk ? "largest" : "descending");
  kernel.axis = node.get_int("axis");
  kernel.order = memory_order(from);
  kernel.wide = !all_narrow({&from, &step.outputs[0], &step.outputs[1]}, lowering.symbols());
  const auto axis = static_cast<size_t>(kernel.axis);
  kernel.sizes = KernelSizes(sort_sizes(from, step.outputs[0], step.outputs[1], axis));
  const DimRange length = from.dims[axis].range(lowering.symbols());
  using Phase = SortKernel::Phase;
  for (const Phase phase : {Phase::kDirect, Phase::kChunks, Phase::kMerge, Phase::kOutput}) {
    const bool needed = phase == Phase::kDirect ? length.min <= SortKernel::kChunk
                                                : length.max > SortKernel::kChunk;
    if (!needed) continue;
    kernel.phase = phase;
    step.params.set(sort_phase_name(phase),
                    lowering.kernel({SortKernel::kFamily, kernel.to_json()}));
  }
  lowering.emit(std::move(step));
  return {};
}

Status lower_iota(Node& node, EngineLowering& lowering) {
  StepDesc step = step_for(node, "cuda.iota");
  step.outputs.push_back(lowering.allocate(node.result()));
  const DimExpr& start = node.get_dim("start");
  const DimExpr& distance = node.get_dim("step");
  IotaKernel kernel;
  kernel.dtype = node.result()->dtype();
  kernel.scale = node.get_float("scale");
  kernel.offset = node.get_float("offset");
  kernel.sizes =
      KernelSizes(iota_sizes(step.outputs[0].dims[0], step.outputs[0].strides[0], start, distance));
  step.params.set("start", start.to_string());
  step.params.set("step", distance.to_string());
  step.params.set("kernel", lowering.kernel({IotaKernel::kFamily, kernel.to_json()}));
  lowering.emit(std::move(step));
  return {};
}

Status lower_constant(Node& node, EngineLowering& lowering) {
  const auto& value = std::get<HostTensor>(node.attr("value"));
  std::string hex = hex_of(value);
  const PlanView result = lowering.allocate(node.result());
  if (value.num_bytes() <= LiteralKernel::kMaxBytes) {
    StepDesc step = step_for(node, "cuda.literal");
    step.outputs.push_back(result);
    LiteralKernel kernel;
    kernel.bytes = static_cast<int64_t>(dtype_bytes(value.dtype()));
    kernel.rank = static_cast<int64_t>(result.dims.size());
    kernel.hex = std::move(hex);
    kernel.wide = !all_narrow({&result}, lowering.symbols());
    kernel.sizes = KernelSizes(literal_sizes(result));
    step.params.set("kernel", lowering.kernel({LiteralKernel::kFamily, kernel.to_json()}));
    lowering.emit(std::move(step));
    return {};
  }
  StepDesc step = step_for(node, "cuda.host_literal");
  const bool direct = is_contiguous(result);
  step.outputs.push_back(direct ? result : lowering.allocate_temp(value.dtype(), result.dims));
  const PlanView dense = step.outputs[0];
  step.params.set("hex", std::move(hex));
  lowering.emit(std::move(step));
  if (!direct) emit_copy(dense, result, value.dtype(), node.origin, "constant", lowering);
  return {};
}

}  // namespace

std::unique_ptr<KernelProvider> make_movement_provider() {
  return kiln::make_movement_provider(
      "cuda.movement", {lower_reorder, lower_flip, lower_roll, lower_pad, lower_scan, lower_sort,
                        lower_iota, lower_constant});
}

}  // namespace kiln::cuda

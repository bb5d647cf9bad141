// reorder: the same tensor stored in another layout (or copied, when the layout stays). Only the
// layout pass makes it; everything before that pass is contiguous.
#include "ops/aten_args.h"
#include "ops/fields.h"
#include "ops/operand_checks.h"
#include "ops/sample_types.h"

namespace kiln {
namespace {

Result<std::vector<Type>> infer(const OpContext& ctx) {
  KILN_RETURN_IF_ERROR(check_tensor_operands(ctx));
  const std::string& text = ctx.get_string("layout");
  const std::optional<Layout> layout = Layout::from_string(text);
  if (!layout) return refuse(ctx, "K2205", "unknown layout: " + text);
  const TensorType& x = ctx.tensor(0);
  if (!layout->order.empty() && static_cast<int>(layout->order.size()) != x.rank())
    return refuse(ctx, "K2205",
                  "layout is for another rank: " + text + " for rank " + std::to_string(x.rank()));
  if (layout->block_axis >= x.rank())
    return refuse(ctx, "K2205", "blocked axis is out of range: " + text);
  Type type = tensor_like(ctx, 0, x.dtype, x.shape);
  type.tensor().layout = *layout;
  return std::vector<Type>{std::move(type)};
}

// HostTensors hold logical order, whatever the layout.
Status reference(const ReferenceContext& ctx) {
  ctx.out() = ctx.in(0);
  return {};
}

Result<std::vector<Value*>> to_aten(Node& node, AtenEmitter& aten) {
  const Layout& layout = node.result()->tensor().layout;
  const int rank = node.result()->tensor().rank();
  MemoryFormat format = MemoryFormat::kContiguous;
  if (!layout.is_contiguous()) {
    if ((rank != 4 && rank != 5) || !(layout == Layout::channels_last(rank)))
      return no_aten_form(node, "torch has no memory format " + layout.to_string());
    format = rank == 4 ? MemoryFormat::kChannelsLast : MemoryFormat::kChannelsLast3d;
  }
  return aten.call("aten::clone", "", {node.operand(0), format}, {node.result()->type});
}

std::vector<OpSample> samples() {
  std::vector<OpSample> samples;
  const auto add = [&](std::string why, DType dtype, Shape shape, std::string layout) {
    samples.push_back(make_sample(std::move(why), {tensor_of(dtype, std::move(shape))},
                                  {{"layout", std::move(layout)}}));
    samples.back().tolerance = 0;
  };
  for (DType dtype : {DType::kF32, DType::kF64, DType::kBF16, DType::kI8, DType::kI64})
    add("image to channels last, " + std::string(dtype_name(dtype)), dtype, {2, 3, 5, 7}, "nhwc");
  add("sequence to channels last", DType::kF32, {2, 3, 5}, "nwc");
  add("volume to channels last", DType::kF32, {2, 3, 2, 3, 5}, "ndhwc");
  add("transposed matrix", DType::kF32, {5, 7}, "order(1,0)");
  add("copy", DType::kF32, {3, 5}, "");
  add("rank 0", DType::kF32, {}, "");
  add("no elements", DType::kF32, {0, 3, 2, 2}, "nhwc");
  add("symbolic batch", DType::kF32, {DimExpr::symbol("s0"), 3, 4, 4}, "nhwc");
  return samples;
}

}  // namespace

KILN_OP(reorder) {
  OpDef def;
  def.formula = "y = x, stored as layout";
  def.traits = kView | kCheap;
  def.operand_names = {"x"};
  def.fields = {string_field("layout", "", "layout of the result as in types, empty: contiguous")};
  def.infer = infer;
  def.reference = reference;
  def.to_aten = to_aten;
  def.samples = samples;
  return def;
}

}  // namespace kiln

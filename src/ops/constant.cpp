// constant: a small tensor written into the program. Weights are not constants: they are arguments
// of the init graph.
#include "ops/aten_args.h"
#include "ops/fields.h"
#include "ops/operand_checks.h"
#include "ops/sample_types.h"
#include "ops/strided_walk.h"

namespace kiln {
namespace {

Result<std::vector<Type>> infer(const OpContext& ctx) {
  const auto& value = std::get<HostTensor>(ctx.attr("value"));
  Shape shape;
  for (int64_t extent : value.shape()) shape.emplace_back(extent);
  return std::vector<Type>{Type(value.dtype(), std::move(shape))};
}

Status reference(const ReferenceContext& ctx) {
  ctx.out() = std::get<HostTensor>(ctx.node->attr("value"));
  return {};
}

bool uniform(const HostTensor& value) {
  const size_t width = dtype_bytes(value.dtype());
  for (size_t i = width; i < value.num_bytes(); ++i) {
    if (value.bytes()[i] != value.bytes()[i - width]) return false;
  }
  return true;
}

// No ATen call carries data, so only a constant of equal elements has one.
Result<std::vector<Value*>> to_aten(Node& node, AtenEmitter& aten) {
  const auto& value = std::get<HostTensor>(node.attr("value"));
  if (!uniform(value)) return no_aten_form(node, "elements differ");
  CallArg fill(0);
  if (value.num_elements() > 0) {
    fill = is_float(value.dtype()) ? CallArg(value.get_double(0)) : CallArg(value.get_int(0));
  }
  return aten.call("aten::full", "",
                   {ints_arg(value.shape()), std::move(fill), value.dtype(), none_arg(),
                    node.result()->tensor().device, false},
                   {node.result()->type});
}

std::vector<OpSample> samples() {
  std::vector<OpSample> samples;
  const auto add = [&](std::string why, DType dtype, std::vector<int64_t> shape, int64_t first,
                       int64_t step) {
    HostTensor value(dtype, std::move(shape));
    for (int64_t i = 0; i < value.num_elements(); ++i) value.set_int(i, first + step * i);
    samples.push_back(make_sample(std::move(why), {}, {{"value", std::move(value)}}));
    samples.back().tolerance = 0;
  };
  for (DType dtype : {DType::kF32, DType::kF64, DType::kF16, DType::kBF16, DType::kI8, DType::kU8,
                      DType::kI16, DType::kI32, DType::kI64, DType::kBool})
    add("distinct elements, " + std::string(dtype_name(dtype)), dtype, {2, 3}, 0, 1);
  add("equal elements", DType::kF32, {2, 3}, 7, 0);
  add("rank 0", DType::kI64, {}, -3, 0);
  add("no elements", DType::kF32, {0, 3}, 0, 0);
  return samples;
}

}  // namespace

KILN_OP(constant) {
  OpDef def;
  def.formula = "y = value";
  def.traits = kSource;
  def.min_operands = def.max_operands = 0;
  def.fields = {required_tensor("value", "the tensor")};
  def.infer = infer;
  def.reference = reference;
  def.to_aten = to_aten;
  def.samples = samples;
  return def;
}

}  // namespace kiln

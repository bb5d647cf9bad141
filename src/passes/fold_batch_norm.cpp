// fold-batch-norm: a batch norm behind a convolution or linear goes into its weights.
//
//   %0 = conv(%x, %c0) {padding=[1,1]} : f32[1,8,5,5]
//   %1 = batch_norm(%0, %c1, %c2, %c3, %c4) {eps=1e-05} : f32[1,8,5,5]
//   return %1
// becomes
//   init { factor = weight / sqrt(var + eps); shift = bias - mean * factor;
//          %c0 = w * factor; %c1 = shift }
//   %0 = conv(%x, %c0, %c1) {padding=[1,1]} : f32[1,8,5,5]
//   return %0
//
// The batch norm must be the only user, and all parameters constants. In 16-bit dtypes the folded
// weights are rounded once more, and the result of the convolution no longer is; in f16 they are
// kept within the range of the dtype. A batch norm in front of a convolution is not folded (with
// padding it would be wrong); decompose-batch-norm takes what is left.
#include "ir/op_def.h"
#include "passes/batch_norm_constants.h"
#include "passes/match.h"
#include "passes/rewriter.h"

namespace kiln {
namespace {

class WeightScaler {
 public:
  WeightScaler(Module& module, Node& batch_norm, Node& anchor)
      : module_(module), batch_norm_(batch_norm), anchor_(anchor) {}

  void run(Value** weight, Value** bias) {
    const BatchNormConstants constants = batch_norm_constants(module_, batch_norm_);
    Value* w = module_.init_value(anchor_.operand(1));
    const DType dtype = w->dtype();
    const DType wide = dtype_bytes(dtype) == 2 ? DType::kF32 : dtype;
    *weight = module_.constant_for(
        narrow(scale(cast(w, wide), cast(constants.factor, wide)), dtype));
    Value* b = constants.shift;
    if (anchor_.has_operand(2)) {
      Value* own = cast(module_.init_value(anchor_.operand(2)), DType::kF64);
      b = emit("add", {emit("mul", {own, constants.factor}), b});
    }
    *bias = module_.constant_for(narrow(b, dtype));
  }

 private:
  Value* emit(std::string_view op, std::vector<Value*> operands, AttrList attrs = {}) {
    return create_node(module_.init, op, std::move(operands), std::move(attrs), nullptr,
                       anchor_.origin)
        ->result();
  }

  Value* cast(Value* value, DType dtype) {
    return value->dtype() == dtype ? value : emit("cast", {value}, {{"dtype", dtype}});
  }

  Value* narrow(Value* value, DType dtype) {
    constexpr double kLargestF16 = 65504;
    if (dtype == DType::kF16) {
      value = emit("clamp", {value}, {{"has_min", true}, {"min", -kLargestF16},
                                      {"has_max", true}, {"max", kLargestF16}});
    }
    return cast(value, dtype);
  }

  Value* reshape(Value* value, const Shape& shape) {
    return value->shape() == shape ? value : emit("reshape", {value}, {{"shape", shape}});
  }

  // weight * factor along its axis of output channels.
  Value* scale(Value* weight, Value* factor) {
    const Shape shape = weight->shape();
    const int64_t groups = anchor_.is("conv_transpose") ? anchor_.get_int("groups") : 0;
    if (groups == 0) {  // [out, ...]
      Shape column(shape.size(), DimExpr(1));
      column[0] = shape[0];
      return emit("mul", {weight, reshape(factor, column)});
    }
    // [groups * in, out, ...], out per group: the factors of a group lie together.
    Shape split = shape;
    split[0] = DimExpr(shape[0].value() / groups);
    split.insert(split.begin(), DimExpr(groups));
    Shape column(split.size(), DimExpr(1));
    column[0] = split[0];
    column[2] = split[2];
    return reshape(emit("mul", {reshape(weight, split), reshape(factor, column)}), shape);
  }

  Module& module_;
  Node& batch_norm_;
  Node& anchor_;
};

bool fold(Rewriter& r) {
  Node& node = r.node();
  if (!node.is("batch_norm") || !r.in_main() || !has_constant_statistics(node)) return false;
  Value* x = node.operand(0);
  Node* anchor = x->producer();
  if (anchor == nullptr || !x->has_one_use()) return false;
  // The channel axis of batch norm is 1; of a linear's result it is the last one.
  const bool fits = anchor->is("conv") || anchor->is("conv_transpose") ||
                    (anchor->is("linear") && x->tensor().rank() == 2);
  if (!fits || !anchor->operand(1)->is_constant_argument()) return false;
  if (anchor->has_operand(2) && !anchor->operand(2)->is_constant_argument()) return false;
  if (!r.allowed()) return false;
  Value* weight = nullptr;
  Value* bias = nullptr;
  WeightScaler(r.module(), node, *anchor).run(&weight, &bias);
  return r.replace(r.create_like(*anchor, {anchor->operand(0), weight, bias}));
}

}  // namespace

KILN_PASS(fold_batch_norm, "a batch norm behind a convolution or linear goes into its weights") {
  return rewrite_all(module, context, {fold});
}

}  // namespace kiln

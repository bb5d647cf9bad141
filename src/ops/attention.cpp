// attention: scaled dot product attention, with the semantics of torch's operator.
#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/aten_args.h"
#include "ops/broadcast.h"
#include "ops/dtype_class.h"
#include "ops/fields.h"
#include "ops/operand_checks.h"
#include "ops/reference_data.h"
#include "ops/sample_types.h"

namespace kiln {
namespace {

Result<std::vector<Type>> infer(const OpContext& c) {
  KILN_RETURN_IF_ERROR(check_rank(c, 0, 2, -1));
  const TensorType& q = c.tensor(0);
  const int rank = q.rank();
  KILN_RETURN_IF_ERROR(check_rank(c, 1, rank, rank));
  KILN_RETURN_IF_ERROR(check_rank(c, 2, rank, rank));
  KILN_RETURN_IF_ERROR(check_rank(c, 3, 0, rank));
  KILN_RETURN_IF_ERROR(check_dtype(c, 0, DTypeClass::kFloat));
  KILN_RETURN_IF_ERROR(check_same_dtype(c, 0, 1));
  KILN_RETURN_IF_ERROR(check_same_dtype(c, 0, 2));
  const Shape& k = c.tensor(1).shape;
  const Shape& v = c.tensor(2).shape;
  const auto last = static_cast<size_t>(rank - 1);
  KILN_RETURN_IF_ERROR(check_equal_dims(c, "head size of q and k", q.shape[last], k[last]));
  KILN_RETURN_IF_ERROR(check_equal_dims(c, "length of k and v", k[last - 1], v[last - 1]));
  const bool gqa = c.get_bool("enable_gqa");
  if (gqa && rank < 3) return refuse(c, "K2202", "enable_gqa without a head axis");
  for (size_t i = 0; i + 2 < q.shape.size(); ++i) {
    KILN_RETURN_IF_ERROR(check_equal_dims(c, "batch of k and v", k[i], v[i]));
    if (gqa && i + 3 == q.shape.size()) {
      DimExpr per_head;
      if (k[i].is_value(0) || !DimExpr::divide_exactly(q.shape[i], k[i], &per_head)) {
        return refuse(c, "K2204",
                      "heads of k do not divide the heads of q: " + k[i].to_string() + " and " +
                          q.shape[i].to_string());
      }
    } else {
      KILN_RETURN_IF_ERROR(check_equal_dims(c, "batch of q and k", q.shape[i], k[i]));
    }
  }
  Shape scores = q.shape;
  scores[last] = k[last - 1];
  if (c.has(3)) {
    const TensorType& mask = c.tensor(3);
    if (mask.dtype != DType::kBool && mask.dtype != DType::kF32 && mask.dtype != q.dtype) {
      return refuse(c, "K2203",
                    "mask is neither bool nor f32 nor of the dtype of q: " +
                        std::string(dtype_name(mask.dtype)));
    }
    if (!broadcasts_to(mask.shape, scores)) {
      return refuse(c, "K2204", "mask does not broadcast to the scores");
    }
  }
  if (!std::isfinite(c.get_float("scale"))) return refuse(c, "K2205", "scale is not finite");
  Shape shape = q.shape;
  shape[last] = v[last];
  return std::vector<Type>{tensor_like(c, 0, q.dtype, std::move(shape))};
}

Status reference(const ReferenceContext& c) {
  const HostTensor& q = c.in(0);
  const HostTensor& k = c.in(1);
  const HostTensor& v = c.in(2);
  HostTensor& y = c.out();
  const int rank = q.rank();
  const int64_t rows = q.size(rank - 2), columns = k.size(rank - 2);
  const int64_t depth = q.size(rank - 1), depth_v = v.size(rank - 1);
  const std::vector<double> qd = doubles_of(q), kd = doubles_of(k), vd = doubles_of(v);
  double scale = c.node->get_float("scale");
  if (scale == 0) scale = 1.0 / std::sqrt(static_cast<double>(depth));
  const bool causal = c.node->get_bool("is_causal");
  // Query heads that share one head of k and v stand together.
  const int64_t shared =
      rank >= 3 && k.size(rank - 3) > 0 ? q.size(rank - 3) / k.size(rank - 3) : 1;
  std::vector<int64_t> mask_strides;
  std::vector<int64_t> row_shape(q.shape().begin(), q.shape().end() - 1);
  if (c.has(3)) {
    std::vector<int64_t> scores = row_shape;
    scores.push_back(columns);
    mask_strides = broadcast_strides(c.in(3).shape(), scores);
  }
  constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();
  std::vector<double> score(static_cast<size_t>(columns));
  for (IndexWalk at(row_shape); !at.done(); at.next()) {
    const int64_t row = at.flat() % rows;
    const int64_t kv_batch = at.flat() / rows / shared;
    double max = kMinusInfinity;
    bool nan = false;
    for (int64_t j = 0; j < columns; ++j) {
      double sum = 0;
      for (int64_t d = 0; d < depth; ++d) {
        sum += qd[static_cast<size_t>(at.flat() * depth + d)] *
               kd[static_cast<size_t>((kv_batch * columns + j) * depth + d)];
      }
      sum *= scale;
      if (causal && j > row) sum = kMinusInfinity;
      if (c.has(3)) {
        int64_t m = j * mask_strides.back();
        for (int i = 0; i + 1 < rank; ++i) m += at[i] * mask_strides[static_cast<size_t>(i)];
        if (c.in(3).dtype() != DType::kBool) {
          sum += c.in(3).get_double(m);
        } else if (c.in(3).get_int(m) == 0) {
          sum = kMinusInfinity;
        }
      }
      score[static_cast<size_t>(j)] = sum;
      nan = nan || std::isnan(sum);
      if (sum > max) max = sum;
    }
    // A row with nothing to attend to is zero, not NaN.
    const bool masked = !nan && max == kMinusInfinity;
    double total = 0;
    for (double& s : score) total += s = masked ? 0.0 : std::exp(s - max);
    for (int64_t d = 0; d < depth_v; ++d) {
      double sum = 0;
      for (int64_t j = 0; j < columns; ++j) {
        sum += score[static_cast<size_t>(j)] *
               vd[static_cast<size_t>((kv_batch * columns + j) * depth_v + d)];
      }
      y.set_double(at.flat() * depth_v + d, masked ? 0.0 : sum / total);
    }
  }
  return {};
}

// A mask that is causal too: PyTorch takes one or the other.
Value* causal_mask(Node& node, AtenEmitter& emit) {
  const Shape& q = node.operand(0)->shape();
  const Shape& k = node.operand(1)->shape();
  Value* mask = node.operand(3);
  const Shape scores{q[q.size() - 2], k[k.size() - 2]};
  TensorType type = mask->tensor();
  type.dtype = DType::kBool;
  type.shape = scores;
  type.layout = {};
  Value* all = emit.call("aten::full", "",
                         {dims_arg(scores), true, DType::kBool, none_arg(), type.device, false},
                         {Type(type)})[0];
  Value* causal = emit.call("aten::tril", "", {all, int64_t{0}}, {Type(type)})[0];
  TensorType result = mask->tensor();
  result.layout = {};
  result.shape = mask->shape();
  while (result.shape.size() < 2) result.shape.insert(result.shape.begin(), DimExpr(1));
  std::copy(scores.begin(), scores.end(), result.shape.end() - 2);
  if (mask->dtype() == DType::kBool) {
    return emit.call("aten::bitwise_and", "Tensor", {mask, causal}, {Type(result)})[0];
  }
  return emit.call("aten::where", "ScalarOther",
                   {causal, mask, -std::numeric_limits<double>::infinity()}, {Type(result)})[0];
}

Result<std::vector<Value*>> to_aten(Node& node, AtenEmitter& emit) {
  const double scale = node.get_float("scale");
  const bool causal = node.get_bool("is_causal");
  const bool both = causal && node.has_operand(3);
  return emit.call(
      "aten::scaled_dot_product_attention", "",
      {node.operand(0), node.operand(1), node.operand(2),
       both ? AtenEmitter::Arg(causal_mask(node, emit)) : optional_arg(node, 3), 0.0,
       causal && !both, scale == 0 ? none_arg() : CallArg(scale), node.get_bool("enable_gqa")},
      {node.result()->type});
}

std::vector<OpSample> samples() {
  auto f32 = [](Shape shape) { return tensor_of(DType::kF32, std::move(shape)); };
  auto boolean = [](Shape shape) { return tensor_of(DType::kBool, std::move(shape)); };
  using Fill = OpSample::Fill;
  const std::vector<Fill> bool_mask{Fill::kNormal, Fill::kNormal, Fill::kNormal, Fill::kBool};
  const std::vector<Fill> added_mask{Fill::kNormal, Fill::kNormal, Fill::kNormal, Fill::kMask};
  const DimExpr batch = DimExpr::symbol("b");
  const DimExpr length = DimExpr::symbol("s");
  const DimExpr past = DimExpr::symbol("p");
  const AttrList causal{{"is_causal", true}};
  const AttrList gqa{{"enable_gqa", true}};
  std::vector<OpSample> list{
      make_sample("encoder, no mask",
                  {f32({2, 3, 17, 64}), f32({2, 3, 17, 64}), f32({2, 3, 17, 64})}),
      make_sample("longer than one block of keys",
                  {f32({1, 2, 70, 16}), f32({1, 2, 197, 16}), f32({1, 2, 197, 16})}),
      make_sample("causal, as many queries as keys",
                  {f32({1, 2, 33, 8}), f32({1, 2, 33, 8}), f32({1, 2, 33, 8})}, causal),
      make_sample("causal with more keys: aligned at the top left",
                  {f32({1, 2, 5, 8}), f32({1, 2, 9, 8}), f32({1, 2, 9, 8})}, causal),
      make_sample("causal with fewer keys",
                  {f32({1, 2, 9, 8}), f32({1, 2, 5, 8}), f32({1, 2, 5, 8})}, causal),
      make_sample(
          "padding mask over keys, bool",
          {f32({2, 3, 7, 8}), f32({2, 3, 11, 8}), f32({2, 3, 11, 8}), boolean({2, 1, 1, 11})}, {},
          bool_mask),
      make_sample(
          "full bool mask; some rows may mask everything and give zeros",
          {f32({2, 1, 16, 4}), f32({2, 1, 2, 4}), f32({2, 1, 2, 4}), boolean({2, 1, 16, 2})}, {},
          bool_mask),
      make_sample("additive mask of lower rank",
                  {f32({2, 3, 7, 8}), f32({2, 3, 11, 8}), f32({2, 3, 11, 8}), f32({7, 11})}),
      make_sample("additive bias per head",
                  {f32({2, 3, 5, 8}), f32({2, 3, 5, 8}), f32({2, 3, 5, 8}), f32({1, 3, 5, 5})}),
      make_sample("one query: decoding with a cache",
                  {f32({2, 4, 1, 16}), f32({2, 4, 29, 16}), f32({2, 4, 29, 16})}),
      make_sample("causal and a padding mask over keys",
                  {f32({2, 3, 7, 8}), f32({2, 3, 7, 8}), f32({2, 3, 7, 8}), boolean({2, 1, 1, 7})},
                  causal, bool_mask),
      make_sample("causal and an additive mask",
                  {f32({2, 3, 7, 8}), f32({2, 3, 11, 8}), f32({2, 3, 11, 8}), f32({7, 11})},
                  causal),
      make_sample("grouped queries", {f32({1, 6, 5, 8}), f32({1, 2, 7, 8}), f32({1, 2, 7, 8})},
                  gqa),
      make_sample("head size of v differs, odd",
                  {f32({1, 2, 6, 12}), f32({1, 2, 5, 12}), f32({1, 2, 5, 7})}),
      make_sample("rows masked by the lowest number, some of them whole",
                  {f32({2, 1, 16, 8}), f32({2, 1, 2, 8}), f32({2, 1, 2, 8}), f32({2, 1, 16, 2})},
                  {}, added_mask),
      make_sample("heads that fill what blocks share",
                  {f32({1, 1, 3, 144}), f32({1, 1, 5, 144}), f32({1, 1, 5, 150})}),
      make_sample("explicit scale", {f32({1, 2, 6, 8}), f32({1, 2, 6, 8}), f32({1, 2, 6, 8})},
                  {{"scale", 0.3}}),
      make_sample("no batch axes", {f32({6, 8}), f32({9, 8}), f32({9, 8})}),
      make_sample("one batch axis", {f32({3, 6, 8}), f32({3, 9, 8}), f32({3, 9, 8})}),
      make_sample("dynamic batch and sequence",
                  {f32({batch, 2, length, 8}), f32({batch, 2, length, 8}),
                   f32({batch, 2, length, 8}), f32({batch, 1, length, length})}),
      make_sample("dynamic cache length",
                  {f32({batch, 2, length, 8}), f32({batch, 2, length + past, 8}),
                   f32({batch, 2, length + past, 8}), boolean({batch, 1, length, length + past})},
                  {}, bool_mask),
  };
  for (DType dtype : {DType::kF64, DType::kF16, DType::kBF16}) {
    list.push_back(make_sample("dtype " + std::string(dtype_name(dtype)),
                               {tensor_of(dtype, {1, 2, 9, 16}), tensor_of(dtype, {1, 2, 9, 16}),
                                tensor_of(dtype, {1, 2, 9, 16})},
                               causal));
    if (dtype == DType::kF64) continue;
    const size_t first_half = list.size();
    auto half = [dtype](Shape shape) { return tensor_of(dtype, std::move(shape)); };
    const std::string of = ", " + std::string(dtype_name(dtype));
    list.push_back(
        make_sample("several blocks of queries and of keys" + of,
                    {half({1, 1, 70, 64}), half({1, 1, 130, 64}), half({1, 1, 130, 64})}));
    list.push_back(
        make_sample("causal over several blocks" + of,
                    {half({1, 1, 150, 40}), half({1, 1, 150, 40}), half({1, 1, 150, 40})}, causal));
    list.push_back(make_sample(
        "bool mask; some rows may mask everything" + of,
        {half({2, 1, 16, 8}), half({2, 1, 2, 8}), half({2, 1, 2, 8}), boolean({2, 1, 16, 2})}, {},
        bool_mask));
    list.push_back(make_sample(
        "rows masked by the lowest number, some of them whole" + of,
        {half({2, 1, 70, 8}), half({2, 1, 3, 8}), half({2, 1, 3, 8}), half({2, 1, 70, 3})}, {},
        added_mask));
    list.push_back(make_sample("the same with a mask of f32" + of,
                               {half({1, 2, 20, 64}), half({1, 2, 2, 64}), half({1, 2, 2, 64}),
                                f32({1, 1, 20, 2})},
                               {}, added_mask));
    list.push_back(make_sample(
        "mask over keys of two blocks" + of,
        {half({2, 2, 9, 16}), half({2, 2, 70, 16}), half({2, 2, 70, 16}), boolean({2, 1, 1, 70})},
        {}, bool_mask));
    list.push_back(make_sample(
        "additive mask, grouped queries" + of,
        {half({1, 4, 70, 24}), half({1, 2, 70, 24}), half({1, 2, 70, 24}), half({70, 70})}, gqa));
    list.push_back(make_sample("odd head sizes" + of,
                               {half({1, 2, 6, 12}), half({1, 2, 5, 12}), half({1, 2, 5, 7})}));
    list.push_back(make_sample(
        "large heads" + of, {half({1, 1, 9, 128}), half({1, 1, 70, 128}), half({1, 1, 70, 128})}));
    // Kernels round a row's terms to the dtype before the second product.
    for (size_t i = first_half; i < list.size(); ++i) list[i].tolerance *= 3;
  }
  return list;
}

}  // namespace

KILN_OP(attention) {
  OpDef def;
  def.formula =
      "y = softmax_j(q[i] . k[j] * scale + mask[i, j]) @ v; a fully masked row gives zeros";
  def.traits = kAnchor;
  def.min_operands = 3;
  def.max_operands = 4;
  def.operand_names = {"q", "k", "v", "mask"};
  def.fields = {
      float_field("scale", 0.0,
                  "factor on the scores; 0: 1 / sqrt(head size). An explicit factor of zero cannot "
                  "be written and stays with PyTorch"),
      bool_field("is_causal", false, "query i sees keys j <= i only, counted from the first key"),
      bool_field("enable_gqa", false,
                 "k and v may have fewer heads (axis -3); consecutive query heads share one"),
  };
  def.f32_beside = 3;
  def.infer = infer;
  def.reference = reference;
  def.to_aten = to_aten;
  def.samples = samples;
  return def;
}

}  // namespace kiln

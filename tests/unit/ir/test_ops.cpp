// A few ops for the tests of the IR itself, so that they do not depend on src/ops.
#include "ir/op_def.h"

namespace kiln {
namespace {

Result<std::vector<Type>> infer_same(const OpContext& c) {
  for (int i = 1; i < c.num_operands(); ++i) {
    if (c.has(i) && c.tensor(i).shape != c.tensor(0).shape) {
      return Status::error("K2205", "shapes differ");
    }
  }
  return std::vector<Type>{Type(c.tensor(0).dtype, c.tensor(0).shape)};
}

Result<std::vector<Type>> infer_pair(const OpContext& c) {
  Type type(c.tensor(0).dtype, c.tensor(0).shape);
  return std::vector<Type>{type, type};
}

Result<std::vector<Type>> infer_body(const OpContext& c) {
  if (c.bodies->size() != 1) return Status::error("K2206", "one body expected");
  std::vector<Type> types;
  for (Value* output : (*c.bodies)[0]->outputs()) types.push_back(output->type);
  return types;
}

Status verify_small(const OpContext& c) {
  if (c.get_int("n") > 100) return Status::error("K2207", "n is too large");
  return {};
}

FieldDef field(std::string name, AttrKind kind, Attr value = {}, bool required = false) {
  return FieldDef{std::move(name), kind, std::move(value), required, ""};
}

}  // namespace

KILN_OP(t_add) {
  OpDef def;
  def.min_operands = 2;
  def.max_operands = 3;
  def.infer = infer_same;
  return def;
}

KILN_OP(t_pair) {
  OpDef def;
  def.infer = infer_pair;
  return def;
}

KILN_OP(t_attrs) {
  OpDef def;
  def.infer = infer_same;
  def.verify = verify_small;
  def.fields = {field("flag", AttrKind::kBool, true),
                field("n", AttrKind::kInt, int64_t{3}),
                field("eps", AttrKind::kFloat, 1e-5),
                field("mode", AttrKind::kString, std::string("none")),
                field("to", AttrKind::kDType, DType::kF32),
                field("pads", AttrKind::kInts),
                field("size", AttrKind::kDim),
                field("sizes", AttrKind::kDims),
                field("call", AttrKind::kCall),
                field("value", AttrKind::kTensor),
                field("scales", AttrKind::kFloats)};
  return def;
}

KILN_OP(t_required) {
  OpDef def;
  def.infer = infer_same;
  def.fields = {field("axis", AttrKind::kInt, {}, true)};
  return def;
}

KILN_OP(t_body) {
  OpDef def;
  def.min_operands = 0;
  def.max_operands = -1;
  def.infer = infer_body;
  return def;
}

// Like aten.call: any operands, any results, a dot in the name.
KILN_OP(t_call) {
  OpDef def;
  def.name = "t.call";
  def.min_operands = 0;
  def.max_operands = -1;
  def.takes_any_type = true;
  def.traits = kEffect;
  return def;
}

}  // namespace kiln

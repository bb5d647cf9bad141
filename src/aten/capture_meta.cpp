#include "aten/capture_meta.h"

#include "aten/memory_sharing.h"

namespace kiln {
namespace {

Result<Shape> parse_all(const std::vector<CaptureDim>& texts) {
  Shape exprs;
  for (const CaptureDim& text : texts) {
    KILN_ASSIGN_OR_RETURN(DimExpr expr, DimExpr::parse(text));
    exprs.push_back(std::move(expr));
  }
  return exprs;
}

Status check_strides(const CaptureMeta& meta) {
  if (meta.strides.empty() || meta.strides.size() == meta.dims.size()) return {};
  return Status::error("K1129", "capture gives another number of strides than dims");
}

}  // namespace

Result<Shape> dims_of(const CaptureMeta& meta) { return parse_all(meta.dims); }

Result<Type> type_of(const CaptureMeta& meta) {
  if (!meta.opaque.empty()) return Type(HostObjectType{meta.opaque});
  if (meta.scalar) {
    return Type(*meta.scalar == 'i'   ? ScalarType::kI64
                : *meta.scalar == 'f' ? ScalarType::kF64
                                      : ScalarType::kBool);
  }
  TensorType type;
  type.dtype = meta.dtype;
  KILN_ASSIGN_OR_RETURN(type.shape, dims_of(meta));
  return Type(std::move(type));
}

Result<std::vector<int>> order_of(const CaptureMeta& meta) {
  std::vector<int> order;
  if (meta.strides.empty()) return order;
  KILN_RETURN_IF_ERROR(check_strides(meta));
  KILN_ASSIGN_OR_RETURN(const Shape dims, dims_of(meta));
  KILN_ASSIGN_OR_RETURN(const Shape strides, parse_all(meta.strides));
  return dense_order(dims, strides);
}

Result<Shape> strides_of(const CaptureMeta& meta) {
  KILN_RETURN_IF_ERROR(check_strides(meta));
  KILN_ASSIGN_OR_RETURN(Shape strides, parse_all(meta.strides));
  if (strides.empty()) return strides;
  KILN_ASSIGN_OR_RETURN(const Shape dims, dims_of(meta));
  DimExpr expected = 1;
  bool contiguous = true;
  for (size_t i = strides.size(); i-- > 0;) {
    contiguous = contiguous && (dims[i].is_value(1) || strides[i] == expected);
    expected *= dims[i];
  }
  return contiguous ? Shape() : strides;
}

std::set<std::string> symbols_of_inputs(Module& module) {
  std::set<std::string> symbols;
  for (size_t i = 0; i < module.inputs.size(); ++i) {
    const InputSpec& spec = module.inputs[i];
    if (spec.number) spec.number->collect_symbols(symbols);
    const Type& type = module.main.inputs()[i]->type;
    for (const DimExpr& dim : type.is_tensor() ? type.tensor().shape : spec.sizes) {
      dim.collect_symbols(symbols);
    }
  }
  return symbols;
}

Shape row_major(const Shape& dims) {
  Shape strides(dims.size());
  DimExpr expected = 1;
  for (size_t i = dims.size(); i-- > 0;) {
    strides[i] = expected;
    expected *= dims[i];
  }
  return strides;
}

bool is_absent(const Type& type) {
  const auto* host = std::get_if<HostObjectType>(&type.value);
  return host != nullptr && host->description == CaptureMeta::kNoTensor;
}

bool agrees(const Type& built, const Type& captured) {
  if (!built.is_tensor() || !captured.is_tensor()) return false;
  const TensorType &a = built.tensor(), &b = captured.tensor();
  if (a.dtype != b.dtype || a.shape.size() != b.shape.size()) return false;
  for (size_t i = 0; i < a.shape.size(); ++i) {
    if (a.shape[i].is_constant() && b.shape[i].is_constant() && !(a.shape[i] == b.shape[i])) {
      return false;
    }
  }
  return true;
}

Result<SizeCondition> condition_of(std::string_view relation, const CaptureDim& left,
                                   const CaptureDim& right, std::string_view text) {
  SizeCondition condition;
  KILN_ASSIGN_OR_RETURN(condition.left, DimExpr::parse(left));
  KILN_ASSIGN_OR_RETURN(condition.right, DimExpr::parse(right));
  condition.text = text;
  const bool turned = relation == "gt" || relation == "ge";
  if (turned) std::swap(condition.left, condition.right);
  const auto known = relation_from_name(turned ? (relation == "gt" ? "lt" : "le") : relation);
  if (!known) return Status::error("K1131", "unknown relation of sizes: " + std::string(relation));
  condition.relation = *known;
  return condition;
}

}  // namespace kiln

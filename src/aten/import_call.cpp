#include <kiln/capture.h>

#include <algorithm>

#include "aten/import_rule.h"
#include "base/check.h"
#include "ir/op_def.h"

namespace kiln {

ImportCall::ImportCall(Module& module, const Schema& schema, std::vector<CallArg> args,
                       std::vector<Value*> values, std::vector<Type> captured, Origin origin)
    : module_(module),
      schema_(schema),
      args_(std::move(args)),
      values_(std::move(values)),
      captured_(std::move(captured)),
      origin_(std::move(origin)) {}

void ImportCall::refuse(std::string reason, std::string_view code) {
  refusal_ = Status::error(code, std::move(reason));
  throw Refused();
}

Value* ImportCall::tensor(int i) {
  Value* value = tensor_or_null(i);
  if (value == nullptr) refuse("argument is missing: " + argument_name(i));
  return value;
}

Value* ImportCall::tensor_or_null(int i) {
  const auto* operand = arg(i).get<CallArg::Operand>();
  if (operand == nullptr) {
    if (!is_none(i)) refuse("argument is no tensor: " + argument_name(i));
    return nullptr;
  }
  Value* value = values_[static_cast<size_t>(operand->index)];
  if (!value->type.is_tensor()) {
    refuse("operand exists only in pytorch: " + value->type.to_string(), "K1302");
  }
  return value;
}

std::vector<Value*> ImportCall::tensors(int i) {
  std::vector<Value*> result;
  const auto* list = arg(i).get<CallArg::List>();
  if (list == nullptr) {
    if (is_tensor(i)) return {tensor(i)};
    refuse("argument is no list of tensors: " + argument_name(i));
  }
  for (const CallArg& item : *list) {
    const auto* operand = item.get<CallArg::Operand>();
    if (operand == nullptr) {
      if (!item.is_none()) refuse("list element is no tensor");
      result.push_back(nullptr);
      continue;
    }
    Value* value = values_[static_cast<size_t>(operand->index)];
    if (!value->type.is_tensor()) {
      refuse("operand exists only in pytorch: " + value->type.to_string(), "K1302");
    }
    result.push_back(value);
  }
  return result;
}

DimExpr ImportCall::dim(int i) {
  if (const auto* expr = arg(i).get<DimExpr>()) return *expr;
  if (const auto* flag = arg(i).get<bool>()) return DimExpr(*flag ? 1 : 0);
  refuse("argument is no integer: " + argument_name(i));
}

std::vector<DimExpr> ImportCall::dims(int i) {
  if (const auto* list = arg(i).get<CallArg::List>()) {
    std::vector<DimExpr> result;
    for (const CallArg& item : *list) {
      const auto* expr = item.get<DimExpr>();
      if (expr == nullptr) refuse("list element is no integer known before the run", "K1303");
      result.push_back(*expr);
    }
    return result;
  }
  if (is_none(i)) return {};
  return {dim(i)};
}

int64_t ImportCall::integer(int i) {
  const DimExpr value = dim(i);
  if (value.is_constant()) return value.value();
  refuse("argument is symbolic: " + argument_name(i) + " is " + value.to_string(), "K1303");
}

std::vector<int64_t> ImportCall::integers(int i) {
  std::vector<int64_t> result;
  for (const DimExpr& value : dims(i)) {
    if (!value.is_constant()) refuse("argument is symbolic: " + argument_name(i), "K1303");
    result.push_back(value.value());
  }
  return result;
}

std::vector<int64_t> ImportCall::integers(int i, int count) {
  std::vector<int64_t> result = integers(i);
  if (result.size() == 1) result.assign(static_cast<size_t>(count), result[0]);
  if (static_cast<int>(result.size()) != count) {
    refuse("argument has the wrong length: " + argument_name(i));
  }
  return result;
}

bool ImportCall::boolean(int i) {
  if (const auto* flag = arg(i).get<bool>()) return *flag;
  if (const auto* expr = arg(i).get<DimExpr>(); expr != nullptr && expr->is_constant()) {
    return expr->value() != 0;
  }
  refuse("argument is no bool: " + argument_name(i));
}

double ImportCall::number(int i) {
  if (const auto* value = arg(i).get<double>()) return *value;
  if (const auto* flag = arg(i).get<bool>()) return *flag ? 1 : 0;
  return static_cast<double>(integer(i));
}

bool ImportCall::is_float_number(int i) { return arg(i).get<double>() != nullptr; }

std::string ImportCall::text(int i) {
  if (const auto* value = arg(i).get<std::string>()) return *value;
  refuse("argument is no string: " + argument_name(i));
}

std::optional<DType> ImportCall::dtype(int i) {
  if (is_none(i)) return std::nullopt;
  if (const auto* value = arg(i).get<DType>()) return *value;
  refuse("argument is no dtype: " + argument_name(i));
}

int64_t ImportCall::wrap_axis(int64_t axis, int rank) {
  return axis < 0 ? axis + std::max(rank, 1) : axis;
}

int64_t ImportCall::axis(int i, int rank) {
  const int64_t wrapped = wrap_axis(integer(i), rank);
  if (wrapped < 0 || wrapped >= std::max(rank, 1)) {
    refuse("dim is out of range: " + std::to_string(wrapped));
  }
  return wrapped;
}

std::vector<int64_t> ImportCall::axes(int i, int rank) {
  std::vector<int64_t> result = integers(i);
  if (rank == 0) return {};  // dim 0 and -1 are allowed and name no axis
  if (result.empty()) {
    for (int a = 0; a < rank; ++a) result.push_back(a);
    return result;
  }
  for (int64_t& a : result) {
    a = wrap_axis(a, rank);
    if (a < 0 || a >= std::max(rank, 1)) {
      refuse("dim is out of range: " + std::to_string(a));
    }
  }
  std::sort(result.begin(), result.end());
  result.erase(std::unique(result.begin(), result.end()), result.end());
  return result;
}

DType ImportCall::captured_dtype(int i) {
  if (i < num_results() && captured(i).is_tensor()) return captured(i).tensor().dtype;
  refuse("result exists only in pytorch", "K1302");
}

Node* ImportCall::emit_node(std::string_view op, std::vector<Value*> operands, AttrList attrs) {
  const OpDef* def = OpRegistry::global().find(op);
  KILN_CHECK_MSG(def != nullptr, "import rule names an unknown op: " + std::string(op));
  auto node = module_.main.create(*def, std::move(operands), std::move(attrs), nullptr, origin_);
  if (!node.ok()) refuse(node.status().message(), node.status().code());
  created_.push_back(*node);
  return *node;
}

Value* ImportCall::emit(std::string_view op, std::vector<Value*> operands, AttrList attrs) {
  return emit_node(op, std::move(operands), std::move(attrs))->result();
}

Value* ImportCall::scalar(double value, DType dtype) {
  HostTensor tensor(dtype, {});
  tensor.set_double(0, value);
  const OpDef& def = OpRegistry::global().get("constant");
  auto node = module_.main.create(def, {}, {{"value", std::move(tensor)}}, nullptr, origin_);
  KILN_CHECK_MSG(node.ok(), node.status().to_string());
  created_.push_back(*node);
  return (*node)->result();
}

Value* ImportCall::scalar_int(int64_t value, DType dtype) {
  HostTensor tensor(dtype, {});
  tensor.set_int(0, value);
  const OpDef& def = OpRegistry::global().get("constant");
  auto node = module_.main.create(def, {}, {{"value", std::move(tensor)}}, nullptr, origin_);
  KILN_CHECK_MSG(node.ok(), node.status().to_string());
  created_.push_back(*node);
  return (*node)->result();
}

Value* ImportCall::operand(int i, DType dtype) {
  if (is_tensor(i)) return cast(tensor(i), dtype);
  if (const auto* value = arg(i).get<double>()) return scalar(*value, dtype);
  if (const auto* flag = arg(i).get<bool>()) return scalar_int(*flag ? 1 : 0, dtype);
  const DimExpr value = dim(i);
  if (value.is_constant()) return scalar_int(value.value(), dtype);
  // A symbolic Scalar: the one element of an iota that starts there.
  Value* element = emit(
      "iota", {},
      {{"length", DimExpr(1)}, {"start", value}, {"step", DimExpr(1)}, {"dtype", DType::kI64}});
  return cast(reshape(element, {}), dtype);
}

Value* ImportCall::cast(Value* value, DType dtype) {
  if (!value->type.is_tensor() || value->dtype() == dtype) return value;
  return emit("cast", {value}, {{"dtype", dtype}});
}

Value* ImportCall::reshape(Value* value, Shape shape) {
  if (value->shape() == shape) return value;
  return emit("reshape", {value}, {{"shape", std::move(shape)}});
}

namespace {

int dtype_category(DType dtype) { return dtype == DType::kBool ? 0 : is_integer(dtype) ? 1 : 2; }

// torch's table for two dtypes of tensors of the same kind (dim or 0-d).
DType promote_pair(DType a, DType b) {
  if (a == b) return a;
  if (dtype_category(a) != dtype_category(b)) return dtype_category(a) > dtype_category(b) ? a : b;
  if (dtype_category(a) == 2) {
    if (a == DType::kF64 || b == DType::kF64) return DType::kF64;
    return DType::kF32;  // f32 with a half type, or the two half types together
  }
  const bool unsigned_a = a == DType::kU8, unsigned_b = b == DType::kU8;
  if (unsigned_a != unsigned_b) {
    const DType other = unsigned_a ? b : a;
    return other == DType::kI8 ? DType::kI16 : other;
  }
  return dtype_bytes(a) >= dtype_bytes(b) ? a : b;
}

}  // namespace

DType ImportCall::promoted(const std::vector<int>& arguments) {
  // Categories of lower priority (0-d tensors, then Scalars) only matter when they are of a higher
  // kind than what stands before them.
  std::optional<DType> by_priority[3];
  auto join = [](std::optional<DType>& into, DType dtype) {
    into = into ? promote_pair(*into, dtype) : dtype;
  };
  for (int i : arguments) {
    if (is_none(i)) continue;
    if (is_tensor(i)) {
      Value* value = tensor(i);
      join(by_priority[value->shape().empty() ? 1 : 0], value->dtype());
    } else if (arg(i).get<CallArg::List>() != nullptr) {
      for (Value* value : tensors(i)) {
        if (value != nullptr) join(by_priority[value->shape().empty() ? 1 : 0], value->dtype());
      }
    } else if (arg(i).get<double>() != nullptr) {
      join(by_priority[2], DType::kF32);
    } else if (arg(i).get<bool>() != nullptr) {
      join(by_priority[2], DType::kBool);
    } else if (arg(i).get<DimExpr>() != nullptr) {
      join(by_priority[2], DType::kI64);
    }
  }
  std::optional<DType> result = by_priority[0];
  for (int p = 1; p < 3; ++p) {
    const auto& next = by_priority[p];
    if (!next) continue;
    if (!result || dtype_category(*next) > dtype_category(*result)) result = next;
  }
  return result.value_or(DType::kF32);
}

DType ImportCall::promoted_float(const std::vector<int>& arguments) {
  const DType dtype = promoted(arguments);
  return is_float(dtype) ? dtype : DType::kF32;
}

ImportRules& ImportRules::global() {
  static ImportRules rules;
  return rules;
}

void ImportRules::add(std::string_view schema, void (*run)(ImportCall&)) {
  auto parsed = Schema::parse(schema);
  KILN_CHECK_MSG(parsed.ok(), parsed.status().to_string());
  std::string name = parsed->full_name();
  const bool inserted = rules_.emplace(name, ImportRule{std::move(*parsed), run}).second;
  KILN_CHECK_MSG(inserted, "two rules for " + name);
}

const ImportRule* ImportRules::find(std::string_view full_name) const {
  auto found = rules_.find(full_name);
  return found == rules_.end() ? nullptr : &found->second;
}

std::vector<const ImportRule*> ImportRules::all() const {
  std::vector<const ImportRule*> result;
  for (const auto& [name, rule] : rules_) result.push_back(&rule);
  return result;
}

std::vector<std::string> import_rule_schemas() {
  std::vector<std::string> texts;
  for (const ImportRule* rule : ImportRules::global().all()) {
    texts.push_back(rule->schema.to_string());
  }
  return texts;
}

}  // namespace kiln

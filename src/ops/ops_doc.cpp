#include "ops/ops_doc.h"

#include <sstream>
#include <vector>

#include "ir/op_def.h"

namespace kiln {
namespace {

struct TraitName {
  OpTrait trait;
  const char* name;
};
constexpr TraitName kTraitNames[] = {
    {kElementwise, "elementwise"}, {kView, "view"},
    {kReduction, "reduction"},     {kRowwise, "rowwise"},
    {kCommutative, "commutative"}, {kCheap, "cheap"},
    {kEffect, "effect"},           {kAnchor, "anchor"},
    {kIdempotent, "idempotent"},   {kSource, "source"},
    {kUpdate, "update"},           {kSensitive, "sensitive"},
};

std::string traits_text(const OpDef& op) {
  std::string text;
  for (const TraitName& entry : kTraitNames) {
    if (op.has(entry.trait)) text += (text.empty() ? "" : ", ") + std::string(entry.name);
  }
  return text;
}

std::string kind_text(AttrKind kind) {
  switch (kind) {
    case AttrKind::kBool: return "bool";
    case AttrKind::kInt: return "int";
    case AttrKind::kFloat: return "float";
    case AttrKind::kString: return "string";
    case AttrKind::kDType: return "dtype";
    case AttrKind::kInts: return "ints";
    case AttrKind::kDim: return "dim";
    case AttrKind::kDims: return "dims";
    case AttrKind::kCall: return "call";
    case AttrKind::kTensor: return "tensor";
    case AttrKind::kFloats: return "floats";
  }
  return "";
}

template <typename T>
std::string list_text(const std::vector<T>& values, std::string (*text)(const T&)) {
  std::string joined = "[";
  for (size_t i = 0; i < values.size(); ++i) joined += (i > 0 ? "," : "") + text(values[i]);
  return joined + "]";
}

std::string number(double value) {
  std::ostringstream out;
  out << value;
  return out.str();
}

std::string default_text(const FieldDef& field) {
  if (field.required) return "required";
  const Attr& value = field.default_value;
  switch (attr_kind(value)) {
    case AttrKind::kBool: return std::get<bool>(value) ? "true" : "false";
    case AttrKind::kInt: return std::to_string(std::get<int64_t>(value));
    case AttrKind::kFloat: return number(std::get<double>(value));
    case AttrKind::kString: return "\"" + std::get<std::string>(value) + "\"";
    case AttrKind::kDType: return std::string(dtype_name(std::get<DType>(value)));
    case AttrKind::kDim: return std::get<DimExpr>(value).to_string();
    case AttrKind::kInts:
      return list_text<int64_t>(std::get<std::vector<int64_t>>(value),
                                [](const int64_t& v) { return std::to_string(v); });
    case AttrKind::kDims:
      return list_text<DimExpr>(std::get<std::vector<DimExpr>>(value),
                                [](const DimExpr& d) { return d.to_string(); });
    case AttrKind::kFloats:
      return list_text<double>(std::get<std::vector<double>>(value),
                               [](const double& v) { return number(v); });
    case AttrKind::kCall:
    case AttrKind::kTensor: return "empty";
  }
  return "";
}

// A | would end the table cell.
std::string cell(const std::string& text) {
  std::string escaped;
  for (char c : text) {
    if (c == '|') escaped += '\\';
    escaped += c;
  }
  return escaped;
}

std::string operands_text(const OpDef& op) {
  if (op.max_operands == 0) return "none";
  std::string text;
  for (size_t i = 0; i < op.operand_names.size(); ++i) {
    text += (i > 0 ? ", " : "") + op.operand_names[i];
    if (static_cast<int>(i) >= op.min_operands) text += "?";
  }
  if (op.max_operands < 0) text += ", ...";
  return text;
}

void write_op(std::ostringstream& out, const OpDef& op) {
  out << "\n## " << op.name << "\n\n`" << op.formula << "`\n\n";
  out << "Operands: " << operands_text(op) << ".";
  if (const std::string traits = traits_text(op); !traits.empty())
    out << " Traits: " << traits << ".";
  if (op.to_aten == nullptr) out << " Has no ATen form.";
  out << "\n";
  if (!op.fields.empty()) {
    out << "\n| field | kind | default | meaning |\n|---|---|---|---|\n";
    for (const FieldDef& field : op.fields) {
      out << "| " << field.name << " | " << kind_text(field.kind) << " | "
          << cell(default_text(field)) << " | " << cell(field.doc) << " |\n";
    }
  }
  if (op.samples == nullptr) return;
  out << "\nSamples: ";
  const std::vector<OpSample> samples = op.samples();
  for (size_t i = 0; i < samples.size(); ++i) out << (i > 0 ? "; " : "") << samples[i].why;
  out << ".\n";
}

}  // namespace

std::string ops_markdown() {
  std::ostringstream out;
  out << "# Ops\n\nGenerated from the definitions in `src/ops`; do not edit. Operands marked `?` "
         "may be absent.\n\n| op | formula | traits |\n|---|---|---|\n";
  const std::vector<const OpDef*> ops = OpRegistry::global().all();
  for (const OpDef* op : ops) {
    out << "| [" << op->name << "](#" << op->name << ") | " << cell(op->formula) << " | "
        << traits_text(*op) << " |\n";
  }
  for (const OpDef* op : ops) write_op(out, *op);
  return out.str();
}

}  // namespace kiln

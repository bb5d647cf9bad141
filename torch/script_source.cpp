#include "torch/script_source.h"

#include <algorithm>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <sstream>

#include "base/json.h"
#include "runtime/input_symbols.h"

namespace kiln {
namespace {

namespace jit = torch::jit;

Status inexpressible(std::string what, std::string hint = "save it as a .kiln file") {
  return Status::error("K1019", "TorchScript cannot express " + std::move(what), std::move(hint));
}

Status undescribed(const std::string& what) {
  return Status::error("K3120", "the file does not describe its inputs and outputs: " + what,
                       "it was not saved from Python; run it with kiln run or from C++");
}

// A constant of the graph, whatever its text would be.
struct ConstantValue : jit::SugaredValue {
  explicit ConstantValue(c10::IValue value) : value(std::move(value)) {}
  std::string kind() const override { return "constant"; }
  jit::Value* asValue(const jit::SourceRange& range, jit::GraphFunction& function) override {
    return function.graph()->insertConstant(value, range);
  }
  c10::IValue value;
};

struct NameTable : jit::Resolver {
  std::shared_ptr<jit::SugaredValue> resolveValue(const std::string& name, jit::GraphFunction&,
                                                  const jit::SourceRange&) override {
    const auto found = values.find(name);
    return found == values.end() ? nullptr : found->second;
  }
  c10::TypePtr resolveType(const std::string& name, const jit::SourceRange&) override {
    const auto found = types.find(name);
    return found == types.end() ? nullptr : found->second;
  }
  std::map<std::string, std::shared_ptr<jit::SugaredValue>> values;
  std::map<std::string, c10::TypePtr> types;
};

bool is_identifier(const std::string& name) {
  return !name.empty() && (name[0] < '0' || name[0] > '9') &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '_';
         });
}

const std::string kOptional = "Optional[";

// The type of lists and dicts that hold values of these types; none where they have nothing in
// common.
std::optional<std::string> common_type(const std::vector<std::string>& types) {
  std::string common;
  bool optional = false;
  for (std::string type : types) {
    if (type.starts_with(kOptional)) {
      optional = true;
      type = type.substr(kOptional.size(), type.size() - kOptional.size() - 1);
    }
    if (type == "None") {
      optional = true;
    } else if (common.empty() || common == type) {
      common = type;
    } else {
      return std::nullopt;
    }
  }
  if (common.empty()) common = "Tensor";
  return optional ? kOptional + common + "]" : common;
}

std::string joined(const std::vector<std::string>& parts) {
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : ", ") + part;
  return text;
}

class Writer {
 public:
  Writer(const EnginePlan& plan, std::string program)
      : plan_(plan), program_(std::move(program)), names_(std::make_shared<NameTable>()) {}

  Result<ScriptSource> write(const Json& metadata);

 private:
  struct Expression {
    std::string text, type;
  };

  void line(const std::string& text) { body_ += "  " + text + "\n"; }
  std::string unique(const std::string& base);
  std::string constant(c10::IValue value);
  std::string operators(const std::string& space);
  // Lists and dicts have the type that their elements say only where these are of one type.
  std::string annotated(const std::string& type, const std::string& text);
  void check(const std::string& condition, const std::string& message);

  Result<std::string> parameters(const Json& metadata);
  Result<std::string> input_type(const Json& node, const std::string& what);
  Result<Expression> literal(const Json& value);
  Status take(const Json& node, const std::string& text, const std::string& type,
              const std::string& what);
  Status take_leaf(const Json& node, const std::string& text, const std::string& what);
  void name_state();

  Status call();
  Result<std::string> size_text(const DimExpr& expr);
  Result<std::string> list_text(const std::vector<DimExpr>& exprs);
  Result<std::string> view_text(std::string text, const ViewChain& chain);

  Result<Expression> give(const Json& node);
  Result<Expression> give_leaf(const std::string& kind, const Json& node);
  Result<Expression> give_list(const std::vector<Expression>& items);
  Result<Expression> give_dict(const Json::Array& keys, const std::vector<Expression>& items);
  Result<Expression> give_named(const Json& node, const std::vector<Expression>& items);

  const EnginePlan& plan_;
  const std::string program_;
  std::shared_ptr<NameTable> names_;
  std::set<std::string> taken_ = {"self"};
  std::string annotate_;  // the name of the form, once it is in use
  std::string body_;
  std::vector<std::string> parameter_names_;
  std::vector<std::string> inputs_;             // by input of the plan: an expression
  std::map<std::string, std::string> symbols_;  // size symbol -> local variable
  std::vector<Expression> results_;             // by result that the caller sees
};

std::string Writer::unique(const std::string& base) {
  std::string name = base;
  for (int i = 1; !taken_.insert(name).second; ++i) name = base + std::to_string(i);
  return name;
}

std::string Writer::constant(c10::IValue value) {
  const std::string name = unique("constant");
  names_->values[name] = std::make_shared<ConstantValue>(std::move(value));
  return name;
}

// The name by which the operators of a namespace ("aten", "prim", "kiln") are called.
std::string Writer::operators(const std::string& space) {
  for (const auto& [name, value] : names_->values) {
    if (value->kind() == "builtin module" && name.starts_with(space + "_")) return name;
  }
  const std::string name = unique(space + "_");
  names_->values[name] = std::make_shared<jit::BuiltinModule>(space);
  return name;
}

std::string Writer::annotated(const std::string& type, const std::string& text) {
  if (annotate_.empty()) {
    annotate_ = unique("annotate");
    names_->values[annotate_] = jit::SpecialFormValue::create(c10::prim::annotate);
  }
  return annotate_ + "(" + type + ", " + text + ")";
}

void Writer::check(const std::string& condition, const std::string& message) {
  line("assert " + condition + ", " + constant("K4101: " + message));
}

// ---- arguments

// The values that JSON and captured.py know.
Result<Writer::Expression> Writer::literal(const Json& value) {
  if (value.is_null()) return Expression{"None", "None"};
  if (value.is_bool()) return Expression{constant(value.as_bool()), "bool"};
  if (value.is_int()) return Expression{constant(value.as_int()), "int"};
  if (value.is_number()) return Expression{constant(value.as_double()), "float"};
  if (value.is_string()) return Expression{constant(value.as_string()), "str"};
  const Json* text = value.find("float");
  if (text != nullptr && text->is_string() &&
      (text->as_string() == "inf" || text->as_string() == "-inf" || text->as_string() == "nan")) {
    return Expression{constant(text->as_double()), "float"};
  }
  return undescribed("a constant of an unknown kind");
}

Result<std::string> Writer::input_type(const Json& node, const std::string& what) {
  KILN_ASSIGN_OR_RETURN(const std::string kind, node.string_at("kind"));
  if (kind == "tensor") {
    // As the model's: its callers may hold a value of that type.
    const Json* optional = node.find("optional");
    const bool declared = optional != nullptr && *optional == Json(true);
    return declared ? kOptional + "Tensor]" : std::string("Tensor");
  }
  if (kind == "scalar") return std::string("int");
  if (kind == "const") {
    KILN_ASSIGN_OR_RETURN(const Json* value, node.member("value"));
    KILN_ASSIGN_OR_RETURN(const Expression constant, literal(*value));
    // Which type may be None nobody has said; that of tensors is by far the most frequent.
    return constant.type == "None" ? kOptional + "Tensor]" : constant.type;
  }
  if (kind != "list" && kind != "tuple" && kind != "dict" && kind != "named_tuple") {
    KILN_ASSIGN_OR_RETURN(const std::string type, node.string_at("type"));
    return inexpressible("an argument of this type: " + what + " is a " + type);
  }
  KILN_ASSIGN_OR_RETURN(const Json::Array* items, node.array_at("items"));
  std::vector<std::string> types;
  for (size_t i = 0; i < items->size(); ++i) {
    const std::string place = what + "[" + std::to_string(i) + "]";
    KILN_ASSIGN_OR_RETURN(std::string type, input_type((*items)[i], place));
    types.push_back(std::move(type));
  }
  if (kind == "tuple") return "Tuple[" + (types.empty() ? "()" : joined(types)) + "]";
  if (kind == "named_tuple") return inexpressible("a named tuple as an argument: " + what);
  const std::optional<std::string> element = common_type(types);
  if (!element) return inexpressible("a " + kind + " of different types: " + what);
  if (kind == "list") return "List[" + *element + "]";
  KILN_ASSIGN_OR_RETURN(const Json::Array* keys, node.array_at("keys"));
  if (keys->size() != items->size()) return undescribed("keys of a dict");
  const bool integers =
      std::all_of(keys->begin(), keys->end(), [](const Json& key) { return key.is_int(); });
  const bool texts =
      std::all_of(keys->begin(), keys->end(), [](const Json& key) { return key.is_string(); });
  if (!integers && !texts) return inexpressible("a dict with keys of this type: " + what);
  return std::string("Dict[") + (texts ? "str" : "int") + ", " + *element + "]";
}

// Puts the leaves of an argument where the plan wants them, and checks what was fixed.
Status Writer::take(const Json& node, const std::string& given, const std::string& type,
                    const std::string& what) {
  KILN_ASSIGN_OR_RETURN(const std::string kind, node.string_at("kind"));
  std::string text = given;
  const bool constant_none = kind == "const" && node.find("value")->is_null();
  if (type.starts_with(kOptional) && !constant_none) {
    text = unique("value");
    line(text + " = " + given);
    check(text + " is not None", what + " must not be None");
  }
  if (kind == "tensor" || kind == "scalar" || kind == "const") return take_leaf(node, text, what);
  const Json::Array& items = node.find("items")->as_array();
  const std::string size = std::to_string(items.size());
  if (kind != "tuple") {
    check(operators("aten") + ".len(" + text + ") == " + size,
          what + " must be a " + kind + " of " + size);
  }
  std::vector<std::string> types;
  std::vector<std::string> children;
  for (size_t i = 0; i < items.size(); ++i) {
    KILN_ASSIGN_OR_RETURN(std::string own, input_type(items[i], what));
    types.push_back(std::move(own));
    std::string key = std::to_string(i);
    if (kind == "dict") {
      KILN_ASSIGN_OR_RETURN(const Expression literal_key, literal((*node.find("keys"))[i]));
      key = literal_key.text;
      check(key + " in " + text, what + " has no key " + (*node.find("keys"))[i].dump());
    }
    children.push_back(text + "[" + key + "]");
  }
  const std::optional<std::string> element = kind == "tuple" ? std::nullopt : common_type(types);
  for (size_t i = 0; i < items.size(); ++i) {
    const std::string label = kind == "dict" ? (*node.find("keys"))[i].dump() : std::to_string(i);
    KILN_RETURN_IF_ERROR(
        take(items[i], children[i], element ? *element : types[i], what + "[" + label + "]"));
  }
  return {};
}

Status Writer::take_leaf(const Json& node, const std::string& text, const std::string& what) {
  const Json* value = node.find("value");
  if (value != nullptr) {
    KILN_ASSIGN_OR_RETURN(const Expression expected, literal(*value));
    const std::string fixed = what + " was fixed at capture to " + value->dump();
    if (value->is_null()) {
      check(text + " is None", fixed);
    } else if (value->dump() == R"({"float":"nan"})") {
      check(operators("aten") + ".isnan(" + text + ")", fixed);  // x != x is folded
    } else {
      check(text + " == " + expected.text, fixed);
    }
    return {};
  }
  KILN_ASSIGN_OR_RETURN(const int64_t index, node.int_at("index", 0, 1 << 30));
  const auto position = static_cast<size_t>(index);
  if (position >= inputs_.size() || plan_.inputs[position].is_state || !inputs_[position].empty()) {
    return undescribed("input " + std::to_string(index));
  }
  const TensorSignature& signature = plan_.inputs[position];
  KILN_ASSIGN_OR_RETURN(const std::string kind, node.string_at("kind"));
  if (signature.is_object && !signature.number) {
    return inexpressible("an argument that only PyTorch's dispatcher understands: " + what);
  }
  if ((kind == "tensor") == signature.is_object) return undescribed(what + " is a " + kind);
  inputs_[position] = text;
  return {};
}

// The signature without `self`; the body begins with what takes the arguments apart.
Result<std::string> Writer::parameters(const Json& metadata) {
  KILN_ASSIGN_OR_RETURN(const Json* tree, metadata.member("input_tree"));
  KILN_ASSIGN_OR_RETURN(const std::vector<std::string> known, metadata.strings_at("parameters"));
  KILN_ASSIGN_OR_RETURN(const Json::Array* parts, tree->array_at("items"));
  if (parts->size() != 2) return undescribed("arguments by position and by name");
  KILN_ASSIGN_OR_RETURN(const Json::Array* positional, (*parts)[0].array_at("items"));
  KILN_ASSIGN_OR_RETURN(const Json::Array* named, (*parts)[1].array_at("items"));
  KILN_ASSIGN_OR_RETURN(std::vector<std::string> keys, (*parts)[1].strings_at("keys"));
  if (keys.size() != named->size()) return undescribed("names of arguments");
  struct Parameter {
    std::string name;
    const Json* node;
  };
  std::vector<Parameter> ordered;
  for (size_t i = 0; i < positional->size(); ++i) {
    const bool has_name = i < known.size() && is_identifier(known[i]);
    ordered.push_back({has_name ? known[i] : "arg_" + std::to_string(i), &(*positional)[i]});
  }
  // Captured by name, though the model's forward has a position for it.
  size_t by_position = positional->size();
  std::vector<bool> placed(keys.size());
  for (; by_position < known.size(); ++by_position) {
    const auto found = std::find(keys.begin(), keys.end(), known[by_position]);
    if (found == keys.end()) break;
    const auto i = static_cast<size_t>(found - keys.begin());
    placed[i] = true;
    ordered.push_back({keys[i], &(*named)[i]});
  }
  for (size_t i = 0; i < keys.size(); ++i) {
    if (!placed[i]) ordered.push_back({keys[i], &(*named)[i]});
  }
  const auto is_constant = [](const Json& node) {
    const Json* kind = node.find("kind");
    return kind != nullptr && *kind == Json("const");
  };
  // torch's files do not keep that an argument goes by name only, and then a default must not be
  // followed by an argument without one.
  size_t first_default = ordered.size();
  while (first_default > 0 && is_constant(*ordered[first_default - 1].node)) --first_default;
  for (const Parameter& parameter : ordered) {
    if (!is_identifier(parameter.name)) {
      return inexpressible("this name of an argument: " + parameter.name);
    }
    if (!taken_.insert(parameter.name).second) {
      return inexpressible("two arguments of one name: " + parameter.name);
    }
    parameter_names_.push_back(parameter.name);
  }
  std::vector<std::string> texts;
  for (size_t i = 0; i < ordered.size(); ++i) {
    const auto& [name, node] = ordered[i];
    KILN_ASSIGN_OR_RETURN(const std::string type, input_type(*node, name));
    std::string text = name + ": " + type;
    if (i >= first_default && is_constant(*node)) {
      KILN_ASSIGN_OR_RETURN(const Expression value, literal(*node->find("value")));
      text += " = " + value.text;
    }
    texts.push_back(std::move(text));
    KILN_RETURN_IF_ERROR(take(*node, name, type, name));
  }
  return joined(texts);
}

// `self.inner.total`; names that are no identifiers ("0") by getattr.
void Writer::name_state() {
  for (size_t i = 0; i < plan_.inputs.size(); ++i) {
    if (!plan_.inputs[i].is_state) continue;
    std::string text = "self";
    std::stringstream path(plan_.inputs[i].name);
    for (std::string part; std::getline(path, part, '.');) {
      text = is_identifier(part) ? text + "." + part
                                 : "getattr(" + text + ", " + c10::str('"', part, '"') + ")";
    }
    inputs_[i] = text;
  }
}

// ---- the call

// An integer expression over the sizes of the inputs.
Result<std::string> Writer::size_text(const DimExpr& expr) {
  if (expr.is_constant()) return std::to_string(expr.value());
  std::set<std::string> used;
  expr.collect_symbols(used);
  for (const std::string& symbol : used) {
    if (symbols_.contains(symbol)) continue;
    const std::vector<SymbolSource> sources = symbol_sources(plan_.inputs);
    const auto source = std::find_if(sources.begin(), sources.end(),
                                     [&](const auto& s) { return s.symbol == symbol; });
    if (source == sources.end()) return undescribed("size " + symbol);
    std::string text = inputs_[source->input];
    if (!plan_.inputs[source->input].number) {
      text = operators("aten") + ".size(" + text + ", " + std::to_string(source->dim) + ")";
    }
    if (source->bias != 0) text = "(" + text + " - " + std::to_string(source->bias) + ")";
    if (source->scale != 1) text += " // " + std::to_string(source->scale);
    const std::string name = unique("size");
    line(name + " = " + text);
    symbols_[symbol] = name;
  }
  std::string sum = std::to_string(expr.constant_part());
  for (const DimExpr::Term& term : *expr.terms()) {
    std::string product = std::to_string(term.coefficient);
    for (const auto& factor : term.factors) {
      if (factor->kind == AtomKind::kSymbol) {
        product += " * " + symbols_[factor->text];
        continue;
      }
      KILN_ASSIGN_OR_RETURN(const std::string a, size_text(factor->a));
      KILN_ASSIGN_OR_RETURN(const std::string b, size_text(factor->b));
      const bool is_max = factor->kind == AtomKind::kMax;
      product +=
          factor->kind == AtomKind::kFloorDiv ? " * ((" + a + ") // (" + b + "))"
          : factor->kind == AtomKind::kMod
              ? " * ((" + a + ") % (" + b + "))"
              : " * " + operators("prim") + (is_max ? ".max(" : ".min(") + a + ", " + b + ")";
    }
    sum += " + " + product;
  }
  return sum;
}

Result<std::string> Writer::list_text(const std::vector<DimExpr>& exprs) {
  std::vector<std::string> parts;
  for (const DimExpr& expr : exprs) {
    KILN_ASSIGN_OR_RETURN(std::string part, size_text(expr));
    parts.push_back(std::move(part));
  }
  return "[" + joined(parts) + "]";
}

Result<std::string> Writer::view_text(std::string text, const ViewChain& chain) {
  for (const ViewOp& op : chain) {
    KILN_ASSIGN_OR_RETURN(const std::string arguments, list_text(op.args));
    text =
        operators("aten") + "." + std::string(view_op_name(op.kind)) + "(" + text + ", " +
        (op.kind == ViewOp::Kind::kSlice ? arguments.substr(1, arguments.size() - 2) : arguments) +
        ")";
  }
  return text;
}

Status Writer::call() {
  std::set<int> targets;
  for (const PlanOutput& output : plan_.outputs) {
    if (output.kind == PlanOutput::Kind::kWriteInput) targets.insert(output.target);
  }
  std::vector<std::string> written, read, numbers;
  for (size_t i = 0; i < plan_.inputs.size(); ++i) {
    if (inputs_[i].empty()) return undescribed("input " + std::to_string(i));
    (plan_.inputs[i].is_object               ? numbers
     : targets.contains(static_cast<int>(i)) ? written
                                             : read)
        .push_back(inputs_[i]);
  }
  const auto list = [&](const std::string& type, const std::vector<std::string>& items) {
    return annotated("List[" + type + "]", "[" + joined(items) + "]");
  };
  const std::string program = "self." + program_;
  const std::string outs = unique("results");
  const std::string rest = list("Tensor", read) + ", " + list("int", numbers) + ", " + program;
  line(outs + " = " + operators("kiln") +
       (written.empty() ? ".run(" : ".run_ordered(" + list("Tensor", written) + ", ") + rest + ")");
  // Where each output of the plan is found.
  std::vector<std::string> made(plan_.outputs.size());
  int next = 0;
  for (size_t i = 0; i < plan_.outputs.size(); ++i) {
    if (plan_.outputs[i].kind != PlanOutput::Kind::kResult) continue;
    made[i] = unique("result");
    line(made[i] + " = " + outs + "[" + std::to_string(next++) + "]");
  }
  std::vector<size_t> shown(plan_.outputs.size());  // which of results_
  for (size_t i = 0; i < plan_.outputs.size(); ++i) {
    const PlanOutput& output = plan_.outputs[i];
    const auto target = static_cast<size_t>(output.target);
    shown[i] = results_.size();
    switch (output.kind) {
      case PlanOutput::Kind::kWriteInput: break;
      case PlanOutput::Kind::kResult:
        if (!output.signature.is_object || !output.signature.scalar) {
          results_.push_back({made[i], output.signature.is_object ? "object" : "Tensor"});
        } else {
          const DType type = *output.signature.scalar;
          const bool integer = type == DType::kI64, boolean = type == DType::kBool;
          results_.push_back({operators("aten") +
                                  (integer   ? ".Int("
                                   : boolean ? ".Bool("
                                             : ".Float(") +
                                  made[i] + ")",
                              integer   ? "int"
                              : boolean ? "bool"
                                        : "float"});
        }
        break;
      case PlanOutput::Kind::kViewOfInput:
      case PlanOutput::Kind::kViewOfOutput: {
        const bool of_input = output.kind == PlanOutput::Kind::kViewOfInput;
        if (!of_input && output.signature.is_object && target < i) {  // the very same
          results_.push_back(Expression(results_[shown[target]]));
          break;
        }
        KILN_ASSIGN_OR_RETURN(const std::string text,
                              view_text(of_input ? inputs_[target] : made[target], output.view));
        results_.push_back({text, "Tensor"});
      }
    }
  }
  return {};
}

// ---- results

Result<Writer::Expression> Writer::give_leaf(const std::string& kind, const Json& node) {
  if (kind == "const") {
    KILN_ASSIGN_OR_RETURN(const Json* value, node.member("value"));
    return literal(*value);
  }
  if (kind == "expr") {
    KILN_ASSIGN_OR_RETURN(const std::string expression, node.string_at("text"));
    KILN_ASSIGN_OR_RETURN(const DimExpr size, DimExpr::parse(expression));
    KILN_ASSIGN_OR_RETURN(const std::string text, size_text(size));
    return Expression{text, "int"};
  }
  KILN_ASSIGN_OR_RETURN(const int64_t index, node.int_at("index", 0, 1 << 30));
  if (static_cast<size_t>(index) >= results_.size()) {
    return undescribed("output " + std::to_string(index));
  }
  Expression result = results_[static_cast<size_t>(index)];
  if (result.type == "object") {
    if (kind != "tensor") return inexpressible("a result whose type only running reveals");
    result.type = "Tensor";
  }
  if ((kind == "tensor") != (result.type == "Tensor")) return undescribed("a result is a " + kind);
  return result;
}

Result<Writer::Expression> Writer::give_list(const std::vector<Expression>& items) {
  std::vector<std::string> texts, types;
  for (const Expression& item : items) {
    texts.push_back(item.text);
    types.push_back(item.type);
  }
  const std::optional<std::string> element = common_type(types);
  if (!element) return inexpressible("a list of different types as a result");
  const std::string type = "List[" + *element + "]";
  return Expression{annotated(type, "[" + joined(texts) + "]"), type};
}

Result<Writer::Expression> Writer::give_dict(const Json::Array& keys,
                                             const std::vector<Expression>& items) {
  if (keys.size() != items.size()) return undescribed("keys of a dict");
  std::vector<std::string> texts, types, key_types;
  for (size_t i = 0; i < items.size(); ++i) {
    KILN_ASSIGN_OR_RETURN(const Expression key, literal(keys[i]));
    key_types.push_back(key.type);
    texts.push_back(key.text + ": " + items[i].text);
    types.push_back(items[i].type);
  }
  const std::optional<std::string> element = common_type(types);
  if (!element) return inexpressible("a dict of different types as a result");
  const std::string key = key_types.empty() ? "str" : key_types[0];
  const bool one_type = std::all_of(key_types.begin(), key_types.end(),
                                    [&](const std::string& other) { return other == key; });
  if (!one_type || (key != "str" && key != "int")) {
    return inexpressible("a dict with keys of this type as a result");
  }
  const std::string type = "Dict[" + key + ", " + *element + "]";
  return Expression{annotated(type, "{" + joined(texts) + "}"), type};
}

Result<Writer::Expression> Writer::give_named(const Json& node,
                                              const std::vector<Expression>& items) {
  KILN_ASSIGN_OR_RETURN(const std::string full_name, node.string_at("type"));
  KILN_ASSIGN_OR_RETURN(const std::vector<std::string> fields, node.strings_at("fields"));
  const std::string name = full_name.substr(full_name.rfind('.') + 1);
  if (fields.size() != items.size()) return undescribed("fields of a named tuple");
  if (!is_identifier(name) || !std::all_of(fields.begin(), fields.end(), is_identifier)) {
    return inexpressible("the names of this named tuple: " + full_name);
  }
  std::vector<c10::TypePtr> types;
  std::vector<std::string> texts;
  for (const Expression& item : items) {
    if (item.type != "Tensor" && item.type != "int" && item.type != "float" &&
        item.type != "bool" && item.type != "str") {
      return inexpressible("a named tuple with fields of this type as a result: " + item.type);
    }
    types.push_back(item.type == "Tensor"  ? c10::TypePtr(c10::TensorType::get())
                    : item.type == "int"   ? c10::TypePtr(c10::IntType::get())
                    : item.type == "float" ? c10::TypePtr(c10::FloatType::get())
                    : item.type == "bool"  ? c10::TypePtr(c10::BoolType::get())
                                           : c10::TypePtr(c10::StringType::get()));
    texts.push_back(item.text);
  }
  const std::string local = unique(name);
  const c10::TupleTypePtr type =
      c10::TupleType::createNamed(c10::QualifiedName("__torch__.kiln." + local), fields, types);
  names_->values[local] = std::make_shared<jit::NamedTupleConstructor>(type);
  names_->types[local] = type;
  return Expression{local + "(" + joined(texts) + ")", local};
}

Result<Writer::Expression> Writer::give(const Json& node) {
  KILN_ASSIGN_OR_RETURN(const std::string kind, node.string_at("kind"));
  if (kind == "tensor" || kind == "scalar" || kind == "const" || kind == "expr") {
    return give_leaf(kind, node);
  }
  KILN_ASSIGN_OR_RETURN(const Json::Array* items, node.array_at("items"));
  std::vector<Expression> parts;
  std::vector<std::string> texts, types;
  for (const Json& item : *items) {
    KILN_ASSIGN_OR_RETURN(Expression part, give(item));
    texts.push_back(part.text);
    types.push_back(part.type);
    parts.push_back(std::move(part));
  }
  if (kind == "list") return give_list(parts);
  if (kind == "tuple") {
    if (parts.empty()) return Expression{"()", "Tuple[()]"};
    return Expression{"(" + joined(texts) + (parts.size() == 1 ? ",)" : ")"),
                      "Tuple[" + joined(types) + "]"};
  }
  if (kind == "named_tuple") return give_named(node, parts);
  if (kind == "dict") {
    KILN_ASSIGN_OR_RETURN(const Json::Array* keys, node.array_at("keys"));
    return give_dict(*keys, parts);
  }
  if (kind != "custom") return undescribed("kind " + kind);
  // Where the type is one of names and values (transformers' ModelOutput), a dict stands for it, as
  // where kiln.load finds no such class.
  KILN_ASSIGN_OR_RETURN(const std::string type, node.string_at("type"));
  const Json* context = node.find("context");
  if (context != nullptr && context->is_array() && context->size() != 0 &&
      (*context)[0].is_array()) {
    context = &(*context)[0];
  }
  const auto is_text = [](const Json& key) { return key.is_string(); };
  if (context == nullptr || !context->is_array() || context->size() != parts.size() ||
      !std::all_of(context->as_array().begin(), context->as_array().end(), is_text)) {
    return inexpressible("a result of this type: " + type);
  }
  return give_dict(context->as_array(), parts);
}

Result<ScriptSource> Writer::write(const Json& metadata) {
  inputs_.resize(plan_.inputs.size());
  KILN_ASSIGN_OR_RETURN(const std::string signature, parameters(metadata));
  name_state();
  KILN_RETURN_IF_ERROR(call());
  KILN_ASSIGN_OR_RETURN(const Json* tree, metadata.member("output_tree"));
  KILN_ASSIGN_OR_RETURN(const Expression result, give(*tree));
  line("return " + result.text);
  ScriptSource source;
  source.text = "def forward(self" + (signature.empty() ? "" : ", " + signature) + "):\n" + body_;
  source.resolver = names_;
  source.parameters = parameter_names_;
  return source;
}

}  // namespace

Result<ScriptSource> script_source(const EnginePlan& plan, const std::string& metadata,
                                   const std::string& program) {
  KILN_ASSIGN_OR_RETURN(const Json description, parse_json(metadata));
  Result<ScriptSource> source = Writer(plan, program).write(description);
  // A member that is missing or of another kind.
  if (source.status().code().starts_with("K301")) return undescribed(source.status().message());
  return source;
}

}  // namespace kiln

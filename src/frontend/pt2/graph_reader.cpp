#include "frontend/pt2/graph_reader.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace kiln::pt2 {
namespace {

constexpr int kMaxRegions = 8;

Status malformed(const std::string& what) {
  return Status::error("K1143", "malformed graph: " + what);
}

CaptureArg to_arg(const Polynomial& size) {
  if (const auto constant = size.constant()) return CaptureArg{*constant};
  return CaptureArg{CaptureArg::Expr{size.to_string()}};
}

Result<double> number(const Json& json) {
  if (json.is_number()) return json.as_double();
  const std::string text = json.is_string() ? json.as_string() : "";
  const double infinity = std::numeric_limits<double>::infinity();
  if (text == "Infinity") return infinity;
  if (text == "-Infinity") return -infinity;
  if (text == "NaN") return std::numeric_limits<double>::quiet_NaN();
  return malformed("not a number: " + json.dump().substr(0, 40));
}

// "torch.ops.aten.add.Tensor" -> the parts after "torch.ops."; empty for other functions.
std::vector<std::string> operator_parts(const std::string& target) {
  constexpr std::string_view kPrefix = "torch.ops.";
  std::vector<std::string> parts;
  if (!target.starts_with(kPrefix)) return parts;
  std::string_view rest = std::string_view(target).substr(kPrefix.size());
  while (true) {
    const size_t dot = rest.find('.');
    parts.emplace_back(rest.substr(0, dot));
    if (dot == std::string_view::npos) return parts;
    rest.remove_prefix(dot + 1);
  }
}

}  // namespace

Status GraphReader::read(const Json& graph, int depth) {
  if (depth > kMaxRegions) return malformed("regions are nested too deeply");
  const Json* outer = graph_;
  graph_ = &graph;
  KILN_ASSIGN_OR_RETURN(const Json::Array* nodes, graph.array_at("nodes"));
  for (const Json& node : *nodes) {
    Status status = read_node(node, depth);
    if (status.ok()) continue;
    const CaptureOrigin origin = origin_of(node);
    std::string place = origin.module_path;
    if (!place.empty() && !origin.location.empty()) place += ", ";
    place += origin.location;
    return place.empty() ? std::move(status) : std::move(status).at(place);
  }
  graph_ = outer == nullptr ? graph_ : outer;
  return {};
}

Status GraphReader::read_node(const Json& node, int depth) {
  KILN_ASSIGN_OR_RETURN(const std::string target, node.string_at("target"));
  const std::vector<std::string> parts = operator_parts(target);
  if (parts.empty()) return read_function(node, target);
  if (parts[0] == "higher_order") {
    return inline_region(node, parts.size() > 1 ? parts[1] : "", depth);
  }
  if (parts.size() != 3) return malformed("not an operator: " + target);
  Target op{parts[0] + "::" + parts[1], parts[2] == "default" ? "" : parts[2]};
  const std::string name = op.full_name();
  // Statements about sizes that compute nothing; the ranges of the symbols carry what they say.
  if (name == "aten::sym_constrain_range" || name == "aten::sym_constrain_range_for_size") {
    return {};
  }
  if (name == "aten::_assert_tensor_metadata" && metadata_holds(node)) return {};
  if (name == "aten::_assert_scalar") {
    KILN_ASSIGN_OR_RETURN(const bool settled, settle_assertion(node));
    if (settled) return {};
  }
  static constexpr std::array kSizeQueries = {"aten::sym_size.int", "aten::sym_stride.int",
                                              "aten::sym_numel", "aten::sym_storage_offset"};
  if (std::find(kSizeQueries.begin(), kSizeQueries.end(), name) != kSizeQueries.end()) {
    KILN_ASSIGN_OR_RETURN(const Json::Array* outputs, node.array_at("outputs"));
    if (outputs->size() == 1) {
      const Json* value = outputs->front().find("as_sym_int");
      if (value == nullptr) return malformed("result of " + name);
      if (value->find("as_int") != nullptr) return {};
      KILN_ASSIGN_OR_RETURN(const std::string result, value->string_at("as_name"));
      KILN_ASSIGN_OR_RETURN(auto known, known_number(*graph_, result));
      if (known) {
        values_[result] = {std::move(*known)};
        return {};
      }
    }
  }
  return read_call(node, op);
}

Result<const Json*> GraphReader::entry(const char* table, const std::string& name) const {
  const Json* values = graph_->find(table);
  const Json* found = values == nullptr ? nullptr : values->find(name);
  if (found == nullptr) return malformed(std::string(table) + " lacks " + name);
  return found;
}

Result<std::optional<CaptureArg>> GraphReader::known_number(const Json& graph,
                                                            const std::string& name) {
  using Known = std::optional<CaptureArg>;
  const auto lookup = [&](const char* table) {
    const Json* values = graph.find(table);
    return values == nullptr ? nullptr : values->find(name);
  };
  if (const Json* size = lookup("sym_int_values")) {
    auto polynomial = size_of(*size, sizes_);
    if (!polynomial.ok()) {
      if (polynomial.status().code() == "K1141") return Known();
      return std::move(polynomial).status();
    }
    for (const std::string& symbol : sizes_.symbols_of(*polynomial)) {
      if (is_unbacked(symbol)) return Known();
    }
    return Known(to_arg(*polynomial));
  }
  if (const Json* flag = lookup("sym_bool_values")) {
    if (const Json* plain = flag->find("as_bool"); plain != nullptr && plain->is_bool()) {
      return Known(CaptureArg{plain->as_bool()});
    }
    const Json* expression = flag->find("as_expr");
    if (expression == nullptr) return malformed("condition " + name);
    KILN_ASSIGN_OR_RETURN(const std::string text, expression->string_at("expr_str"));
    const auto parsed = parse_size(text);
    if (!parsed.ok()) return Known();
    const auto decided = sizes_.decide(*parsed);
    if (!decided.ok() || *decided == Truth::kOpen) return Known();
    return Known(CaptureArg{*decided == Truth::kTrue});
  }
  if (const Json* real = lookup("sym_float_values")) {
    const Json* plain = real->find("as_float");
    if (plain == nullptr) return Known();
    KILN_ASSIGN_OR_RETURN(const double value, number(*plain));
    return Known(CaptureArg{value});
  }
  return Known();
}

// A Python function of numbers: known from the sizes, or computed at run time when it is used.
Status GraphReader::read_function(const Json& node, const std::string& name) {
  KILN_ASSIGN_OR_RETURN(const Json::Array* outputs, node.array_at("outputs"));
  static constexpr std::array kModules = {"_operator.", "math.", "torch."};
  const bool scalar = std::any_of(kModules.begin(), kModules.end(),
                                  [&](const char* module) { return name.starts_with(module); });
  if (outputs->size() != 1 || !scalar) {
    return Status::error("K1140", "a function that is no ATen operator: " + name);
  }
  KILN_ASSIGN_OR_RETURN(const Tagged output, tagged(outputs->front()));
  if (!output.tag.starts_with("as_sym_")) return malformed("result of " + name);
  const Json* result = output.value->find("as_name");
  if (result == nullptr) return {};  // a literal: what uses it holds the number
  if (!result->is_string()) return malformed("result of " + name);
  KILN_ASSIGN_OR_RETURN(auto known, known_number(*graph_, result->as_string()));
  Value value;
  if (known) {
    value.arg = std::move(*known);
  } else {
    value.lazy = &node;
  }
  values_[result->as_string()] = std::move(value);
  return {};
}

Status GraphReader::force(Value& value) {
  const Json& node = *value.lazy;
  KILN_ASSIGN_OR_RETURN(std::string name, node.string_at("target"));
  const size_t dot = name.rfind('.');
  name = name.substr(0, dot) + "::" + name.substr(dot + 1);
  KILN_ASSIGN_OR_RETURN(const Json::Array* inputs, node.array_at("inputs"));
  // Before its operands: a number that is made of itself is no number.
  value.lazy = nullptr;
  std::vector<CaptureArg> args;
  for (const Json& input : *inputs) {
    KILN_ASSIGN_OR_RETURN(const Json* argument, input.member("arg"));
    KILN_ASSIGN_OR_RETURN(CaptureArg arg, convert(*argument, ""));
    args.push_back(std::move(arg));
  }
  return emit(name, "", args, node, "");
}

bool GraphReader::metadata_holds(const Json& node) {
  const Json* inputs = node.find("inputs");
  if (inputs == nullptr || !inputs->is_array() || inputs->size() == 0) return false;
  const Json* first = inputs->as_array()[0].find("arg");
  const Json* tensor = first == nullptr ? nullptr : first->find("as_tensor");
  const Json* name = tensor == nullptr ? nullptr : tensor->find("name");
  const Json* metas = graph_->find("tensor_values");
  const Json* meta = name == nullptr || !name->is_string() || metas == nullptr
                         ? nullptr
                         : metas->find(name->as_string());
  if (meta == nullptr) return false;
  for (size_t i = 1; i < inputs->size(); ++i) {
    const Json &input = (*inputs)[i], *key = input.find("name"), *value = input.find("arg");
    if (key == nullptr || !key->is_string() || value == nullptr) return false;
    if (value->find("as_none") != nullptr) continue;
    const std::string& what = key->as_string();
    const char* tag = what == "dtype"    ? "as_scalar_type"
                      : what == "device" ? "as_device"
                      : what == "layout" ? "as_layout"
                                         : "";
    const Json *wanted = value->find(tag), *known = meta->find(what);
    if (wanted == nullptr || known == nullptr || !(*wanted == *known)) return false;
  }
  return true;
}

Result<bool> GraphReader::settle_assertion(const Json& node) {
  KILN_ASSIGN_OR_RETURN(const Json::Array* inputs, node.array_at("inputs"));
  if (inputs->empty()) return malformed("an assertion of nothing");
  KILN_ASSIGN_OR_RETURN(const Json* argument, inputs->front().member("arg"));
  KILN_ASSIGN_OR_RETURN(const Tagged condition, tagged(*argument));
  if (condition.tag == "as_bool") return condition.value->is_bool() && condition.value->as_bool();
  if (condition.tag != "as_sym_bool") return false;
  const Json* name = condition.value->find("as_name");
  if (name == nullptr || !name->is_string()) return false;
  KILN_ASSIGN_OR_RETURN(const auto known, known_number(*graph_, name->as_string()));
  if (known) {
    const bool* flag = std::get_if<bool>(&known->value);
    return flag != nullptr && *flag;
  }
  KILN_ASSIGN_OR_RETURN(const Json* value, entry("sym_bool_values", name->as_string()));
  const Json* expression = value->find("as_expr");
  if (expression == nullptr) return false;
  KILN_ASSIGN_OR_RETURN(const std::string text, expression->string_at("expr_str"));
  const auto parsed = parse_size(text);
  if (!parsed.ok()) return false;
  const Json* message = inputs->size() > 1 ? (*inputs)[1].find("arg") : nullptr;
  if (message != nullptr) message = message->find("as_string");
  return add_condition(*parsed, message != nullptr && message->is_string() ? message->as_string()
                                                                           : text);
}

Result<bool> GraphReader::add_condition(const SizeNode& condition, const std::string& text) {
  struct Relation {
    const std::string* name;
    Polynomial left, right;
  };
  std::vector<Relation> relations;
  std::vector<const SizeNode*> todo = {&condition};
  while (!todo.empty()) {
    const SizeNode& node = *todo.back();
    todo.pop_back();
    if (node.kind == SizeNode::Kind::kCall && node.name == "and") {
      for (size_t i = node.args.size(); i-- > 0;) todo.push_back(&node.args[i]);
      continue;
    }
    if (!is_relation(node)) return false;
    auto left = sizes_.evaluate(node.args[0]), right = sizes_.evaluate(node.args[1]);
    if (!left.ok() || !right.ok()) return false;
    for (const Polynomial* side : {&*left, &*right}) {
      for (const std::string& symbol : sizes_.symbols_of(*side)) {
        if (is_unbacked(symbol)) return false;
      }
    }
    relations.push_back({&node.name, std::move(*left), std::move(*right)});
  }
  for (const Relation& relation : relations) {
    KILN_RETURN_IF_ERROR(capture_
                             .condition(*relation.name, relation.left.to_string(),
                                        relation.right.to_string(), text)
                             .status());
  }
  return true;
}

Status GraphReader::read_call(const Json& node, const Target& target) {
  auto found = schemas_.find(target.full_name());
  std::string_view text;
  if (!found.ok() && target.name.ends_with("_")) {
    // An in-place operator is its functional twin and a write; the importer pairs them.
    Target twin = target;
    twin.name.pop_back();
    auto functional = schemas_.find(twin.full_name());
    if (functional.ok()) found = std::move(functional);
  } else if (found.ok()) {
    text = (*found)->text;
  }
  if (!found.ok()) return std::move(found).status();
  const OperatorSchema& schema = **found;
  KILN_ASSIGN_OR_RETURN(const Json::Array* inputs, node.array_at("inputs"));
  std::map<std::string, const Json*> given;
  for (const Json& input : *inputs) {
    KILN_ASSIGN_OR_RETURN(std::string name, input.string_at("name"));
    KILN_ASSIGN_OR_RETURN(const Json* argument, input.member("arg"));
    KILN_RETURN_IF_ERROR(check_sizes_known(*argument));
    if (!given.emplace(std::move(name), argument).second) {
      return malformed("an argument given twice to " + target.full_name());
    }
  }
  std::vector<CaptureArg> args;
  for (const OperatorArgument& argument : schema.arguments) {
    const auto value = given.find(argument.name);
    if (value != given.end()) {
      KILN_ASSIGN_OR_RETURN(CaptureArg arg, convert(*value->second, argument.type));
      args.push_back(std::move(arg));
      given.erase(value);
    } else if (argument.has_default) {
      args.push_back(argument.default_value);
    } else {
      return malformed("a call lacks an argument: " + target.full_name() + ", " + argument.name);
    }
  }
  if (!given.empty()) {
    return malformed("an argument that " + target.full_name() +
                     " does not have: " + given.begin()->first);
  }
  return emit(target.name, target.overload, args, node, text);
}

Status GraphReader::add_result(const Json& output, std::vector<std::string>& names,
                               std::vector<CaptureMeta>& metas) {
  const auto add_tensor = [&](const Json& tensor) -> Status {
    KILN_ASSIGN_OR_RETURN(const std::string name, tensor.string_at("name"));
    CaptureMeta meta;
    if (name.empty()) {
      meta.opaque = CaptureMeta::kNoTensor;
    } else {
      KILN_ASSIGN_OR_RETURN(const Json* values, entry("tensor_values", name));
      KILN_ASSIGN_OR_RETURN(meta, tensor_meta(*values, sizes_));
    }
    names.push_back(name);
    metas.push_back(std::move(meta));
    return {};
  };
  KILN_ASSIGN_OR_RETURN(const Tagged result, tagged(output));
  if (result.tag == "as_tensor") return add_tensor(*result.value);
  if (result.tag == "as_tensors" && result.value->is_array()) {
    for (const Json& tensor : result.value->as_array()) KILN_RETURN_IF_ERROR(add_tensor(tensor));
    return {};
  }
  if (result.tag == "as_optional_tensor" || result.tag == "as_optional_tensors") {
    Json::Array one = {*result.value};
    const Json::Array& items = result.value->is_array() ? result.value->as_array() : one;
    for (const Json& item : items) {
      const Json* tensor = item.find("as_tensor");
      if (tensor != nullptr) {
        KILN_RETURN_IF_ERROR(add_tensor(*tensor));
        continue;
      }
      names.emplace_back();
      metas.emplace_back().opaque = CaptureMeta::kNoTensor;
    }
    return {};
  }
  const char kind = result.tag == "as_sym_int"     ? 'i'
                    : result.tag == "as_sym_float" ? 'f'
                    : result.tag == "as_sym_bool"  ? 'b'
                                                   : 0;
  if (kind != 0) {
    const Json* name = result.value->find("as_name");
    names.push_back(name != nullptr && name->is_string() ? name->as_string() : "");
    metas.emplace_back().scalar = kind;
    return {};
  }
  if (result.tag == "as_none") {
    names.emplace_back();
    metas.emplace_back().opaque = CaptureMeta::kNoTensor;
    return {};
  }
  return Status::error("K1140",
                       "a result of a kind that is not supported: " + std::string(result.tag));
}

Status GraphReader::emit(const std::string& name, const std::string& overload,
                         const std::vector<CaptureArg>& args, const Json& node,
                         std::string_view schema) {
  KILN_ASSIGN_OR_RETURN(const Json::Array* outputs, node.array_at("outputs"));
  std::vector<std::string> names;
  std::vector<CaptureMeta> metas;
  for (const Json& output : *outputs) KILN_RETURN_IF_ERROR(add_result(output, names, metas));
  if (name == "aten::lstm" && overload == "input") correct_states(names, metas);
  KILN_ASSIGN_OR_RETURN(const auto handles,
                        capture_.call(name, overload, args, metas, origin_of(node), schema));
  if (handles.size() != names.size()) return malformed("number of results of " + name);
  for (size_t i = 0; i < names.size(); ++i) {
    if (names[i].empty()) continue;
    Value value;
    value.arg = CaptureArg{CaptureArg::Value{handles[i]}};
    value.host_number = metas[i].scalar.has_value();
    values_[names[i]] = std::move(value);
  }
  return {};
}

// torch.export (2.11) gives an LSTM's hidden states as (layers, 1, batch, hidden).
void GraphReader::correct_states(const std::vector<std::string>& names,
                                 std::vector<CaptureMeta>& metas) {
  for (size_t i = 1; i < metas.size(); ++i) {
    CaptureMeta& meta = metas[i];
    if (meta.dims.size() != 4 || meta.dims[1] != "1") continue;
    meta.dims.erase(meta.dims.begin() + 1);
    if (meta.strides.size() == 4) meta.strides.erase(meta.strides.begin() + 1);
    oversized_.insert(names[i]);
  }
}

// What is computed from such a value has other sizes than the file states.
Status GraphReader::check_sizes_known(const Json& argument) const {
  if (oversized_.empty()) return {};
  const auto check = [&](const Json& tensor) -> Status {
    const Json* name = tensor.find("name");
    if (name == nullptr || !name->is_string() || !oversized_.contains(name->as_string())) return {};
    return Status::error("K1140",
                         "the hidden states of an LSTM, which torch.export gives one dim too many, "
                         "are used in the program",
                         "compile it in Python: kiln.compile(torch.export.load(path))");
  };
  if (const Json* tensor = argument.find("as_tensor")) return check(*tensor);
  const Json* tensors = argument.find("as_tensors");
  if (tensors == nullptr || !tensors->is_array()) return {};
  for (const Json& tensor : tensors->as_array()) KILN_RETURN_IF_ERROR(check(tensor));
  return {};
}

Result<CaptureArg> GraphReader::named_value(const std::string& name) {
  const auto found = values_.find(name);
  if (found == values_.end()) return malformed("an unknown value: " + name);
  if (found->second.lazy != nullptr) {
    KILN_RETURN_IF_ERROR(force(found->second));
    return values_[name].arg;
  }
  return found->second.arg;
}

Result<CaptureArg> GraphReader::convert_name(const Json& named, const char* plain) {
  KILN_ASSIGN_OR_RETURN(const Tagged item, tagged(named));
  if (item.tag == "as_name" && item.value->is_string()) {
    return named_value(item.value->as_string());
  }
  if (item.tag != plain) return malformed("argument " + named.dump().substr(0, 80));
  if (item.value->is_bool()) return CaptureArg{item.value->as_bool()};
  if (item.value->is_int()) return CaptureArg{item.value->as_int()};
  KILN_ASSIGN_OR_RETURN(const double value, number(*item.value));
  return CaptureArg{value};
}

// `type`: what the schema says of the argument; "" unknown.
Result<CaptureArg> GraphReader::convert(const Json& argument, std::string_view type) {
  KILN_ASSIGN_OR_RETURN(const Tagged given, tagged(argument));
  const std::string_view tag = given.tag;
  const Json& value = *given.value;
  const auto bad = [&] { return malformed("argument " + argument.dump().substr(0, 80)); };
  // Elements of lists, by one rule for each kind.
  const auto list = [&](auto&& element) -> Result<CaptureArg> {
    if (!value.is_array()) return bad();
    CaptureArg::List items;
    for (const Json& item : value.as_array()) {
      KILN_ASSIGN_OR_RETURN(CaptureArg arg, element(item));
      items.push_back(std::move(arg));
    }
    return CaptureArg{std::move(items)};
  };
  const auto tensor = [&](const Json& item) -> Result<CaptureArg> {
    KILN_ASSIGN_OR_RETURN(const std::string name, item.string_at("name"));
    return named_value(name);
  };
  const auto optional_tensor = [&](const Json& item) -> Result<CaptureArg> {
    if (const Json* present = item.find("as_tensor")) return tensor(*present);
    if (item.find("as_none") == nullptr) return bad();
    return CaptureArg{};
  };
  const auto integer = [&](const Json& item) -> Result<CaptureArg> {
    if (!item.is_int()) return bad();
    return CaptureArg{item.as_int()};
  };
  const auto real = [&](const Json& item) -> Result<CaptureArg> {
    KILN_ASSIGN_OR_RETURN(const double number_value, number(item));
    return CaptureArg{number_value};
  };
  const auto flag = [&](const Json& item) -> Result<CaptureArg> {
    if (!item.is_bool()) return bad();
    return CaptureArg{item.as_bool()};
  };
  const auto text = [&](const Json& item) -> Result<CaptureArg> {
    if (!item.is_string()) return bad();
    return CaptureArg{item.as_string()};
  };
  const bool wants_list = type.find('[') != std::string_view::npos;
  const auto single = [&](Result<CaptureArg> one) -> Result<CaptureArg> {
    if (!one.ok() || !wants_list) return one;
    return CaptureArg{CaptureArg::List{std::move(*one)}};
  };

  if (tag == "as_none") return CaptureArg{};
  if (tag == "as_tensor") return tensor(value);
  if (tag == "as_tensors") return list(tensor);
  if (tag == "as_optional_tensor") return optional_tensor(value);
  if (tag == "as_optional_tensors") return list(optional_tensor);
  if (tag == "as_nested_tensors") {
    return list([&](const Json& inner) -> Result<CaptureArg> {
      CaptureArg::List items;
      if (!inner.is_array()) return bad();
      for (const Json& item : inner.as_array()) {
        KILN_ASSIGN_OR_RETURN(CaptureArg arg, tensor(item));
        items.push_back(std::move(arg));
      }
      return CaptureArg{std::move(items)};
    });
  }
  if (tag == "as_int") {
    if (type.starts_with("float") && value.is_int()) return single(real(value));
    return single(integer(value));
  }
  if (tag == "as_ints") {
    return type.starts_with("float") ? list(real) : list(integer);
  }
  if (tag == "as_int_lists") {
    return list([&](const Json& inner) -> Result<CaptureArg> {
      CaptureArg::List items;
      if (!inner.is_array()) return bad();
      for (const Json& item : inner.as_array()) {
        KILN_ASSIGN_OR_RETURN(CaptureArg arg, integer(item));
        items.push_back(std::move(arg));
      }
      return CaptureArg{std::move(items)};
    });
  }
  if (tag == "as_float") return single(real(value));
  if (tag == "as_floats") return list(real);
  if (tag == "as_bool") return single(flag(value));
  if (tag == "as_bools") return list(flag);
  if (tag == "as_string") return text(value);
  if (tag == "as_strings") return list(text);
  if (tag == "as_sym_int") return single(convert_name(value, "as_int"));
  if (tag == "as_sym_float") return single(convert_name(value, "as_float"));
  if (tag == "as_sym_bool") return single(convert_name(value, "as_bool"));
  if (tag == "as_sym_ints") {
    return list([&](const Json& item) { return convert_name(item, "as_int"); });
  }
  if (tag == "as_sym_floats") {
    return list([&](const Json& item) { return convert_name(item, "as_float"); });
  }
  if (tag == "as_sym_bools") {
    return list([&](const Json& item) { return convert_name(item, "as_bool"); });
  }
  if (tag == "as_scalar_type") {
    KILN_ASSIGN_OR_RETURN(const ScalarType dtype, scalar_type(value));
    if (dtype.dtype) return CaptureArg{*dtype.dtype};
    if (dtype.name == "unknown" || dtype.name.starts_with("number ")) {
      return Status::error("K1140", "a dtype that kiln does not know: " + dtype.name);
    }
    return CaptureArg{"torch." + dtype.name};  // a call with it stays in PyTorch
  }
  if (tag == "as_memory_format") {
    KILN_ASSIGN_OR_RETURN(std::string name, memory_format_name(value));
    return CaptureArg{CaptureArg::MemoryFormat{std::move(name)}};
  }
  if (tag == "as_layout") {
    KILN_ASSIGN_OR_RETURN(std::string name, layout_name(value));
    return CaptureArg{CaptureArg::Layout{std::move(name)}};
  }
  if (tag == "as_device") {
    KILN_ASSIGN_OR_RETURN(const Device device, device_of(value));
    return CaptureArg{device};
  }
  return Status::error("K1140", "an argument of a kind that is not supported: " + std::string(tag));
}

Result<GraphReader::Value> GraphReader::resolve(const Json& argument) {
  KILN_ASSIGN_OR_RETURN(const Tagged given, tagged(argument));
  Value value;
  KILN_ASSIGN_OR_RETURN(value.arg, convert(argument, ""));
  const Json* name = given.value->find(given.tag == "as_tensor" ? "name" : "as_name");
  if (name != nullptr && name->is_string()) {
    value.host_number = values_[name->as_string()].host_number;
  }
  return value;
}

// Regions that change no value of a forward pass are read in place.
Status GraphReader::inline_region(const Json& node, const std::string& name, int depth) {
  const auto refuse = [&name](const char* why, const char* hint = "") {
    return Status::error("K1140", std::string(why) + ": " + name, hint);
  };
  KILN_ASSIGN_OR_RETURN(const Json::Array* inputs, node.array_at("inputs"));
  KILN_ASSIGN_OR_RETURN(const Json::Array* outputs, node.array_at("outputs"));
  const bool autocast = name == "wrap_with_autocast";
  if (!autocast && name != "wrap_with_set_grad_enabled") {
    return refuse("a higher-order operator that is not supported");
  }
  size_t body = 0;
  const auto argument = [&](size_t i) { return (*inputs)[i].find("arg"); };
  while (body < inputs->size() &&
         (argument(body) == nullptr || argument(body)->find("as_graph") == nullptr)) {
    ++body;
  }
  if (body == inputs->size()) return malformed("a region without a graph");
  if (autocast) {
    const Json* device = argument(0) == nullptr ? nullptr : argument(0)->find("as_string");
    const Json* enabled = nullptr;
    for (size_t i = 1; i < body && enabled == nullptr; ++i) {
      if (argument(i) != nullptr) enabled = argument(i)->find("as_bool");
    }
    const bool other = device != nullptr && *device != Json("cpu") && *device != Json("cuda");
    if (!other && (enabled == nullptr || *enabled != Json(false))) {
      return refuse("an autocast region changes dtypes and is not inlined",
                    "exported_program.run_decompositions({}) writes the casts out");
    }
  }
  KILN_ASSIGN_OR_RETURN(const Json* region, argument(body)->find("as_graph")->member("graph"));
  KILN_ASSIGN_OR_RETURN(const Json::Array* parameters, region->array_at("inputs"));
  KILN_ASSIGN_OR_RETURN(const Json::Array* results, region->array_at("outputs"));
  if (parameters->size() != inputs->size() - body - 1) return malformed("inputs of a region");
  // Names are the region's own: the outer ones are put aside.
  std::map<std::string, Value> inner;
  for (size_t i = 0; i < parameters->size(); ++i) {
    if (argument(body + 1 + i) == nullptr) return malformed("inputs of a region");
    KILN_ASSIGN_OR_RETURN(Value value, resolve(*argument(body + 1 + i)));
    KILN_ASSIGN_OR_RETURN(const Tagged parameter, tagged((*parameters)[i]));
    const Json* key = parameter.value->find(parameter.tag == "as_tensor" ? "name" : "as_name");
    if (key != nullptr && key->is_string()) inner[key->as_string()] = std::move(value);
  }
  const Json* outer_graph = graph_;
  std::swap(values_, inner);
  KILN_RETURN_IF_ERROR(read(*region, depth + 1));
  graph_ = region;
  std::vector<Value> made;
  for (const Json& result : *results) {
    KILN_ASSIGN_OR_RETURN(Value value, resolve(result));
    made.push_back(std::move(value));
  }
  std::swap(values_, inner);
  graph_ = outer_graph;
  std::vector<std::string> names;
  std::vector<CaptureMeta> metas;
  for (const Json& output : *outputs) KILN_RETURN_IF_ERROR(add_result(output, names, metas));
  if (names.size() != made.size()) return malformed("results of a region");
  for (size_t i = 0; i < names.size(); ++i) {
    if (!names[i].empty()) values_[names[i]] = std::move(made[i]);
  }
  return {};
}

}  // namespace kiln::pt2

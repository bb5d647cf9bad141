// read_pt2: inputs, weights, conditions, nodes and outputs of an exported program, in the order of
// python/kiln/frontends/export_frontend.py.
#include <kiln/pt2.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "base/border.h"
#include "frontend/pt2/archive.h"
#include "frontend/pt2/graph_reader.h"
#include "frontend/pt2/tensor_meta.h"
#include "frontend/pt2/tree_spec.h"

namespace kiln {
namespace pt2 {
namespace {

Status malformed(const std::string& what) {
  return Status::error("K1143", "malformed program: " + what);
}

const char* dtype_text(DType dtype) {
  switch (dtype) {
    case DType::kF32: return "f32";
    case DType::kF64: return "f64";
    case DType::kF16: return "f16";
    case DType::kBF16: return "bf16";
    case DType::kI8: return "i8";
    case DType::kU8: return "u8";
    case DType::kI16: return "i16";
    case DType::kI32: return "i32";
    case DType::kI64: return "i64";
    case DType::kBool: return "bool";
  }
  return "";
}

Json leaf(const char* kind, size_t index) {
  Json json = Json::object();
  json.set("kind", kind);
  json.set("index", static_cast<int64_t>(index));
  return json;
}

// JSON has no infinities and no NaN: tree.py keeps them as {"float": "inf"}.
Json constant_leaf(const CaptureArg& arg) {
  Json value;
  if (const auto* flag = std::get_if<bool>(&arg.value)) value = Json(*flag);
  if (const auto* integer = std::get_if<int64_t>(&arg.value)) value = Json(*integer);
  if (const auto* text = std::get_if<std::string>(&arg.value)) value = Json(*text);
  if (const auto* real = std::get_if<double>(&arg.value)) {
    value = Json(*real);
    if (!std::isfinite(*real)) {
      value = Json::object();
      value.set("float", std::isnan(*real) ? "nan" : *real > 0 ? "inf" : "-inf");
    }
  }
  Json json = Json::object();
  json.set("kind", "const");
  json.set("value", std::move(value));
  return json;
}

// A size of a description: a number where it is one.
Json dim_json(const std::string& text) {
  const bool digits =
      std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
  return digits && text.size() < 19 ? Json(static_cast<int64_t>(std::stoll(text))) : Json(text);
}

void collect_names(const Json& json, std::set<std::string>& names) {
  if (json.is_array()) {
    for (const Json& item : json.as_array()) collect_names(item, names);
  } else if (json.is_object()) {
    for (const JsonMember& member : json.as_object()) {
      if (member.value.is_string()) {
        if (member.key == "name" || member.key == "as_name") names.insert(member.value.as_string());
      } else {
        collect_names(member.value, names);
      }
    }
  }
}

class ProgramReader {
 public:
  ProgramReader(Archive& archive, const Json& program, CaptureBuilder& capture,
                OperatorSchemas& schemas, const Pt2Options& options)
      : archive_(archive),
        program_(program),
        capture_(capture),
        options_(options),
        reader_(capture, schemas, sizes_) {}

  Result<std::string> read();

 private:
  struct Spec {
    std::string_view kind;
    const Json* value = nullptr;
  };
  Result<std::vector<Spec>> specs(const char* which) const;
  Status read_ranges();
  Status read_trees();
  Status apply_shapes();
  Status apply_shape(const Pt2Shape& shape);
  Status declare_symbols(const Json& sizes);
  Status declare_input(const Json& spec);
  Status declare_number(const std::string& name, char kind);
  Status declare_constant(const Json& spec);
  Status declare_weight(std::string_view kind, const Json& spec);
  Status declare_guards();
  Status declare_guard(const std::string& text);
  Status declare_outputs();
  Status declare_output(const Json& argument, const std::string& name);
  Result<std::string> metadata() const;

  Archive& archive_;
  const Json& program_;
  CaptureBuilder& capture_;
  const Pt2Options& options_;
  Sizes sizes_;
  GraphReader reader_;

  const Json* graph_ = nullptr;
  const Json* signature_ = nullptr;
  TreeSpec input_tree_, output_tree_;
  std::vector<std::string> parameters_;
  // Names of the model's state dict -> the weight that stands for the tensor, null where none is.
  Json state_names_ = Json::object();
  std::map<CaptureBuilder::Handle, std::string> weight_names_;
  std::set<std::string> used_;
  std::map<std::string, int32_t> weights_;                      // handles by what the bytes are
  std::map<std::string, std::vector<Polynomial>> input_sizes_;  // by source: "L['x']"
  std::map<std::string, Polynomial> input_numbers_;             // the same of integers
  std::vector<std::string> input_names_;                        // of all leaves, in order
  // For the description.
  std::vector<Json> input_leaves_, output_leaves_;
  Json inputs_ = Json::array(), output_names_ = Json::array(), symbols_ = Json::object();
};

Result<std::vector<ProgramReader::Spec>> ProgramReader::specs(const char* which) const {
  KILN_ASSIGN_OR_RETURN(const Json::Array* list, signature_->array_at(which));
  std::vector<Spec> result;
  for (const Json& item : *list) {
    KILN_ASSIGN_OR_RETURN(const Tagged spec, tagged(item));
    result.push_back({spec.tag, spec.value});
  }
  return result;
}

Status ProgramReader::read_ranges() {
  KILN_ASSIGN_OR_RETURN(const Json::Object* ranges, program_.object_at("range_constraints"));
  for (const JsonMember& entry : *ranges) {
    Interval range;
    const Json *low = entry.value.find("min_val"), *high = entry.value.find("max_val");
    if (low != nullptr && low->is_int()) range.low = low->as_int();
    if (high != nullptr && high->is_int()) range.high = high->as_int();
    if (range.low > range.high) return malformed("range of " + entry.key);
    sizes_.set_range(entry.key, range);
  }
  return {};
}

Status ProgramReader::read_trees() {
  KILN_ASSIGN_OR_RETURN(const Json* module, program_.member("graph_module"));
  KILN_ASSIGN_OR_RETURN(const Json::Array* calls, module->array_at("module_call_graph"));
  const Json* root = nullptr;
  for (const Json& call : *calls) {
    const Json *name = call.find("fqn"), *signature = call.find("signature");
    if (name != nullptr && *name == Json("") && signature != nullptr) root = signature;
  }
  if (root == nullptr) return malformed("no signature of the model's call");
  const Json* fields = module->find("treespec_namedtuple_fields");
  KILN_ASSIGN_OR_RETURN(const std::string in_spec, root->string_at("in_spec"));
  KILN_ASSIGN_OR_RETURN(const std::string out_spec, root->string_at("out_spec"));
  KILN_ASSIGN_OR_RETURN(input_tree_, parse_tree(in_spec, fields));
  KILN_ASSIGN_OR_RETURN(output_tree_, parse_tree(out_spec, fields));
  if (input_tree_.children.size() != 2 || input_tree_.children[0].type != "tuple" ||
      input_tree_.children[1].type != "dict") {
    return malformed("the inputs are no arguments and keywords");
  }
  const Json* names = root->find("forward_arg_names");
  if (names != nullptr && names->is_array()) {
    KILN_ASSIGN_OR_RETURN(parameters_, root->strings_at("forward_arg_names"));
    // Keywords follow; whether they may be given by position, the archive does not say.
    const size_t positional = input_tree_.children[0].children.size();
    if (parameters_.size() > positional) parameters_.resize(positional);
  }
  return {};
}

Status ProgramReader::apply_shape(const Pt2Shape& shape) {
  const auto refuse = [&shape](const std::string& why) {
    return Status::error("K1144", "the shape given for " + shape.input + " " + why);
  };
  if (std::find(input_names_.begin(), input_names_.end(), shape.input) == input_names_.end()) {
    std::string known;
    for (const std::string& name : input_names_) known += (known.empty() ? "" : ", ") + name;
    return Status::error("K1144", "no input has the name " + shape.input, "inputs: " + known);
  }
  KILN_ASSIGN_OR_RETURN(const Json* metas, graph_->member("tensor_values"));
  const Json* meta = metas->find(shape.input);
  if (meta == nullptr) return refuse("is for a number");
  KILN_ASSIGN_OR_RETURN(const Json::Array* dims, meta->array_at("sizes"));
  if (shape.min.size() != dims->size() || shape.max.size() != dims->size()) {
    return refuse("has another rank than " + std::to_string(dims->size()));
  }
  for (size_t i = 0; i < dims->size(); ++i) {
    const int64_t low = shape.min[i], high = shape.max[i];
    const std::string place = "dim " + std::to_string(i);
    if (low < 0 || low > high) return refuse("has an empty range in " + place);
    KILN_ASSIGN_OR_RETURN(const Polynomial size, size_of((*dims)[i], sizes_));
    if (const auto constant = size.constant()) {
      if (low != *constant || high != *constant) {
        return refuse("differs in " + place + ", which was exported as " + size.to_string());
      }
      continue;
    }
    const std::string symbol = size.to_string();
    const auto& factors = size.terms().begin()->first;
    if (size.terms().size() != 1 || factors.size() != 1 || factors[0] != symbol ||
        symbol.find('(') != std::string::npos) {
      return refuse("narrows " + place + ", which follows from other sizes: " + symbol);
    }
    const Interval known = sizes_.range_of(symbol).value_or(Interval{0, Interval::kHigh});
    if (low < known.low || high > known.high) {
      return refuse("leaves the range that " + place + " was exported with: " +
                    std::to_string(known.low) + " to " + std::to_string(known.high));
    }
    sizes_.set_range(symbol, {low, high});
    if (low == high) sizes_.fix(symbol, low);
  }
  return {};
}

Status ProgramReader::apply_shapes() {
  for (const Pt2Shape& shape : options_.shapes) KILN_RETURN_IF_ERROR(apply_shape(shape));
  return {};
}

Status ProgramReader::declare_symbols(const Json& list) {
  if (!list.is_array()) return malformed("sizes of an input");
  for (const Json& item : list.as_array()) {
    KILN_ASSIGN_OR_RETURN(const Polynomial size, size_of(item, sizes_));
    for (const std::string& symbol : sizes_.symbols_of(size)) {
      if (symbols_.find(symbol) != nullptr || is_unbacked(symbol)) continue;
      const Interval known = sizes_.range_of(symbol).value_or(Interval{});
      const int64_t low = std::max<int64_t>(known.low, 0);
      KILN_RETURN_IF_ERROR(capture_.symbol(symbol, low, known.high));
      symbols_.set(symbol, Json(std::vector<int64_t>{low, known.high}));
    }
  }
  return {};
}

Status ProgramReader::declare_number(const std::string& name, char kind) {
  CaptureMeta meta;
  meta.scalar = kind;
  Json expr;
  GraphReader::Value value;
  if (kind == 'i') {
    KILN_ASSIGN_OR_RETURN(const Json* table, graph_->member("sym_int_values"));
    KILN_ASSIGN_OR_RETURN(const Json* size, table->member(name));
    KILN_RETURN_IF_ERROR(declare_symbols(Json(Json::Array{*size})));
    KILN_ASSIGN_OR_RETURN(const Polynomial polynomial, size_of(*size, sizes_));
    expr = Json(polynomial.to_string());
    const auto constant = polynomial.constant();
    value.arg =
        constant ? CaptureArg{*constant} : CaptureArg{CaptureArg::Expr{polynomial.to_string()}};
  }
  KILN_ASSIGN_OR_RETURN(
      const auto handle,
      capture_.scalar_input(name, meta, expr.is_string() ? expr.as_string() : std::string()));
  if (kind != 'i') {
    value.arg = CaptureArg{CaptureArg::Value{handle}};
    value.host_number = true;
  }
  const char* type = kind == 'i' ? "i64" : kind == 'f' ? "f64" : "bool";
  input_leaves_.push_back(leaf("scalar", inputs_.size()));
  inputs_.push_back(Json(Json::Array{Json(name), Json(type), Json(""), Json(), std::move(expr)}));
  reader_.define(name, std::move(value));
  return {};
}

Status ProgramReader::declare_input(const Json& spec) {
  KILN_ASSIGN_OR_RETURN(const Json* argument, spec.member("arg"));
  KILN_ASSIGN_OR_RETURN(const Tagged given, tagged(*argument));
  if (given.tag == "as_sym_int" || given.tag == "as_sym_float" || given.tag == "as_sym_bool") {
    if (given.value->find("as_name") != nullptr) {
      KILN_ASSIGN_OR_RETURN(const std::string name, given.value->string_at("as_name"));
      return declare_number(name, given.tag[7]);
    }
  }
  if (given.tag != "as_tensor") {
    KILN_ASSIGN_OR_RETURN(const GraphReader::Value value, reader_.resolve(*argument));
    input_leaves_.push_back(constant_leaf(value.arg));
    return {};
  }
  KILN_ASSIGN_OR_RETURN(const std::string name, given.value->string_at("name"));
  KILN_ASSIGN_OR_RETURN(const Json* metas, graph_->member("tensor_values"));
  KILN_ASSIGN_OR_RETURN(const Json* json, metas->member(name));
  for (const char* list : {"sizes", "strides"}) {
    KILN_ASSIGN_OR_RETURN(const Json* values, json->member(list));
    KILN_RETURN_IF_ERROR(declare_symbols(*values));
  }
  KILN_ASSIGN_OR_RETURN(const CaptureMeta meta, tensor_meta(*json, sizes_));
  if (!meta.opaque.empty()) {
    return Status::error("K1140",
                         "an input has a type that is not supported: " + name + ", " + meta.opaque);
  }
  KILN_ASSIGN_OR_RETURN(const auto handle, capture_.input(name, meta));
  reader_.define(name, {CaptureArg{CaptureArg::Value{handle}}});
  Json dims = Json::array();
  for (const std::string& dim : meta.dims) dims.push_back(dim_json(dim));
  input_leaves_.push_back(leaf("tensor", inputs_.size()));
  inputs_.push_back(Json(Json::Array{Json(name), Json("tensor"), Json(dtype_text(meta.dtype)),
                                     std::move(dims), Json()}));
  return {};
}

Status ProgramReader::declare_constant(const Json& spec) {
  KILN_ASSIGN_OR_RETURN(const std::string name, spec.string_at("name"));
  KILN_ASSIGN_OR_RETURN(const Json* value, spec.member("value"));
  // The unions of constants and of arguments name these kinds alike.
  KILN_ASSIGN_OR_RETURN(GraphReader::Value constant, reader_.resolve(*value));
  input_leaves_.push_back(constant_leaf(constant.arg));
  reader_.define(name, std::move(constant));
  return {};
}

Status ProgramReader::declare_weight(std::string_view kind, const Json& spec) {
  const bool parameter = kind == "parameter", buffer = kind == "buffer";
  if (!parameter && !buffer && kind != "tensor_constant") {
    return Status::error("K1140", "an input of a kind that is not supported: " + std::string(kind));
  }
  KILN_ASSIGN_OR_RETURN(const Json* argument, spec.member("arg"));
  KILN_ASSIGN_OR_RETURN(const std::string placeholder, argument->string_at("name"));
  KILN_ASSIGN_OR_RETURN(const std::string name, spec.string_at(parameter ? "parameter_name"
                                                               : buffer  ? "buffer_name"
                                                                         : "tensor_constant_name"));
  // num_batches_tracked and the like: never read.
  const bool in_state_dict = parameter || buffer;
  if (!used_.contains(placeholder)) {
    if (in_state_dict) state_names_.set(name, nullptr);
    reader_.define(placeholder, {});
    return {};
  }
  bool persistent = true;
  if (buffer) {
    KILN_ASSIGN_OR_RETURN(persistent, spec.bool_at("persistent"));
  }
  KILN_ASSIGN_OR_RETURN(const Archive::Tensor tensor,
                        archive_.tensor(name, !(parameter || (buffer && persistent))));
  const std::string key =
      tensor.key.empty() ? "" : (persistent && (parameter || buffer) ? "w " : "c ") + tensor.key;
  auto known = key.empty() ? weights_.end() : weights_.find(key);
  if (known == weights_.end()) {
    KILN_ASSIGN_OR_RETURN(const auto handle, capture_.weight(name, tensor.weight,
                                                             parameter ? "parameter"
                                                             : buffer  ? "buffer"
                                                                       : "constant"));
    known = weights_.insert_or_assign(key.empty() ? "empty " + name : key, handle).first;
    weight_names_[handle] = name;
  }
  if (in_state_dict) state_names_.set(name, weight_names_[known->second]);
  reader_.define(placeholder, {CaptureArg{CaptureArg::Value{known->second}}});
  return {};
}

Status ProgramReader::declare_guard(const std::string& text) {
  const auto refuse = [&text] {
    return Status::error("K1141", "a condition on the inputs that cannot be checked: " + text,
                         "give the dims ranges with torch.export.Dim");
  };
  const auto parsed = parse_size(text);
  if (!parsed.ok()) return refuse();
  const auto decided = sizes_.decide(*parsed);
  if (!decided.ok()) return refuse();
  if (*decided == Truth::kFalse) {
    return Status::error("K1144", "the sizes of the inputs contradict what was exported: " + text);
  }
  KILN_ASSIGN_OR_RETURN(const bool taken, reader_.add_condition(*parsed, text));
  return taken || *decided == Truth::kTrue ? Status() : refuse();
}

Status ProgramReader::declare_guards() {
  const Json* guards = program_.find("guards_code");
  if (guards == nullptr || guards->size() == 0) return {};
  KILN_ASSIGN_OR_RETURN(const std::vector<std::string> texts, program_.strings_at("guards_code"));
  std::vector<std::string> parameters = parameters_;
  // Without the names of forward's parameters, a lone tensor is known by its placeholder.
  size_t next = 0;
  for (size_t i = 0; i < input_tree_.children[0].children.size(); ++i) {
    const TreeSpec& child = input_tree_.children[0].children[i];
    if (i >= parameters.size()) {
      parameters.push_back(child.type.empty() && next < input_names_.size() ? input_names_[next]
                                                                            : std::string());
    }
    next += count_leaves(child);
  }
  const std::vector<std::string> sources = leaf_sources(input_tree_, parameters);
  const Json *metas = graph_->find("tensor_values"), *numbers = graph_->find("sym_int_values");
  for (size_t i = 0; i < sources.size() && i < input_names_.size(); ++i) {
    if (sources[i].empty()) continue;
    if (const Json* number = numbers == nullptr ? nullptr : numbers->find(input_names_[i])) {
      KILN_ASSIGN_OR_RETURN(input_numbers_[sources[i]], size_of(*number, sizes_));
    }
    const Json* meta = metas == nullptr ? nullptr : metas->find(input_names_[i]);
    if (meta == nullptr) continue;
    KILN_ASSIGN_OR_RETURN(const Json::Array* dims, meta->array_at("sizes"));
    for (const Json& dim : *dims) {
      KILN_ASSIGN_OR_RETURN(Polynomial size, size_of(dim, sizes_));
      input_sizes_[sources[i]].push_back(std::move(size));
    }
  }
  sizes_.source = [this](const std::string& name, int64_t dim) -> const Polynomial* {
    if (dim < 0) {
      const auto number = input_numbers_.find(name);
      return number == input_numbers_.end() ? nullptr : &number->second;
    }
    const auto found = input_sizes_.find(name);
    if (found == input_sizes_.end() || dim >= static_cast<int64_t>(found->second.size())) {
      return nullptr;
    }
    return &found->second[static_cast<size_t>(dim)];
  };
  for (const std::string& text : texts) KILN_RETURN_IF_ERROR(declare_guard(text));
  return {};
}

Status ProgramReader::declare_output(const Json& argument, const std::string& name) {
  KILN_ASSIGN_OR_RETURN(const GraphReader::Value value, reader_.resolve(argument));
  if (const auto* handle = std::get_if<CaptureArg::Value>(&value.arg.value)) {
    const size_t index = output_names_.size();
    const std::string shown = name.empty() ? "output_" + std::to_string(index) : name;
    KILN_RETURN_IF_ERROR(capture_.output(handle->handle, shown));
    output_leaves_.push_back(leaf(value.host_number ? "scalar" : "tensor", index));
    output_names_.push_back(Json(shown));
    return {};
  }
  if (const auto* expr = std::get_if<CaptureArg::Expr>(&value.arg.value)) {
    Json json = Json::object();
    json.set("kind", "expr");
    json.set("text", expr->text);
    output_leaves_.push_back(std::move(json));
    return {};
  }
  if (std::holds_alternative<CaptureArg::List>(value.arg.value) ||
      std::holds_alternative<DType>(value.arg.value) ||
      std::holds_alternative<Device>(value.arg.value)) {
    return Status::error("K1140", "an output that cannot be returned: " + argument.dump());
  }
  output_leaves_.push_back(constant_leaf(value.arg));
  return {};
}

Status ProgramReader::declare_outputs() {
  KILN_ASSIGN_OR_RETURN(const std::vector<Spec> outputs, specs("output_specs"));
  const std::vector<std::string> names = leaf_names(output_tree_);
  size_t next = 0;
  for (const Spec& spec : outputs) {
    KILN_ASSIGN_OR_RETURN(const Json* argument, spec.value->member("arg"));
    if (spec.kind == "user_output") {
      if (next == names.size()) return malformed("more outputs than the model returns");
      KILN_RETURN_IF_ERROR(declare_output(*argument, names[next++]));
      continue;
    }
    const char* target = spec.kind == "buffer_mutation"       ? "buffer_name"
                         : spec.kind == "parameter_mutation"  ? "parameter_name"
                         : spec.kind == "user_input_mutation" ? "user_input_name"
                                                              : nullptr;
    if (target == nullptr) {
      return Status::error("K1140",
                           "an output of a kind that is not supported: " + std::string(spec.kind),
                           "export the model for inference");
    }
    KILN_ASSIGN_OR_RETURN(const std::string name, spec.value->string_at(target));
    Json tensor = Json::object();
    tensor.set("as_tensor", *argument);
    const Json* inner = argument->find("as_tensor");
    KILN_ASSIGN_OR_RETURN(const GraphReader::Value value,
                          reader_.resolve(inner == nullptr ? tensor : *argument));
    const auto* handle = std::get_if<CaptureArg::Value>(&value.arg.value);
    if (handle == nullptr) return malformed("a mutation that is no tensor: " + name);
    KILN_RETURN_IF_ERROR(spec.kind == "user_input_mutation"
                             ? capture_.mutates_input(name, handle->handle)
                             : capture_.mutates_buffer(name, handle->handle));
  }
  if (next != names.size()) return malformed("fewer outputs than the model returns");
  return {};
}

Result<std::string> ProgramReader::metadata() const {
  Json json = Json::object();
  json.set("inputs", inputs_);
  json.set("output_names", output_names_);
  json.set("input_tree", describe(input_tree_, input_leaves_));
  json.set("output_tree", describe(output_tree_, output_leaves_));
  json.set("symbols", symbols_);
  json.set("parameters", Json(parameters_));
  json.set("state_names", state_names_);
  return json.dump();
}

Result<std::string> ProgramReader::read() {
  KILN_ASSIGN_OR_RETURN(const Json* module, program_.member("graph_module"));
  KILN_ASSIGN_OR_RETURN(graph_, module->member("graph"));
  KILN_ASSIGN_OR_RETURN(signature_, module->member("signature"));
  KILN_RETURN_IF_ERROR(read_ranges());
  KILN_RETURN_IF_ERROR(read_trees());
  KILN_ASSIGN_OR_RETURN(const std::vector<Spec> inputs, specs("input_specs"));
  KILN_ASSIGN_OR_RETURN(const Json::Array* nodes, graph_->array_at("nodes"));
  KILN_ASSIGN_OR_RETURN(const Json* graph_outputs, graph_->member("outputs"));
  collect_names(*graph_outputs, used_);
  for (const Json& node : *nodes) {
    KILN_ASSIGN_OR_RETURN(const Json::Array* arguments, node.array_at("inputs"));
    for (const Json& argument : *arguments) {
      if (const Json* value = argument.find("arg")) collect_names(*value, used_);
    }
  }
  const auto is_leaf = [](const Spec& spec) {
    return spec.kind == "user_input" || spec.kind == "constant_input";
  };
  for (const Spec& spec : inputs) {
    if (!is_leaf(spec)) continue;
    std::set<std::string> names;
    if (const Json* argument = spec.value->find("arg")) collect_names(*argument, names);
    input_names_.push_back(names.empty() ? "" : *names.begin());
  }
  if (input_names_.size() != count_leaves(input_tree_)) {
    return malformed("the model takes another number of inputs than the graph");
  }
  KILN_RETURN_IF_ERROR(apply_shapes());
  // Arguments first: their order is the program's order of inputs.
  for (const Spec& spec : inputs) {
    if (is_leaf(spec)) {
      KILN_RETURN_IF_ERROR(spec.kind == "user_input" ? declare_input(*spec.value)
                                                     : declare_constant(*spec.value));
    }
  }
  for (const Spec& spec : inputs) {
    if (!is_leaf(spec)) KILN_RETURN_IF_ERROR(declare_weight(spec.kind, *spec.value));
  }
  KILN_RETURN_IF_ERROR(declare_guards());
  KILN_RETURN_IF_ERROR(reader_.read(*graph_));
  KILN_RETURN_IF_ERROR(declare_outputs());
  return metadata();
}

}  // namespace
}  // namespace pt2

Result<Pt2Program> read_pt2(const std::string& path, CaptureBuilder& capture,
                            const Pt2Options& options) {
  return guarded([&]() -> Result<Pt2Program> {
    KILN_ASSIGN_OR_RETURN(pt2::Archive archive, pt2::Archive::open(path, options.model));
    KILN_ASSIGN_OR_RETURN(pt2::OperatorSchemas schemas,
                          pt2::OperatorSchemas::make(options.operator_schemas));
    auto json = archive.program();
    if (!json.ok()) return std::move(json).status().at(path);
    Pt2Program program;
    program.model = archive.model();
    if (const Json* version = json->find("torch_version");
        version != nullptr && version->is_string()) {
      program.torch_version = version->as_string();
    }
    auto metadata = pt2::ProgramReader(archive, *json, capture, schemas, options).read();
    if (!metadata.ok()) return std::move(metadata).status().at(path);
    program.metadata = std::move(*metadata);
    return program;
  });
}

}  // namespace kiln

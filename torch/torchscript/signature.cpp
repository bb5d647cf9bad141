// Arguments and results of the imported method, and their description for the callers.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "core/dtype.h"
#include "torch/dtype_conversion.h"
#include "torch/torchscript/importer.h"
#include "torch/torchscript/module_path.h"

namespace kiln::torchscript {
namespace {

Json object_of(const char* kind) {
  Json json = Json::object();
  json.set("kind", kind);
  return json;
}

Json leaf(const char* kind, size_t index) {
  Json json = object_of(kind);
  json.set("index", static_cast<int64_t>(index));
  return json;
}

bool is_constant(const c10::IValue& value) {
  return value.isNone() || value.isBool() || value.isInt() || value.isDouble() || value.isString();
}

Json constant_leaf(const c10::IValue& value) {
  Json json = object_of("const");
  if (value.isNone()) {
    json.set("value", nullptr);
  } else if (value.isBool()) {
    json.set("value", value.toBool());
  } else if (value.isInt()) {
    json.set("value", value.toInt());
  } else if (value.isString()) {
    json.set("value", value.toStringRef());
  } else if (std::isfinite(value.toDouble())) {
    json.set("value", value.toDouble());
  } else {  // JSON has no such numbers: tree.py keeps them as text
    const double number = value.toDouble();
    Json text = Json::object();
    text.set("float", std::isnan(number) ? "nan" : number > 0 ? "inf" : "-inf");
    json.set("value", std::move(text));
  }
  return json;
}

// "__torch__.package.Name" without what TorchScript adds.
std::string python_name(const c10::QualifiedName& name) {
  std::string result;
  for (const std::string& atom : name.atoms()) {
    if (atom == "__torch__" || atom.starts_with("___torch_mangle_")) continue;
    result += (result.empty() ? "" : ".") + atom;
  }
  return result;
}

Json tuple_of(const c10::IValue& value, Json items) {
  const auto type = value.toTupleRef().type();
  if (!type->name()) {
    Json json = object_of("tuple");
    json.set("items", std::move(items));
    return json;
  }
  Json json = object_of("named_tuple"), fields = Json::array();
  json.set("type", python_name(*type->name()));
  for (const c10::Argument& field : type->schema()->arguments()) fields.push_back(field.name());
  json.set("fields", std::move(fields));
  json.set("items", std::move(items));
  return json;
}

Json key_json(const c10::IValue& key) {
  if (key.isString()) return key.toStringRef();
  if (key.isInt()) return key.toInt();
  if (key.isBool()) return key.toBool();
  if (key.isDouble()) return key.toDouble();
  throw Stop("a dict whose keys are tensors");
}

std::string key_text(const c10::IValue& key) {
  return key.isString() ? key.toStringRef() : key.isInt() ? std::to_string(key.toInt()) : "key";
}

Json dim_json(const std::string& dim) {
  const auto expr = DimExpr::parse(dim);
  return expr.ok() && expr->is_constant() ? Json(expr->value()) : Json(dim);
}

}  // namespace

void Importer::declare_symbols(const Arguments& arguments) {
  for (const auto& [name, range] : arguments.symbols) {
    check(capture_.symbol(name, range.min, range.max));
    symbols_[name] = range;
  }
  choose_samples();
}

// Values inside the ranges that meet all that is required of them; where possible none that is
// special (0, 1), nor equal for two symbols or to those of another point. `fixed` are given.
std::optional<SymbolValues> Importer::sample(size_t point, const SymbolValues& fixed,
                                             int64_t tries) const {
  constexpr int64_t kSteps[kFitPoints] = {1, 6, 9};
  for (int64_t trial = 0; trial < tries; ++trial) {
    const bool strict = fixed.empty() && trial < tries / 2;
    SymbolValues values;
    std::set<int64_t> taken;
    bool fits = true;
    int64_t position = 0;
    for (const auto& [name, range] : symbols_) {
      const auto given = fixed.find(name);
      const int64_t low =
          trial < tries / 2 ? std::min(std::max<int64_t>(range.min, 2), range.max) : range.min;
      const int64_t room = range.max == DimRange::kNoBound ? 4096 : range.max - low;
      const int64_t wanted = kSteps[point] + 2 * position + trial * (1 + 2 * position);
      const int64_t value = given != fixed.end() ? given->second : low + wanted % (room + 1);
      values[name] = value;
      // Few values are left to choose from in a small range.
      if (strict && room > 4 * static_cast<int64_t>(symbols_.size() + kFitPoints)) {
        fits = fits && taken.insert(value).second;
      }
      for (size_t earlier = 0; strict && room >= 3 && earlier < point; ++earlier) {
        fits = fits && samples_.at(name)[earlier] != value;
      }
      ++position;
    }
    for (const SizeCondition& condition : required_) {
      fits = fits && condition.check(values).ok();
    }
    if (fits) return values;
  }
  return std::nullopt;
}

// Points from which sizes are concluded, and points at which the conclusions are checked.
void Importer::choose_samples() {
  constexpr int64_t kTries = 20'000, kLargest = int64_t{1} << 20;
  for (size_t point = 0; point < kFitPoints; ++point) {
    const auto values = sample(point, {}, kTries);
    if (!values) throw Stop("no sizes were found that meet what the program demands of them");
    for (const auto& [name, value] : *values) samples_[name].push_back(value);
  }
  points_ = kFitPoints;
  // Where there are many symbols, fewer values of each.
  constexpr size_t kMaxPoints = 24;
  const size_t few = symbols_.size() == 1 ? 12 : symbols_.size() <= 3 ? 5 : 3;
  SymbolValues smallest;
  std::vector<std::vector<SymbolValues>> of_symbols;
  for (const auto& [name, range] : symbols_) {
    const int64_t min = range.min, max = std::min(range.max, std::max(kLargest, min));
    smallest[name] = min;
    const int64_t middle = min + (max - min) / 2;
    std::set<int64_t> taken;
    of_symbols.emplace_back();
    for (const int64_t value : {min, max, int64_t{0}, int64_t{1}, int64_t{2}, middle, int64_t{3},
                                min + 1, min + 2, min + 3, min + 4, max - 1}) {
      if (value < min || value > max || taken.size() >= few) continue;
      if (taken.insert(value).second) of_symbols.back().push_back({{name, value}});
    }
  }
  std::vector<SymbolValues> wanted = {smallest};
  for (size_t i = 0; i < few; ++i) {
    for (const auto& of : of_symbols) {
      if (i < of.size()) wanted.push_back(of[i]);
    }
  }
  for (const SymbolValues& fixed : wanted) {
    constexpr int64_t kFewTries = 64;
    const auto values = sample(points_ % kFitPoints, fixed, kFewTries);
    if (!values || points_ >= kMaxPoints) continue;
    bool known = false;
    for (size_t point = 0; point < points_ && !known; ++point) {
      known = std::all_of(values->begin(), values->end(), [&](const auto& entry) {
        return samples_[entry.first][point] == entry.second;
      });
    }
    if (known) continue;
    for (const auto& [name, value] : *values) samples_[name].push_back(value);
    ++points_;
  }
  values_at_.resize(points_);
  for (const auto& [name, range] : symbols_) add_symbol(name, Points(samples_[name]));
}

void Importer::add_symbol(const std::string& name, const Points& at) {
  samples_[name] = at;
  for (size_t point = 0; point < points_; ++point) values_at_[point][name] = at[point];
}

c10::IValue Importer::declare_input(const c10::IValue& value, const std::string& name,
                                    const Arguments& arguments, Json& description) {
  if (is_constant(value)) {
    description = constant_leaf(value);
    return value;
  }
  if (value.isTensor() && !value.toTensor().defined()) {  // None for an argument of type Tensor
    description = constant_leaf(c10::IValue());
    return value;
  }
  if (value.isList() || value.isTuple()) {
    const auto given =
        value.isList() ? value.toListRef().vec() : value.toTupleRef().elements().vec();
    std::vector<c10::IValue> items;
    Json described = Json::array();
    for (const c10::IValue& item : given) {
      Json part;
      items.push_back(
          declare_input(item, name + "_" + std::to_string(items.size()), arguments, part));
      described.push_back(std::move(part));
    }
    if (value.isTuple()) {
      description = tuple_of(value, std::move(described));
      const auto type = value.toTupleRef().type();
      return type->name() ? c10::ivalue::Tuple::createNamed(std::move(items), type)
                          : c10::ivalue::Tuple::create(std::move(items));
    }
    description = object_of("list");
    description.set("items", std::move(described));
    c10::impl::GenericList list(value.toList().elementType());
    for (c10::IValue& item : items) list.push_back(std::move(item));
    return list;
  }
  if (value.isGenericDict()) {
    const auto given = value.toGenericDict();
    c10::impl::GenericDict dict(given.keyType(), given.valueType());
    Json keys = Json::array(), items = Json::array();
    for (const auto& entry : given) {
      Json part;
      keys.push_back(key_json(entry.key()));
      dict.insert(entry.key(), declare_input(entry.value(), name + "_" + key_text(entry.key()),
                                             arguments, part));
      items.push_back(std::move(part));
    }
    description = object_of("dict");
    description.set("keys", std::move(keys));
    description.set("items", std::move(items));
    return dict;
  }
  if (!value.isTensor() || !value.toTensor().defined()) {
    throw Failed(Status::error(
        "K1104", "an input is neither tensor nor number: " + name + ", " + value.tagKind()));
  }

  const at::Tensor& tensor = value.toTensor();
  if (tensor.layout() != c10::kStrided || tensor.is_quantized()) {
    throw Failed(Status::error(
        "K1104", "an input of a type that is not supported: " + name + ", " + tensor.toString(),
        "hand over its dense tensors (to_dense(), or indices() and values())"));
  }
  TensorInfo t;
  t.device = tensor.device();
  t.given = true;
  const auto found = std::find_if(arguments.dims.begin(), arguments.dims.end(),
                                  [&](const auto& entry) { return entry.first.is_same(tensor); });
  if (found != arguments.dims.end()) {
    for (const CaptureDim& dim : found->second) t.dims.push_back(check(DimExpr::parse(dim)));
  }
  const bool varies = std::any_of(t.dims.begin(), t.dims.end(),
                                  [](const DimExpr& dim) { return !dim.is_constant(); });
  const c10::TensorOptions options = tensor.options().device(c10::kMeta).requires_grad(false);
  if (!varies) {
    t.dims.clear();
    t.metas = {at::empty_strided(tensor.sizes(), tensor.strides(), options)};
  } else {
    const c10::MemoryFormat format = tensor.suggest_memory_format();
    for (size_t point = 0; point < points_; ++point) {
      std::vector<int64_t> sizes;
      for (const DimExpr& dim : t.dims) sizes.push_back(at_points(dim)[point]);
      t.metas.push_back(at::empty(sizes, options).contiguous(format));
    }
    // Dense in the order of the example's strides.
    std::vector<size_t> order(t.dims.size());
    for (size_t d = 0; d < order.size(); ++d) order[d] = d;
    if (format != c10::MemoryFormat::Contiguous) {
      std::rotate(order.begin() + 1, order.begin() + 2, order.end());
    }
    t.strides.resize(order.size());
    DimExpr stride = 1;
    for (size_t d = order.size(); d-- > 0;) {
      t.strides[order[d]] = stride;
      stride *= t.dims[order[d]];
    }
  }
  CaptureMeta meta = describe(t);
  t.handle = check(capture_.input(name, meta));
  t.opaque = meta.opaque;
  const size_t index = inputs_.size();
  description = leaf("tensor", index);
  Json dims = Json::array();
  if (meta.opaque.empty()) {
    for (const std::string& dim : meta.dims) dims.push_back(dim_json(dim));
    inputs_.push_back(
        Json(Json::Array{Json(name), Json("tensor"), Json(std::string(dtype_name(meta.dtype))),
                         std::move(dims), Json()}));
  } else {  // native code does not check it: the binder does
    std::string dtype(c10::toString(tensor.scalar_type()));
    for (const int64_t size : tensor.sizes()) dims.push_back(Json(size));
    description.set("dtype", std::string(c10::getDtypeNames(tensor.scalar_type()).first));
    description.set("shape", std::move(dims));
    inputs_.push_back(
        Json(Json::Array{Json(name), Json("tensor"), Json(meta.opaque), Json(), Json()}));
  }
  const at::Tensor key = t.metas[0];
  t.keep = key;
  tensors_[key.unsafeGetTensorImpl()] = std::move(t);
  return key;
}

Json Importer::declare_output(const c10::IValue& value, const std::string& name) {
  if (is_constant(value)) return constant_leaf(value);
  if (const SymbolicNumber* number = symbolic(value)) {
    const auto* size = symbolic_size(value);
    if (size != nullptr && !is_unbacked(size->expr)) {
      Json json = object_of("expr");
      json.set("text", size->expr.to_string());
      return json;
    }
    const auto* host = std::get_if<SymbolicNumber::HostResult>(&number->value);
    if (host == nullptr && size == nullptr) {
      throw Stop(const_cast<SymbolicNumber*>(number)->unknown());
    }
    const size_t index = output_names_.size();
    const std::string shown = name.empty() ? "output_" + std::to_string(index) : name;
    check(capture_.output(host != nullptr ? host->handle : size_handle(size->expr), shown));
    output_names_.push_back(shown);
    return leaf("scalar", index);
  }
  if (value.isTensor() && value.toTensor().defined()) {
    const size_t index = output_names_.size();
    const std::string shown = name.empty() ? "output_" + std::to_string(index) : name;
    check(capture_.output(handle(returned(value.toTensor())), shown));
    output_names_.push_back(shown);
    return leaf("tensor", index);
  }
  Json items = Json::array();
  if (value.isTuple()) {
    const auto type = value.toTupleRef().type();
    size_t i = 0;
    for (const c10::IValue& item : value.toTupleRef().elements()) {
      const std::string part =
          type->name() ? type->schema()->arguments()[i].name() : std::to_string(i);
      items.push_back(declare_output(item, inside(name, part)));
      ++i;
    }
    return tuple_of(value, std::move(items));
  }
  if (value.isList()) {
    size_t i = 0;
    for (const c10::IValue& item : value.toListRef()) {
      items.push_back(declare_output(item, inside(name, std::to_string(i++))));
    }
    Json json = object_of("list");
    json.set("items", std::move(items));
    return json;
  }
  if (value.isGenericDict()) {
    Json keys = Json::array();
    for (const auto& entry : value.toGenericDict()) {
      keys.push_back(key_json(entry.key()));
      items.push_back(declare_output(entry.value(), inside(name, key_text(entry.key()))));
    }
    Json json = object_of("dict");
    json.set("keys", std::move(keys));
    json.set("items", std::move(items));
    return json;
  }
  throw Stop("an output that cannot be returned: " + value.tagKind());
}

std::string Importer::metadata() const {
  Json json = Json::object(), symbols = Json::object();
  for (const auto& [name, range] : symbols_) {
    if (unbacked_.contains(name)) continue;
    symbols.set(name, Json(Json::Array{Json(range.min), Json(range.max)}));
  }
  json.set("inputs", inputs_);
  json.set("output_names", output_names_);
  json.set("input_tree", input_tree_);
  json.set("output_tree", output_tree_);
  json.set("symbols", std::move(symbols));
  json.set("parameters", parameters_);
  json.set("state_names", Json::object());
  return json.dump();
}

}  // namespace kiln::torchscript

#include "base/json.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/check.h"

namespace kiln {
namespace {

constexpr size_t kSmall = 12;  // members up to which a linear search is the fastest

Status wrong_kind(std::string_view key, const char* wanted, const Json& found) {
  return Status::error("K3012", "json member has the wrong kind: " + std::string(key) +
                                    ": wanted " + wanted + ", found " +
                                    json_kind_name(found.kind()));
}

// "inf", "-inf", "nan": how doubles that JSON cannot hold are written.
bool read_special(const std::string& text, double& value) {
  if (text == "inf") {
    value = std::numeric_limits<double>::infinity();
  } else if (text == "-inf") {
    value = -std::numeric_limits<double>::infinity();
  } else if (text == "nan") {
    value = std::numeric_limits<double>::quiet_NaN();
  } else {
    return false;
  }
  return true;
}

}  // namespace

const char* json_kind_name(Json::Kind kind) {
  switch (kind) {
    case Json::Kind::kNull: return "null";
    case Json::Kind::kBool: return "bool";
    case Json::Kind::kInt: return "int";
    case Json::Kind::kDouble: return "double";
    case Json::Kind::kString: return "string";
    case Json::Kind::kArray: return "array";
    case Json::Kind::kObject: return "object";
  }
  return "unknown";
}

JsonObject::JsonObject() = default;
JsonObject::~JsonObject() = default;
JsonObject::JsonObject(const JsonObject&) = default;
JsonObject::JsonObject(JsonObject&&) noexcept = default;
JsonObject& JsonObject::operator=(const JsonObject&) = default;
JsonObject& JsonObject::operator=(JsonObject&&) noexcept = default;

size_t JsonObject::size() const { return members_.size(); }
const JsonMember* JsonObject::begin() const { return members_.data(); }
const JsonMember* JsonObject::end() const { return members_.data() + members_.size(); }
bool JsonObject::operator==(const JsonObject& other) const { return members_ == other.members_; }

size_t JsonObject::index_of(std::string_view key) const {
  const auto at = std::lower_bound(index_.begin(), index_.end(), key,
                                   [this](uint32_t position, std::string_view wanted) {
                                     return members_[position].key < wanted;
                                   });
  return static_cast<size_t>(at - index_.begin());
}

size_t JsonObject::position(std::string_view key) const {
  if (members_.size() <= kSmall) {
    for (size_t i = 0; i < members_.size(); ++i) {
      if (members_[i].key == key) return i;
    }
    return members_.size();
  }
  const size_t at = index_of(key);
  const bool found = at < index_.size() && members_[index_[at]].key == key;
  return found ? index_[at] : members_.size();
}

bool JsonObject::build_index() {
  if (members_.size() <= kSmall) {
    for (size_t i = 1; i < members_.size(); ++i) {
      for (size_t j = 0; j < i; ++j) {
        if (members_[i].key == members_[j].key) return false;
      }
    }
    return true;
  }
  index_.resize(members_.size());
  std::iota(index_.begin(), index_.end(), 0u);
  const auto less = [this](uint32_t a, uint32_t b) { return members_[a].key < members_[b].key; };
  std::sort(index_.begin(), index_.end(), less);
  for (size_t i = 1; i < index_.size(); ++i) {
    if (members_[index_[i - 1]].key == members_[index_[i]].key) return false;
  }
  return true;
}

const Json* JsonObject::find(std::string_view key) const {
  const size_t at = position(key);
  return at == members_.size() ? nullptr : &members_[at].value;
}

Json* JsonObject::find(std::string_view key) {
  return const_cast<Json*>(std::as_const(*this).find(key));
}

Json& JsonObject::set(std::string_view key, Json value) {
  const size_t at = position(key);
  if (at < members_.size()) return members_[at].value = std::move(value);
  KILN_CHECK_LT(members_.size(), std::numeric_limits<uint32_t>::max());
  // The index before the member: index_of reads only members that are there.
  if (members_.size() > kSmall) {
    index_.insert(index_.begin() + static_cast<ptrdiff_t>(index_of(key)),
                  static_cast<uint32_t>(members_.size()));
  }
  members_.push_back({std::string(key), std::move(value)});
  if (members_.size() == kSmall + 1) KILN_CHECK(build_index());
  return members_.back().value;
}

Json::Json(double value) {
  if (std::isfinite(value)) {
    value_ = value;
  } else {
    value_ = std::string(std::isnan(value) ? "nan" : value > 0 ? "inf" : "-inf");
  }
}

Json::Json(size_t value) {
  KILN_CHECK_LE(value, static_cast<size_t>(std::numeric_limits<int64_t>::max()));
  value_ = static_cast<int64_t>(value);
}

bool Json::as_bool() const {
  KILN_CHECK(is_bool());
  return std::get<bool>(value_);
}

int64_t Json::as_int() const {
  KILN_CHECK(is_int());
  return std::get<int64_t>(value_);
}

double Json::as_double() const {
  if (is_int()) return static_cast<double>(std::get<int64_t>(value_));
  if (is_string()) {
    double value = 0;
    KILN_CHECK(read_special(std::get<std::string>(value_), value));
    return value;
  }
  KILN_CHECK(kind() == Kind::kDouble);
  return std::get<double>(value_);
}

const std::string& Json::as_string() const {
  KILN_CHECK(is_string());
  return std::get<std::string>(value_);
}

const Json::Array& Json::as_array() const {
  KILN_CHECK(is_array());
  return std::get<Array>(value_);
}

Json::Array& Json::as_array() {
  KILN_CHECK(is_array());
  return std::get<Array>(value_);
}

const Json::Object& Json::as_object() const {
  KILN_CHECK(is_object());
  return std::get<Object>(value_);
}

Json::Object& Json::as_object() {
  KILN_CHECK(is_object());
  return std::get<Object>(value_);
}

size_t Json::size() const {
  if (is_array()) return as_array().size();
  return is_object() ? as_object().size() : 0;
}

const Json& Json::operator[](size_t i) const {
  KILN_CHECK_LT(i, as_array().size());
  return as_array()[i];
}

Json& Json::push_back(Json value) {
  if (is_null()) value_ = Array();
  return as_array().emplace_back(std::move(value));
}

Json& Json::set(std::string_view key, Json value) {
  if (is_null()) value_ = Object();
  return as_object().set(key, std::move(value));
}

const Json* Json::find(std::string_view key) const {
  return is_object() ? as_object().find(key) : nullptr;
}

Result<const Json*> Json::member(std::string_view key) const {
  if (!is_object()) {
    return Status::error("K3012", "json value is not an object: wanted member " + std::string(key) +
                                      ", found " + json_kind_name(kind()));
  }
  const Json* value = find(key);
  if (value == nullptr) {
    return Status::error("K3012", "json member is missing: " + std::string(key));
  }
  return value;
}

Result<bool> Json::bool_at(std::string_view key) const {
  KILN_ASSIGN_OR_RETURN(const Json* value, member(key));
  if (!value->is_bool()) return wrong_kind(key, "bool", *value);
  return value->as_bool();
}

Result<int64_t> Json::int_at(std::string_view key) const {
  KILN_ASSIGN_OR_RETURN(const Json* value, member(key));
  if (!value->is_int()) return wrong_kind(key, "int", *value);
  return value->as_int();
}

Result<int64_t> Json::int_at(std::string_view key, int64_t low, int64_t high) const {
  KILN_ASSIGN_OR_RETURN(int64_t value, int_at(key));
  if (value < low || value > high) {
    return Status::error("K3012", "json member is out of range: " + std::string(key) + ": " +
                                      std::to_string(value) + " not in " + std::to_string(low) +
                                      ".." + std::to_string(high));
  }
  return value;
}

Result<double> Json::double_at(std::string_view key) const {
  KILN_ASSIGN_OR_RETURN(const Json* value, member(key));
  double special = 0;
  if (value->is_string() && read_special(value->as_string(), special)) return special;
  if (!value->is_number()) return wrong_kind(key, "double", *value);
  return value->as_double();
}

Result<std::string> Json::string_at(std::string_view key) const {
  KILN_ASSIGN_OR_RETURN(const Json* value, member(key));
  if (!value->is_string()) return wrong_kind(key, "string", *value);
  return value->as_string();
}

Result<const Json::Array*> Json::array_at(std::string_view key) const {
  KILN_ASSIGN_OR_RETURN(const Json* value, member(key));
  if (!value->is_array()) return wrong_kind(key, "array", *value);
  return &value->as_array();
}

Result<const Json::Object*> Json::object_at(std::string_view key) const {
  KILN_ASSIGN_OR_RETURN(const Json* value, member(key));
  if (!value->is_object()) return wrong_kind(key, "object", *value);
  return &value->as_object();
}

Result<std::vector<int64_t>> Json::ints_at(std::string_view key) const {
  KILN_ASSIGN_OR_RETURN(const Array* values, array_at(key));
  std::vector<int64_t> result;
  result.reserve(values->size());
  for (const Json& value : *values) {
    if (!value.is_int()) return wrong_kind(key, "array of int", value);
    result.push_back(value.as_int());
  }
  return result;
}

Result<std::vector<std::string>> Json::strings_at(std::string_view key) const {
  KILN_ASSIGN_OR_RETURN(const Array* values, array_at(key));
  std::vector<std::string> result;
  result.reserve(values->size());
  for (const Json& value : *values) {
    if (!value.is_string()) return wrong_kind(key, "array of string", value);
    result.push_back(value.as_string());
  }
  return result;
}

}  // namespace kiln

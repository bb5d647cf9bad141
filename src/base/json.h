// JSON: a value type, a strict parser (RFC 8259, UTF-8) and a deterministic writer.
//
// int64 and double are different kinds and both round-trip exactly: 1 stays an integer, 1.0 a
// double. Objects keep the order in which members were added, so that files read as written.
// Errors: K3010 not JSON (the message names the byte offset), K3011 beyond a limit, K3012 a member
// is missing or of the wrong kind.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/status.h"

namespace kiln {

class Json;
struct JsonMember;

// Members in insertion order, keys unique. Lookup is linear in small objects and by a sorted index
// in large ones.
class JsonObject {
 public:
  JsonObject();
  ~JsonObject();
  JsonObject(const JsonObject&);
  JsonObject(JsonObject&&) noexcept;
  JsonObject& operator=(const JsonObject&);
  JsonObject& operator=(JsonObject&&) noexcept;

  size_t size() const;
  const JsonMember* begin() const;
  const JsonMember* end() const;
  const Json* find(std::string_view key) const;  // null when absent
  Json* find(std::string_view key);
  // Adds the member, or gives an existing one a new value. Returns the value.
  Json& set(std::string_view key, Json value);
  // Order matters, as it does in the text.
  bool operator==(const JsonObject&) const;

 private:
  friend class JsonParser;
  size_t position(std::string_view key) const;  // in members_, or size() when absent
  size_t index_of(std::string_view key) const;  // lower bound in index_
  bool build_index();                           // false when a key occurs twice

  std::vector<JsonMember> members_;
  std::vector<uint32_t> index_;  // positions in members_ by key; only kept above kSmall members
};

struct JsonLimits {
  size_t max_bytes = size_t{64} << 20;
  int max_depth = 64;  // of nested arrays and objects
};

class Json {
 public:
  enum class Kind { kNull, kBool, kInt, kDouble, kString, kArray, kObject };
  using Array = std::vector<Json>;
  using Object = JsonObject;

  Json() = default;
  Json(std::nullptr_t) {}  // NOLINT(google-explicit-constructor): values convert, all of them
  Json(bool value) : value_(value) {}
  Json(int value) : value_(int64_t{value}) {}
  Json(unsigned value) : value_(int64_t{value}) {}
  Json(long value) : value_(int64_t{value}) {}
  Json(long long value) : value_(int64_t{value}) {}
  Json(size_t value);  // above the range of int64_t is a bug; write such numbers as text
  // JSON has no infinities and no NaN: they become the strings "inf", "-inf" and "nan", which
  // as_double and double_at read back.
  Json(double value);
  Json(std::string value) : value_(std::move(value)) {}
  Json(std::string_view value) : value_(std::string(value)) {}
  Json(const char* value) : value_(std::string(value)) {}
  Json(Array value) : value_(std::move(value)) {}
  Json(Object value) : value_(std::move(value)) {}
  template <typename T>
  Json(const std::vector<T>& values) : value_(Array(values.begin(), values.end())) {}
  Json(const void*) = delete;  // or pointers would become bools

  static Json array() { return Json(Array()); }
  static Json object() { return Json(Object()); }

  Kind kind() const { return static_cast<Kind>(value_.index()); }
  bool is_null() const { return kind() == Kind::kNull; }
  bool is_bool() const { return kind() == Kind::kBool; }
  bool is_int() const { return kind() == Kind::kInt; }
  bool is_number() const { return is_int() || kind() == Kind::kDouble; }
  bool is_string() const { return kind() == Kind::kString; }
  bool is_array() const { return kind() == Kind::kArray; }
  bool is_object() const { return kind() == Kind::kObject; }

  // For values whose kind is known; another kind is a bug (InternalError).
  bool as_bool() const;
  int64_t as_int() const;
  double as_double() const;  // also of an integer, and of "inf", "-inf", "nan"
  const std::string& as_string() const;
  const Array& as_array() const;
  Array& as_array();
  const Object& as_object() const;
  Object& as_object();

  // Elements of an array or members of an object; 0 for the other kinds.
  size_t size() const;
  // Arrays. push_back on null makes an array.
  const Json& operator[](size_t i) const;
  Json& push_back(Json value);
  // Objects. set on null makes an object. find on a value of another kind is null.
  Json& set(std::string_view key, Json value);
  const Json* find(std::string_view key) const;

  // For values from outside: the member of this object, or K3012 that says which and why.
  Result<const Json*> member(std::string_view key) const;
  Result<bool> bool_at(std::string_view key) const;
  Result<int64_t> int_at(std::string_view key) const;
  // An integer in [low, high].
  Result<int64_t> int_at(std::string_view key, int64_t low, int64_t high) const;
  Result<double> double_at(std::string_view key) const;
  Result<std::string> string_at(std::string_view key) const;
  Result<const Array*> array_at(std::string_view key) const;
  Result<const Object*> object_at(std::string_view key) const;
  Result<std::vector<int64_t>> ints_at(std::string_view key) const;
  Result<std::vector<std::string>> strings_at(std::string_view key) const;

  // Doubles compare by value and -0.0 equals 0.0; an int never equals a double.
  bool operator==(const Json& other) const { return value_ == other.value_; }

  // Text on one line without spaces. Equal values with equal member order give equal bytes.
  // Bytes that are not UTF-8 are written as U+FFFD.
  std::string dump() const;
  // Indented by two, one member a line, arrays without nested containers on one line; ends in a
  // line feed.
  std::string dump_pretty() const;

 private:
  // In the order of Kind.
  std::variant<std::monostate, bool, int64_t, double, std::string, Array, Object> value_;
};

struct JsonMember {
  std::string key;
  Json value;
  bool operator==(const JsonMember&) const = default;
};

const char* json_kind_name(Json::Kind kind);

// Refuses: anything after the value, duplicate keys, control characters in strings, lone
// surrogates, text that is not UTF-8, integers beyond int64, doubles beyond their range.
Result<Json> parse_json(std::string_view text, const JsonLimits& limits = {});

}  // namespace kiln

// Operator schemas as text: "aten::softmax.int(Tensor self, int dim, ScalarType? dtype=None) ->
// Tensor". Import rules carry theirs, so that a front end may omit defaults and a test can compare
// them with torch's registry.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace kiln {

struct SchemaArgument {
  std::string type;  // "Tensor", "Tensor?", "int[2]", "SymInt[]", "Scalar", ...
  std::string name;
  std::optional<std::string> default_value;  // as text
  bool keyword_only = false;
  bool written = false;       // "(a!)"
  std::string alias;          // "a" of "(a)" or "(a!)"; empty: none
  std::string alias_text;     // as written: "a", "a!", "a -> *"
  size_t alias_position = 0;  // where in `type` the parentheses stood: before "[]" or "?"
};

struct Schema {
  std::string name;      // "aten::softmax"
  std::string overload;  // "int"
  std::vector<SchemaArgument> arguments;
  std::vector<SchemaArgument> results;

  std::string full_name() const { return overload.empty() ? name : name + "." + overload; }
  // K1121 when the text is no schema.
  static Result<Schema> parse(std::string_view text);
  // The inverse of parse(), spaced as torch prints schemas.
  std::string to_string() const;
};

}  // namespace kiln

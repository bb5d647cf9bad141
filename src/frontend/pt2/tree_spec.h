// The nesting of inputs and outputs: torch's pytree text to the description that kiln.load reads
// (python/kiln/frontends/tree.py).
//
// Errors: K1143 no such text; K1106 a nesting that the description cannot hold.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"

namespace kiln::pt2 {

struct TreeSpec {
  std::string type;  // "" for a leaf; else "list", "tuple", "dict", "named_tuple", "custom"
  Json description;  // without "items"; null for a leaf
  std::vector<std::string> keys;   // one per child, for names: "0", "last_hidden_state"
  std::vector<std::string> steps;  // one per child, as Python writes them: "[0]", "['x']", ".x"
  std::vector<TreeSpec> children;
};

// `fields`: field names of named tuples by their serialized type.
Result<TreeSpec> parse_tree(const std::string& text, const Json* fields);
size_t count_leaves(const TreeSpec& spec);
// One per leaf: "past_key_values.key_cache.0".
std::vector<std::string> leaf_names(const TreeSpec& spec);
// The leaves of an input tree as a program's source names them: "L['x'][0]". `parameters` names
// the positional arguments; "" where a name is not known.
std::vector<std::string> leaf_sources(const TreeSpec& spec,
                                      const std::vector<std::string>& parameters);
// `leaves` in order; as many as count_leaves says.
Json describe(const TreeSpec& spec, const std::vector<Json>& leaves);

}  // namespace kiln::pt2

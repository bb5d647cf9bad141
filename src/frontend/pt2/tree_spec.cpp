#include "frontend/pt2/tree_spec.h"

namespace kiln::pt2 {
namespace {

constexpr int kMaxDepth = 32;
constexpr size_t kMaxLeaves = 1 << 16;

Status malformed() {
  return Status::error("K1143", "the nesting of inputs or outputs is malformed");
}

Result<Json> parse_context(const Json& context) {
  if (!context.is_string()) return context;
  return parse_json(context.as_string(), {.max_bytes = 1 << 20, .max_depth = 32});
}

std::string key_text(const Json& key) { return key.is_string() ? key.as_string() : key.dump(); }

// ['x'] or [0], as torch's keystr prints a key.
std::string key_step(const Json& key) {
  return key.is_string() ? "['" + key.as_string() + "']" : "[" + key.dump() + "]";
}

class Reader {
 public:
  explicit Reader(const Json* fields) : fields_(fields) {}

  Status read(const Json& json, TreeSpec& spec, int depth) {
    if (depth > kMaxDepth) return Status::error("K1106", "inputs or outputs are nested too deeply");
    const Json *type = json.find("type"), *context = json.find("context"),
               *children = json.find("children_spec");
    if (type == nullptr || context == nullptr || children == nullptr || !children->is_array()) {
      return malformed();
    }
    if (type->is_null()) {
      return ++leaves_ > kMaxLeaves || children->size() != 0 ? malformed() : Status();
    }
    if (!type->is_string()) return malformed();
    for (const Json& child : children->as_array()) {
      KILN_RETURN_IF_ERROR(read(child, spec.children.emplace_back(), depth + 1));
    }
    return fill(type->as_string(), *context, spec);
  }

 private:
  void number_children(TreeSpec& spec) {
    for (size_t i = 0; i < spec.children.size(); ++i) {
      spec.keys.push_back(std::to_string(i));
      spec.steps.push_back("[" + std::to_string(i) + "]");
    }
  }

  Status fill(const std::string& type, const Json& context, TreeSpec& spec) {
    spec.description = Json::object();
    const auto kind = [&spec](const char* name) {
      spec.type = name;
      spec.description.set("kind", name);
    };
    if (type == "builtins.list" || type == "builtins.tuple" || type == "collections.deque") {
      kind(type == "builtins.tuple" ? "tuple" : "list");
      number_children(spec);
      return {};
    }
    if (type == "collections.namedtuple") {
      kind("named_tuple");
      return fill_named_tuple(context, spec);
    }
    KILN_ASSIGN_OR_RETURN(Json parsed, parse_context(context));
    if (type == "builtins.dict" || type == "collections.OrderedDict" ||
        type == "collections.defaultdict") {
      kind("dict");
      const Json* keys = type == "collections.defaultdict" ? parsed.find("dict_context") : &parsed;
      if (keys == nullptr || !keys->is_array() || keys->size() != spec.children.size()) {
        return malformed();
      }
      for (const Json& key : keys->as_array()) {
        if (key.is_array() || key.is_object()) return malformed();
        spec.keys.push_back(key_text(key));
        spec.steps.push_back(key_step(key));
      }
      spec.description.set("keys", *keys);
      if (type == "collections.OrderedDict") spec.description.set("type", type);
      return {};
    }
    kind("custom");
    spec.description.set("type", type);
    name_children(parsed, spec);
    spec.description.set("context", std::move(parsed));
    return {};
  }

  Status fill_named_tuple(const Json& context, TreeSpec& spec) {
    const Json* entry =
        !context.is_string() || fields_ == nullptr ? nullptr : fields_->find(context.as_string());
    if (entry == nullptr) {
      return Status::error("K1106", "the fields of a named tuple are not known: " + context.dump());
    }
    KILN_ASSIGN_OR_RETURN(spec.keys, entry->strings_at("field_names"));
    if (spec.keys.size() != spec.children.size()) return malformed();
    for (const std::string& key : spec.keys) spec.steps.push_back("." + key);
    spec.description.set("type", context);
    spec.description.set("fields", Json(spec.keys));
    return {};
  }

  // A registered type's context, or the first part of it, often lists its children.
  void name_children(const Json& context, TreeSpec& spec) {
    const Json* first = context.is_array() && context.size() > 0 ? &context[0] : nullptr;
    for (const Json* candidate : {&context, first}) {
      if (candidate == nullptr || !candidate->is_array() ||
          candidate->size() != spec.children.size()) {
        continue;
      }
      bool names = true;
      for (const Json& key : candidate->as_array()) names &= key.is_string() || key.is_int();
      if (!names) continue;
      for (const Json& key : candidate->as_array()) {
        spec.keys.push_back(key_text(key));
        spec.steps.push_back(key_step(key));
      }
      return;
    }
    number_children(spec);
  }

  const Json* fields_;
  size_t leaves_ = 0;
};

void collect_names(const TreeSpec& spec, const std::string& path, std::vector<std::string>& names) {
  if (spec.type.empty()) {
    names.push_back(path);
    return;
  }
  for (size_t i = 0; i < spec.children.size(); ++i) {
    collect_names(spec.children[i], path.empty() ? spec.keys[i] : path + "." + spec.keys[i], names);
  }
}

void collect_sources(const TreeSpec& spec, const std::string& path, bool known,
                     std::vector<std::string>& sources) {
  if (spec.type.empty()) {
    sources.push_back(known ? path : "");
    return;
  }
  for (size_t i = 0; i < spec.children.size(); ++i) {
    collect_sources(spec.children[i], path + spec.steps[i], known, sources);
  }
}

Json describe_next(const TreeSpec& spec, const std::vector<Json>& leaves, size_t& next) {
  if (spec.type.empty()) return leaves[next++];
  Json items = Json::array();
  for (const TreeSpec& child : spec.children) items.push_back(describe_next(child, leaves, next));
  Json description = spec.description;
  description.set("items", std::move(items));
  return description;
}

}  // namespace

Result<TreeSpec> parse_tree(const std::string& text, const Json* fields) {
  KILN_ASSIGN_OR_RETURN(const Json json,
                        parse_json(text, {.max_bytes = 16 << 20, .max_depth = 2 * kMaxDepth + 8}));
  if (!json.is_array() || json.size() != 2) return malformed();
  if (json[0] != Json(1)) {
    return Status::error(
        "K1143", "the nesting of inputs and outputs is of another version: " + json[0].dump());
  }
  TreeSpec spec;
  KILN_RETURN_IF_ERROR(Reader(fields).read(json[1], spec, 0));
  return spec;
}

size_t count_leaves(const TreeSpec& spec) {
  if (spec.type.empty()) return 1;
  size_t count = 0;
  for (const TreeSpec& child : spec.children) count += count_leaves(child);
  return count;
}

std::vector<std::string> leaf_names(const TreeSpec& spec) {
  std::vector<std::string> names;
  collect_names(spec, "", names);
  return names;
}

std::vector<std::string> leaf_sources(const TreeSpec& spec,
                                      const std::vector<std::string>& parameters) {
  std::vector<std::string> sources;
  for (size_t group = 0; group < spec.children.size(); ++group) {
    const TreeSpec& arguments = spec.children[group];
    for (size_t i = 0; i < arguments.children.size(); ++i) {
      const bool known = group == 1 || i < parameters.size();
      const std::string name = !known ? "" : group == 1 ? arguments.keys[i] : parameters[i];
      collect_sources(arguments.children[i], "L['" + name + "']", known, sources);
    }
  }
  return sources;
}

Json describe(const TreeSpec& spec, const std::vector<Json>& leaves) {
  size_t next = 0;
  return describe_next(spec, leaves, next);
}

}  // namespace kiln::pt2

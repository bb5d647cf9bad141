// The nodes of an exported graph as calls on a CaptureBuilder. It follows
// python/kiln/frontends/graph_walker.py: both doors hand over the same calls.
//
// Errors: K1140 what Kiln cannot take, K1141 sizes, K1142 operators without a schema, K1143 a
// malformed graph.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <kiln/capture.h>

#include "base/json.h"
#include "frontend/pt2/operator_schemas.h"
#include "frontend/pt2/size_expr.h"
#include "frontend/pt2/tensor_meta.h"

namespace kiln::pt2 {

class GraphReader {
 public:
  // What a name of the graph stands for.
  struct Value {
    CaptureArg arg;
    bool host_number = false;    // a handle that is a number, no tensor
    const Json* lazy = nullptr;  // a node that is handed over when something real uses it
  };

  GraphReader(CaptureBuilder& capture, OperatorSchemas& schemas, Sizes& sizes)
      : capture_(capture), schemas_(schemas), sizes_(sizes) {}

  // Before read(): what the graph's placeholders stand for.
  void define(const std::string& name, Value value) { values_[name] = std::move(value); }
  // Hands over all nodes of `graph`.
  Status read(const Json& graph) { return read(graph, 0); }
  // After read(): what an argument (of the graph's outputs) stands for; lazy numbers are computed.
  Result<Value> resolve(const Json& argument);
  // A number that follows from the input sizes, as a literal or expression; else nothing.
  Result<std::optional<CaptureArg>> known_number(const Json& graph, const std::string& name);

  // Hands over a condition on sizes, an `and` of several as several. False for what the stream does
  // not take: other conditions, and sizes that only running the program reveals.
  Result<bool> add_condition(const SizeNode& condition, const std::string& text);

 private:
  struct Target {
    std::string name, overload;  // "aten::add", "Tensor"
    std::string full_name() const { return overload.empty() ? name : name + "." + overload; }
  };

  Status read(const Json& graph, int depth);
  Status read_node(const Json& node, int depth);
  Status read_call(const Json& node, const Target& target);
  Status read_function(const Json& node, const std::string& name);
  Status inline_region(const Json& node, const std::string& name, int depth);
  bool metadata_holds(const Json& node);
  // Whether an assertion holds for all sizes that the program takes, once they are checked.
  Result<bool> settle_assertion(const Json& node);
  Status add_result(const Json& output, std::vector<std::string>& names,
                    std::vector<CaptureMeta>& metas);
  Status emit(const std::string& name, const std::string& overload,
              const std::vector<CaptureArg>& args, const Json& node, std::string_view schema);
  void correct_states(const std::vector<std::string>& names, std::vector<CaptureMeta>& metas);
  Status check_sizes_known(const Json& argument) const;
  Status force(Value& value);
  Result<CaptureArg> convert(const Json& argument, std::string_view type);
  Result<CaptureArg> convert_name(const Json& named, const char* plain);
  Result<CaptureArg> named_value(const std::string& name);
  Result<const Json*> entry(const char* table, const std::string& name) const;

  CaptureBuilder& capture_;
  OperatorSchemas& schemas_;
  Sizes& sizes_;
  const Json* graph_ = nullptr;  // the one being read
  std::map<std::string, Value> values_;
  std::set<std::string> oversized_;  // values of which the file states one dim too many
};

// Module path and source line of a node, from its metadata.
CaptureOrigin origin_of(const Json& node);

}  // namespace kiln::pt2

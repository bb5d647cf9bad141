// The graph: SSA values and the nodes that compute them.
//
// Ownership: a Graph owns its Nodes and its argument Values; a Node owns its result Values and its
// body Graphs. Everything else is a plain pointer that lives as long as the graph.
// Passes may mutate anything; nothing here is const-correct on purpose.
#pragma once

#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "ir/attr.h"
#include "ir/type.h"

namespace kiln {

class Graph;
class Node;
struct OpDef;

// Where a value came from in the user's program.
struct Origin {
  std::string module_path;  // "layer1.0.conv1"
  std::string location;     // "file.py:41"
  bool operator==(const Origin&) const = default;
  bool empty() const { return module_path.empty() && location.empty(); }
  std::string to_string() const;  // "layer1.0.conv1 (file.py:41)"
};

struct Use {
  Node* node = nullptr;
  int operand = 0;
  bool operator==(const Use&) const = default;
};

class Value {
 public:
  Type type;
  std::string name;  // hint for printing arguments ("x"); may be empty
  Origin origin;

  Node* producer() { return producer_; }  // null for graph arguments
  int index() { return index_; }          // which result / argument
  Graph* graph() { return graph_; }
  const std::vector<Use>& uses() { return uses_; }   // insertion order; graph outputs not included
  bool is_constant_argument() { return constant_; }  // one of Graph::constants()
  bool has_one_use();  // exactly one use, counting each graph output as one
  TensorType& tensor() { return type.tensor(); }
  const Shape& shape() { return type.tensor().shape; }
  DType dtype() { return type.tensor().dtype; }

 private:
  friend class Graph;
  friend class Node;
  Node* producer_ = nullptr;
  Graph* graph_ = nullptr;
  int index_ = 0;
  bool constant_ = false;
  std::vector<Use> uses_;
};

class Node {
 public:
  const OpDef* op = nullptr;
  Origin origin;
  std::vector<std::unique_ptr<Graph>> bodies;

  Graph* graph() { return graph_; }
  std::string_view op_name();
  bool is(std::string_view op_name);

  const std::vector<Value*>& operands() { return operands_; }
  Value* operand(int i) { return operands_[static_cast<size_t>(i)]; }
  int num_operands() { return static_cast<int>(operands_.size()); }
  // An optional operand that is absent is a null Value; where the op limits their number, the list
  // is always filled up with nulls to that limit, so that operand(i) exists for each declared one.
  void set_operand(int i, Value* value);
  void set_operands(std::vector<Value*> values);

  int num_results() { return static_cast<int>(results_.size()); }
  Value* result(int i = 0) { return results_[static_cast<size_t>(i)].get(); }
  Value* add_result(Type type);
  bool has_operand(int i) { return i < num_operands() && operand(i) != nullptr; }
  // Types the results again by the op's infer(), after operands or attributes changed. True when a
  // type became another. Layouts that were chosen stay.
  Result<bool> reinfer();

  // Attributes, one per field of the op, in the op's order. Asking for an unknown field or the
  // wrong kind is a bug.
  const std::vector<Attr>& attrs() { return attrs_; }
  const Attr& attr(std::string_view field);
  void set_attr(std::string_view field, Attr value);
  bool get_bool(std::string_view field) { return std::get<bool>(attr(field)); }
  int64_t get_int(std::string_view field) { return std::get<int64_t>(attr(field)); }
  double get_float(std::string_view field) { return std::get<double>(attr(field)); }
  const std::string& get_string(std::string_view field) {
    return std::get<std::string>(attr(field));
  }
  DType get_dtype(std::string_view field) { return std::get<DType>(attr(field)); }
  const std::vector<int64_t>& get_ints(std::string_view field) {
    return std::get<std::vector<int64_t>>(attr(field));
  }
  const DimExpr& get_dim(std::string_view field) { return std::get<DimExpr>(attr(field)); }
  const std::vector<DimExpr>& get_dims(std::string_view field) {
    return std::get<std::vector<DimExpr>>(attr(field));
  }

 private:
  friend class Graph;
  Graph* graph_ = nullptr;
  std::vector<Value*> operands_;
  std::vector<std::unique_ptr<Value>> results_;
  std::vector<Attr> attrs_;
  std::list<std::unique_ptr<Node>>::iterator position_;
};

// Named attributes for node construction; fields left out take the op's default.
using AttrList = std::vector<std::pair<std::string, Attr>>;

class Graph {
 public:
  Graph() = default;
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  ~Graph();

  Value* add_input(Type type, std::string name = {});
  // A value computed by the init graph (see Module); prints as %c0, %c1, ...
  Value* add_constant(Type type, std::string name = {});
  const std::vector<Value*>& inputs() { return inputs_; }
  const std::vector<Value*>& constants() { return constants_; }
  // Renumbers the remaining ones. Preconditions: no uses.
  void erase_input(int i);
  void erase_constant(int i);

  // Creates a node before `before` (null: at the end) with results typed by the op's infer().
  // An int is accepted for a float or dim field, ints for a dims field.
  // K2201... when infer or verify refuses; K2211 unknown field, K2212 missing field or wrong kind.
  Result<Node*> create(const OpDef& op, std::vector<Value*> operands, AttrList attrs = {},
                       Node* before = nullptr, Origin origin = {},
                       std::vector<std::unique_ptr<Graph>> bodies = {});
  // As create() with the result types given and nothing checked; for parsers and cloning.
  Node* create_unchecked(const OpDef& op, std::vector<Value*> operands, std::vector<Attr> attrs,
                         std::vector<Type> result_types, Node* before = nullptr,
                         Origin origin = {});
  void erase(Node* node);  // precondition: results have no uses and are no outputs
  void move_before(Node* node, Node* before);  // null: to the end

  const std::vector<Value*>& outputs() { return outputs_; }
  void add_output(Value* value) { outputs_.push_back(value); }
  void set_output(int i, Value* value) { outputs_[static_cast<size_t>(i)] = value; }
  void erase_output(int i) { outputs_.erase(outputs_.begin() + i); }
  bool is_output(Value* value);

  // Every use of `from`, graph outputs included, becomes a use of `to`.
  void replace_all_uses(Value* from, Value* to);

  // Nodes in order. The snapshot is safe against erasing and inserting while walking.
  const std::list<std::unique_ptr<Node>>& nodes() { return nodes_; }
  std::vector<Node*> snapshot();
  Node* next(Node* node);  // null after the last
  bool empty() { return nodes_.empty(); }

  // Copies the nodes of `source` to before `before`; `map` holds source arguments -> values here
  // and receives every copied result. Bodies are copied too.
  void clone_nodes(Graph& source, std::map<Value*, Value*>& map, Node* before = nullptr);
  // Arguments, nodes, outputs.
  std::unique_ptr<Graph> clone();
  void copy_from(Graph& source);  // precondition: this graph is empty

 private:
  friend class Node;
  void erase_argument(std::vector<Value*>& list, int i);

  std::vector<std::unique_ptr<Value>> arguments_;
  std::vector<Value*> inputs_;
  std::vector<Value*> constants_;
  std::vector<Value*> outputs_;
  std::list<std::unique_ptr<Node>> nodes_;
};

}  // namespace kiln

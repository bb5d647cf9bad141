// Giving nodes another float dtype to compute and store in: what lower_precision and widen share.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string_view>
#include <vector>

#include "ir/module.h"
#include "passes/backend_support.h"
#include "passes/pass_manager.h"

namespace kiln {

// Does the node gain so much by 16-bit operands that casting them pays? Products do; attention
// multiplies little for what it reads, and goes with its operands.
bool leads(Node& node);

class StorageRewrite {
 public:
  // Nodes of `graph` that compute in `from` shall compute in `to`.
  StorageRewrite(Module& module, Graph& graph, DType from, DType to)
      : module_(module), graph_(graph), from_(from), to_(to) {}

  // Does operand i have to be in the dtype of the node? (See OpDef::f32_beside.)
  bool converts(Node& node, int i) const;
  // What the backend says of the node in the other dtype, alone, with weights as constants. K2412,
  // or what the op says when it cannot be in that dtype. Everything is supported without a backend.
  Status ask(Node& node, BackendSupport* backend) const;
  // Can the node be written in another dtype at all? Fields that are dtypes speak against it, but
  // for a cast that makes `from`.
  bool is_convertible(Node& node) const;

  void choose(Node* node) { chosen_.insert(node); }
  bool is_chosen(Node* node) const { return chosen_.contains(node); }

  // Rewrites the chosen nodes, with casts where they meet others. True when there were any.
  bool apply(PassContext& context);

 private:
  using Emit = std::function<Value*(std::string_view, std::vector<Value*>, AttrList)>;

  Value* converted(Value* value, Node& user);
  Value* cast_constant(Value* value, const Emit& emit);
  void rewrite(Node& node);

  Module& module_;
  Graph& graph_;
  DType from_, to_;
  std::set<Node*> chosen_;  // lookups only
  std::map<Value*, Value*> values_;  // in `from` -> the same in `to`; lookups only
  std::vector<Node*> casts_;
};

}  // namespace kiln

// fold-constants: what depends on weights and literals alone is computed before the first run.
//
//   main(%x: f32[2,3]) {                                %c0: a weight [3]
//     %0 = constant() {value=f32[](2)} : f32[]
//     %1 = add(%c0, %0) : f32[3]
//     %2 = mul(%x, %1) : f32[2,3]
// becomes
//   init {
//     %0 = constant() {value=f32[](2)} : f32[]
//     %1 = add(%w0, %0) : f32[3]
//     const %c0 = %1
//   }
//   main(%x: f32[2,3]) {
//     %0 = mul(%x, %c0) : f32[2,3]
//
// Without weights in it and with few elements, the result becomes a literal, by the reference
// executor. What would grow stays: an expand costs nothing where it is used, its result would
// cost memory.
#include <map>
#include <set>

#include "interp/interpreter.h"
#include "ir/op_def.h"
#include "ops/effects.h"
#include "passes/match.h"
#include "passes/rewriter.h"

namespace kiln {
namespace {

// A literal is printed, hashed and saved with the program; larger results are computed by init.
constexpr int64_t kMaxLiteral = 256;
// A result may have this many bytes however small its operands are (a causal mask of 1024 x 1024);
// beyond it must not be larger than they are together.
constexpr int64_t kMaxGrowth = int64_t{1} << 20;
constexpr int64_t kNoLimit = int64_t{1} << 60;

int64_t bytes_of(Value* value) {
  const std::optional<int64_t> count = static_elements(value->shape(), kNoLimit);
  return count ? *count * static_cast<int64_t>(dtype_bytes(value->dtype())) : -1;
}

class Folder {
 public:
  Folder(Module& module, PassContext& context) : module_(module), context_(context) {}

  Result<bool> run() {
    for (Node* node : module_.main.snapshot()) {
      if (is_dead(*node)) continue;
      KILN_ASSIGN_OR_RETURN(const bool splat, make_splat(*node));
      if (splat || !is_foldable(*node)) continue;
      KILN_ASSIGN_OR_RETURN(const Literal literal, make_literal(*node));
      if (literal == Literal::kRefused || literal == Literal::kMade) continue;
      if (!move(*node)) break;
    }
    return finish();
  }

 private:
  bool known(Value* value) { return is_known(value) || moved_.contains(value); }

  bool is_foldable(Node& node) {
    if (node.op->has(kSource) || node.op->reference == nullptr || node.is("aten.call") ||
        has_effect(node) || !node.bodies.empty()) {
      return false;
    }
    int64_t in = 0;
    bool any = false;
    for (Value* operand : node.operands()) {
      if (operand == nullptr) continue;
      if (!known(operand)) return false;
      any = true;
      in += bytes_of(operand);
    }
    if (!any) return false;
    int64_t out = 0;
    for (int i = 0; i < node.num_results(); ++i) {
      if (!node.result(i)->type.is_tensor()) return false;
      const int64_t bytes = bytes_of(node.result(i));
      if (bytes < 0) return false;
      out += bytes;
    }
    if (node.is("expand")) return out <= in;
    return out <= in || out <= kMaxGrowth;
  }

  // Elementwise ops on numbers that fill their shapes give such a number, whatever the shape; sums
  // of zeros along an axis are zeros.
  Result<bool> make_splat(Node& node) {
    const bool scan = node.is("cumsum");
    if ((!node.op->has(kElementwise) && !scan) || node.num_results() != 1) return false;
    if (node.op->reference == nullptr || !node.bodies.empty()) return false;
    const TensorType& type = node.result()->tensor();
    // What is small and of known shape becomes a literal; views of it would become one again.
    if (static_elements(type.shape, kMaxLiteral) || !type.layout.is_contiguous()) return false;
    Graph scratch;
    std::vector<Value*> inputs;
    std::vector<HostTensor> numbers;
    for (Value* operand : node.operands()) {
      const std::optional<Splat> splat = splat_of(module_, operand);
      if (!splat || (scan && !splat->is(0))) return false;
      HostTensor number(splat->dtype, {});
      if (is_float(splat->dtype)) {
        number.set_double(0, splat->number);
      } else {
        number.set_int(0, splat->integer);
      }
      numbers.push_back(std::move(number));
      inputs.push_back(scratch.add_input(Type(splat->dtype, {})));
    }
    HostTensor value(type.dtype, {});
    if (!scan) {
      Result<Node*> scalar = scratch.create(*node.op, inputs, attrs_of(node));
      if (!scalar.ok()) return false;
      std::vector<const HostTensor*> pointers;
      for (const HostTensor& number : numbers) pointers.push_back(&number);
      Result<std::vector<HostTensor>> results = interpret(**scalar, pointers, {});
      if (!results.ok()) return false;
      value = std::move((*results)[0]);
    }
    if (!context_.should_rewrite()) return false;
    AttrList attrs{{"shape", type.shape}, {"dtype", type.dtype}};
    if (is_float(type.dtype)) {
      attrs.emplace_back("value", value.get_double(0));
    } else {
      attrs.emplace_back("int_value", value.get_int(0));
    }
    Node* full = create_node(module_.main, "full", {}, std::move(attrs), &node, node.origin);
    module_.main.replace_all_uses(node.result(), full->result());
    remember(node);
    return true;
  }

  enum class Literal { kMade, kNone, kRefused };

  // The value of a node on sources alone, when it is small. References may refuse (an index out of
  // range): the node then stays where it is, and raises when it runs.
  Result<Literal> make_literal(Node& node) {
    std::vector<HostTensor> operands;
    for (int i = 0; i < node.num_results(); ++i) {
      if (!static_elements(node.result(i)->shape(), kMaxLiteral)) return Literal::kNone;
    }
    for (Value* operand : node.operands()) {
      if (operand == nullptr) continue;
      Node* source = operand->producer();
      if (source == nullptr || !source->op->has(kSource)) return Literal::kNone;
      if (!static_elements(operand->shape(), kMaxLiteral)) return Literal::kNone;
      KILN_ASSIGN_OR_RETURN(std::vector<HostTensor> value, interpret(*source, {}, {}));
      operands.push_back(std::move(value[0]));
    }
    std::vector<const HostTensor*> pointers;
    size_t next = 0;
    for (Value* operand : node.operands()) {
      pointers.push_back(operand == nullptr ? nullptr : &operands[next++]);
    }
    Result<std::vector<HostTensor>> results = interpret(node, pointers, {});
    if (!results.ok()) return Literal::kRefused;
    if (!context_.should_rewrite()) return Literal::kNone;
    for (int i = 0; i < node.num_results(); ++i) {
      Node* literal = create_node(module_.main, "constant", {},
                                  {{"value", std::move((*results)[static_cast<size_t>(i)])}}, &node,
                                  node.origin);
      module_.main.replace_all_uses(node.result(i), literal->result());
    }
    remember(node);
    return Literal::kMade;
  }

  // The copy of the node in the init graph; false when the limit of rewrites is reached.
  bool move(Node& node) {
    if (!context_.should_rewrite()) return false;
    std::vector<Value*> operands;
    for (Value* operand : node.operands()) {
      operands.push_back(operand == nullptr ? nullptr : init_of(operand));
    }
    std::vector<Type> types;
    for (int i = 0; i < node.num_results(); ++i) types.push_back(node.result(i)->type);
    Node* copy = module_.init.create_unchecked(*node.op, std::move(operands), node.attrs(),
                                               std::move(types), nullptr, node.origin);
    for (int i = 0; i < node.num_results(); ++i) {
      copy->result(i)->name = node.result(i)->name;
      copy->result(i)->origin = node.result(i)->origin;
      moved_[node.result(i)] = copy->result(i);
    }
    remember(node);
    return true;
  }

  void remember(Node& node) {
    folded_.push_back(&node);
    is_folded_.insert(&node);
    for (Value* operand : node.operands()) {
      Node* source = operand == nullptr ? nullptr : operand->producer();
      if (source == nullptr || !source->op->has(kSource)) continue;
      if (is_folded_.insert(source).second) sources_.push_back(source);
    }
  }

  Value* init_of(Value* value) {
    if (value->is_constant_argument()) return module_.init_value(value);
    const auto found = moved_.find(value);
    if (found != moved_.end()) return found->second;
    Node* source = value->producer();
    Node* copy = module_.init.create_unchecked(*source->op, {}, source->attrs(), {value->type},
                                               nullptr, source->origin);
    return moved_[value] = copy->result();
  }

  bool used_outside(Value* value) {
    for (const Use& use : value->uses()) {
      if (!is_folded_.contains(use.node)) return true;
    }
    return module_.main.is_output(value);
  }

  // Constants for those of the moved values that main still needs; then the folded nodes go. They
  // are erased only now, because a new value at the address of an erased one would be taken for it.
  bool finish() {
    for (Node* node : folded_) {
      for (int i = 0; i < node->num_results(); ++i) {
        Value* value = node->result(i);
        if (!moved_.contains(value) || !used_outside(value)) continue;
        Value* constant = module_.constant_for(moved_.at(value));
        const std::vector<Use> uses = value->uses();
        for (const Use& use : uses) {
          if (!is_folded_.contains(use.node)) use.node->set_operand(use.operand, constant);
        }
        for (size_t k = 0; k < module_.main.outputs().size(); ++k) {
          if (module_.main.outputs()[k] == value) {
            module_.main.set_output(static_cast<int>(k), constant);
          }
        }
      }
    }
    for (auto it = folded_.rbegin(); it != folded_.rend(); ++it) module_.main.erase(*it);
    for (Node* source : sources_) {
      if (is_dead(*source)) module_.main.erase(source);
    }
    return !folded_.empty();
  }

  Module& module_;
  PassContext& context_;
  std::map<Value*, Value*> moved_;  // values of main -> of init; lookups only
  std::vector<Node*> folded_;       // graph order
  std::vector<Node*> sources_;      // what they read
  std::set<Node*> is_folded_;       // both; lookups only
};

}  // namespace

KILN_PASS(fold_constants, "what depends on weights and literals alone moves to the init graph") {
  return Folder(module, context).run();
}

}  // namespace kiln

// sink-permutes: a permute of rows moves behind the product of them by a matrix, and behind norms
// of them, when it vanishes or costs nothing there.
//
//   %0 = permute(%x) {order=[1,0,2]} : f32[?s,?b,8]              x: [?b,?s,8]
//   %1 = linear(%0, %c0) : f32[?s,?b,8]
//   %2 = reshape(%1) {shape=[?s,?b,2,4]} : f32[?s,?b,2,4]
//   %3 = permute(%2) {order=[1,2,0,3]} : f32[?b,2,?s,4]
//   %4 = attention(%3, ...) : f32[?b,2,?s,4]
//   %5 = permute(%4) {order=[2,0,1,3]} : f32[?s,?b,2,4]
//   %6 = reshape(%5) {shape=[?s,?b,8]} : f32[?s,?b,8]
//   %7 = linear(%6, %c1) : f32[?s,?b,8]
//   %8 = permute(%7) {order=[1,0,2]} : f32[?b,?s,8]
// becomes, with simplify-views
//   %0 = linear(%x, %c0) : f32[?b,?s,8]
//   %1 = reshape(%0) {shape=[?b,?s,2,4]} : f32[?b,?s,2,4]
//   %2 = permute(%1) {order=[0,2,1,3]} : f32[?b,2,?s,4]
//   %3 = attention(%2, ...) : f32[?b,2,?s,4]
//   %4 = permute(%3) {order=[0,2,1,3]} : f32[?b,?s,2,4]
//   %5 = reshape(%4) {shape=[?b,?s,8]} : f32[?b,?s,8]
//   %6 = linear(%5, %c1) : f32[?b,?s,8]
//
// A product takes its rows in any order, but a kernel wants them as a dense matrix, which a
// permuted view is not: without this, torch.nn.MultiheadAttention, whose rows are [length, batch],
// copies whatever has them as [batch, length]. The canonical order of rows is that of the tensor in
// front of the permute, so permutes go down, as reshapes do (hoist-reshapes) and as permutes do
// behind elementwise ops (merge-transposes). Nothing moves them up again.
//
// One moves only when every use of the product takes it: another permute, which it merges with;
// attention, which reads strided views; an elementwise op whose other operand is permuted alike; an
// output that lies so in memory; or what passes it on to such uses (products, norms, elementwise
// ops, slices, reshapes). Elsewhere it would only copy the result of the product instead of its
// rows, and the result may be larger: a vocabulary. For the same reason nothing behind it may need
// a copy that it does not need now, as attention in windows may, which joins rows.
#include <algorithm>
#include <numeric>
#include <optional>
#include <set>

#include "core/strides.h"
#include "ir/op_def.h"
#include "passes/match.h"
#include "passes/permute_rules.h"
#include "passes/rewriter.h"

namespace kiln {
namespace {

using Ints = std::vector<int64_t>;

// Every row of operand 0 by the same matrix.
bool is_row_product(Node& node) {
  if (node.is("linear")) return true;
  return node.is("matmul") && !node.get_bool("transpose_a") &&
         node.operand(1)->tensor().rank() == 2;
}

// How many of the last axes a norm works along; 0 when it is no norm.
int axes_of_norm(Node& node) {
  if (!node.op->has(kRowwise) || node.num_results() != 1) return 0;
  if (node.op->field_index("axis") >= 0) {
    return node.result()->tensor().rank() - static_cast<int>(node.get_int("axis"));
  }
  return node.op->field_index("num_axes") >= 0 ? static_cast<int>(node.get_int("num_axes")) : 0;
}

// The axes before the last `kept` ones, in another order than that of the tensor they come from.
struct PermutedRows {
  Value* source = nullptr;
  Ints sorted;  // order of a permute of the source that has them in its order, the rest as it was
  Ints order;   // of the permute that is to follow
};

// permute(source), or a reshape of it that joins what follows the rows into the last axis.
std::optional<PermutedRows> permuted_rows(Value* value, int kept) {
  const Shape& shape = value->shape();
  const size_t rows = shape.size() - static_cast<size_t>(kept);
  if (!value->tensor().layout.is_contiguous()) return std::nullopt;
  Node* reshape = producer_of(value, "reshape");
  Node* permute = producer_of(reshape == nullptr ? value : reshape->operand(0), "permute");
  if (permute == nullptr || rows < 2) return std::nullopt;
  const Shape& before = permute->result()->shape();
  if (reshape != nullptr) {
    if (kept != 1 || before.size() < shape.size()) return std::nullopt;
    const auto end = before.begin() + static_cast<std::ptrdiff_t>(rows);
    // Sizes of 0 make products equal that say nothing of their factors.
    if (!std::equal(before.begin(), end, shape.begin()) ||
        !(num_elements(Shape(end, before.end())) == shape.back())) {
      return std::nullopt;
    }
  }
  const Ints& axes = permute->get_ints("order");
  const auto end = axes.begin() + static_cast<std::ptrdiff_t>(rows);
  if (std::is_sorted(axes.begin(), end)) return std::nullopt;
  PermutedRows found{permute->operand(0), axes, Ints(shape.size())};
  const auto sorted_end = found.sorted.begin() + static_cast<std::ptrdiff_t>(rows);
  std::sort(found.sorted.begin(), sorted_end);
  std::iota(found.order.begin(), found.order.end(), 0);
  for (size_t i = 0; i < rows; ++i) {
    found.order[i] = std::find(found.sorted.begin(), sorted_end, axes[i]) - found.sorted.begin();
  }
  return found;
}

Value* rows_in_source_order(Rewriter& r, const PermutedRows& rows, const Shape& permuted) {
  Value* value = rows.source;
  if (!std::is_sorted(rows.sorted.begin(), rows.sorted.end())) {
    value = r.create("permute", {value}, {{"order", rows.sorted}});
  }
  Shape shape(permuted.size());
  for (size_t i = 0; i < shape.size(); ++i) {
    shape[static_cast<size_t>(rows.order[i])] = permuted[i];
  }
  return r.reshape(value, shape);
}

// Asks what would become of the permute.
class Descent {
 public:
  Descent(Module& module, Ints order) : module_(module), order_(std::move(order)) {}

  // Every use of a product's result takes it permuted.
  bool ends_well(Value* result) {
    Shape sorted(order_.size());
    for (size_t i = 0; i < sorted.size(); ++i) {
      sorted[static_cast<size_t>(order_[i])] = result->shape()[i];
    }
    Reading reading{dense_strides(result->shape(), {}), dense_strides(sorted, {})};
    permute(order_, &reading.after);
    return is_taken(result, reading);
  }

 private:
  // How a value is read, as views of the product.
  struct Reading {
    SymbolicStrides before, after;  // as the rows are now, as they would be
    bool as_product = true;         // the axes are those of the product
    bool permuted = false;          // a permute has been met
  };

  static void permute(const Ints& order, SymbolicStrides* strides) {
    SymbolicStrides moved;
    for (const int64_t axis : order) moved.push_back((*strides)[static_cast<size_t>(axis)]);
    *strides = std::move(moved);
  }

  bool is_taken(Value* value, const Reading& reading) {
    if (!seen_.insert(value).second) return true;
    if (value->graph()->is_output(value)) {
      if (!is_taken_by_outputs(value, reading)) return false;
    } else if (value->uses().empty()) {
      return false;
    }
    return std::all_of(value->uses().begin(), value->uses().end(),
                       [&](const Use& use) { return is_taken_by(use, value, reading); });
  }

  bool is_taken_by(const Use& use, Value* value, Reading reading) {
    Node& node = *use.node;
    if (node.is("permute")) {
      permute(node.get_ints("order"), &reading.before);
      permute(node.get_ints("order"), &reading.after);
      reading.as_product = false;
      reading.permuted = true;
      return is_taken(node.result(), reading);
    }
    if (node.is("slice")) {
      const auto axis = static_cast<size_t>(node.get_int("axis"));
      reading.before[axis] *= node.get_dim("step");
      reading.after[axis] *= node.get_dim("step");
      return is_taken(node.result(), reading);
    }
    if (node.is("attention") && use.operand < 3) {
      // Kernels have one batch axis, and heads.
      Shape shape = value->shape();
      while (shape.size() > 4) {
        shape[1] *= shape[0];
        shape.erase(shape.begin());
      }
      return reshape(value->shape(), shape, &reading.after) ||
             !reshape(value->shape(), shape, &reading.before);
    }
    if (node.is("reshape")) {
      const Shape& shape = node.result()->shape();
      const bool copies = !reshape(value->shape(), shape, &reading.before);
      // One that needs a copy either way leaves a dense tensor.
      if (!reshape(value->shape(), shape, &reading.after)) return copies;
      if (copies) reading.before = reading.after;
      reading.as_product = false;
      return is_taken(node.result(), reading);
    }
    if (reading.permuted) return true;
    if (!reading.as_product) return false;
    const int kept = is_row_product(node) ? 1 : axes_of_norm(node);
    if (kept > 0) return use.operand == 0 && stay(kept) && ends_well(node.result());
    return node.op->has(kElementwise) && node.num_results() == 1 &&
           node.result()->shape() == value->shape() && is_taken_elementwise(node, value);
  }

  static bool reshape(const Shape& from, const Shape& to, SymbolicStrides* strides) {
    SymbolicStrides result;
    if (!reshape_strides(from, *strides, to, &result)) return false;
    *strides = std::move(result);
    return true;
  }

  // Outputs have the memory order that they had at capture: what lies so needs no copy.
  bool is_taken_by_outputs(Value* value, const Reading& reading) const {
    for (size_t i = 0; i < module_.outputs.size(); ++i) {
      if (module_.main.outputs()[i] != value) continue;
      const SymbolicStrides wanted = dense_strides(value->shape(), module_.outputs[i].order);
      if (reading.after == wanted) continue;
      if (!reading.permuted || reading.before == wanted) return false;
    }
    return true;
  }

  bool stay(int kept) const {
    for (size_t i = order_.size() - static_cast<size_t>(kept); i < order_.size(); ++i) {
      if (order_[i] != static_cast<int64_t>(i)) return false;
    }
    return true;
  }

  bool is_taken_elementwise(Node& node, Value* value) {
    bool meets_permute = false;
    for (Value* operand : node.operands()) {
      if (operand == nullptr) return false;
      if (operand == value || varies_along_last(operand)) continue;
      Node* permute = producer_of(operand, "permute");
      if (permute != nullptr && permute->get_ints("order") == order_) {
        meets_permute = true;
      } else if (!is_product_alike(operand)) {
        return false;
      }
    }
    return meets_permute || ends_well(node.result());
  }

  static bool varies_along_last(Value* value) {
    const Shape& shape = value->shape();
    return std::all_of(shape.begin(), shape.empty() ? shape.end() : shape.end() - 1,
                       [](const DimExpr& size) { return size.is_value(1); });
  }

  // A product whose rows are in the same order.
  bool is_product_alike(Value* value) const {
    Node* node = value->producer();
    if (node == nullptr || !is_row_product(*node)) return false;
    const std::optional<PermutedRows> rows = permuted_rows(node->operand(0), 1);
    return rows && rows->order == order_;
  }

  Module& module_;
  Ints order_;
  std::set<Value*> seen_;  // lookups only
};

bool below_rows(Rewriter& r) {
  Node& node = r.node();
  const int kept = is_row_product(node) ? 1 : axes_of_norm(node);
  if (kept == 0 || !node.result()->tensor().layout.is_contiguous()) return false;
  const std::optional<PermutedRows> rows = permuted_rows(node.operand(0), kept);
  if (!rows || !Descent(r.module(), rows->order).ends_well(node.result()) || !r.allowed()) {
    return false;
  }
  std::vector<Value*> operands = node.operands();
  operands[0] = rows_in_source_order(r, *rows, node.operand(0)->shape());
  Value* y = r.create_like(node, std::move(operands));
  return r.replace(r.create("permute", {y}, {{"order", rows->order}}));
}

}  // namespace

KILN_PASS(sink_permutes, "permutes of rows move behind products and norms, where they vanish") {
  // Together, so that one run goes through all layers of a network.
  return rewrite_all(module, context, {below_rows, permute_below_elementwise});
}

}  // namespace kiln

// Calls on tensors whose elements are known: they are evaluated here.
#include <ATen/ATen.h>
#include <torch/csrc/jit/ir/ir.h>

#include <algorithm>
#include <set>

#include "torch/torchscript/importer.h"
#include "torch/torchscript/operator_schema.h"

namespace kiln::torchscript {

// The tensors with known elements that lie in the memory of this one, which is one of them.
std::vector<TensorInfo*> Importer::known_in_memory_of(const at::Tensor& tensor) {
  const std::vector<at::Tensor> memory = info(tensor).values;
  std::vector<TensorInfo*> found;
  for (auto& [impl, other] : tensors_) {
    const bool shares =
        std::any_of(other.values.begin(), other.values.end(), [&](const at::Tensor& value) {
          return std::any_of(memory.begin(), memory.end(),
                             [&](const at::Tensor& own) { return own.is_alias_of(value); });
        });
    if (shares) found.push_back(&other);
  }
  return found;
}

// Before an operator writes tensors whose elements are known: each sample point has a tensor of its
// own where they come to vary, and so has all that lies in the same memory.
void Importer::prepare_known_writes(const std::vector<at::Tensor>& written, bool varies) {
  for (const at::Tensor& tensor : written) {
    TensorInfo& t = info(tensor);
    for (TensorInfo* other : known_in_memory_of(tensor)) {
      if (other->literal) throw WritesConstant(other->keep.unsafeGetTensorImpl());
      const bool parted = varies && t.values.size() == 1 && other != &t;
      if (parted || other->values.size() != t.values.size()) {
        throw Stop("a constant tensor is changed in place through one of several views");
      }
      if (other->handle >= 0) {
        throw Stop("a constant tensor is changed in place after it was used");
      }
      other->number = c10::IValue();
      other->metas.clear();  // it may get another shape
    }
    while (varies && t.values.size() < points_) t.values.push_back(t.values[0].clone());
  }
}

// All elements are known: the operator itself says what it gives.
Results Importer::run_known(torch::jit::Node* node, const c10::FunctionSchema& schema,
                            const Stack& inputs) {
  const bool varies = !std::all_of(inputs.begin(), inputs.end(),
                                   [&](const c10::IValue& input) { return uniform(input); });
  const std::vector<at::Tensor> written = written_by(schema, inputs);
  // What is written is computed from what it was, or is what is given.
  std::string computed = schema.name();
  Stack operands = inputs;
  if (computed == "aten::fill_" || computed == "aten::copy_") {
    computed = "aten::clone";
    operands = {inputs[1]};
  } else if (!written.empty() && computed.ends_with('_')) {
    computed.pop_back();
  }
  auto number = arithmetic(computed, operands);
  const bool by_unbacked = std::any_of(
      inputs.begin(), inputs.end(), [&](const c10::IValue& input) { return has_unbacked(input); });
  prepare_known_writes(written, varies);
  std::vector<Stack> at;
  const auto op = c10::Dispatcher::singleton().findSchema(schema.operator_name());
  for (size_t point = 0; point < (varies ? points_ : 1); ++point) {
    Stack stack;
    for (const c10::IValue& input : inputs) {
      stack.push_back(at_point(input, point, true));
      if (stack.back().isDevice()) stack.back() = c10::Device(c10::kCPU);
    }
    try {
      if (op) {
        op->callBoxed(&stack);
      } else {
        run_jit(node, stack);
      }
    } catch (const c10::Error& error) {
      if (point < kFitPoints) throw Raised(error.what_without_backtrace());
      throw Stop("at some sizes of the ranges " + schema.name() + " raises an exception, as for " +
                     text_at(point) + ": " + error.what_without_backtrace(),
                 "give ranges without such sizes");
    }
    at.push_back(std::move(stack));
  }
  static const std::set<std::string> kRelations = {"aten::eq", "aten::ne", "aten::lt",
                                                   "aten::le", "aten::gt", "aten::ge"};
  if (varies && !number && kRelations.contains(schema.name())) {
    const auto a = as_size(inputs[0]), b = as_size(inputs[1]);
    const bool by_values = a && b && (is_unbacked(a->expr) || is_unbacked(b->expr));
    if (a && b && !by_values) number = relate(schema.name().substr(6), *a, *b);
  }
  if (!number && by_unbacked) {
    throw Stop("a tensor is computed from a size known only at run time: " + schema.name());
  }
  const auto note_number = [&](TensorInfo& t) {
    if (t.values.size() == 1 || !number || t.values[0].dim() != 0) return;
    // A narrow type may not hold it.
    const auto size = as_size(*number);
    for (size_t point = 0; size && point < t.values.size(); ++point) {
      if (t.values[point].item<double>() != static_cast<double>(size->at[point])) return;
    }
    if (symbolic(*number) == nullptr) {  // the same at all sizes
      t.values.resize(1);
    } else {
      t.number = *number;
    }
  };
  Results results;
  for (size_t i = 0; i < at[0].size(); ++i) {
    std::function<c10::IValue(const std::vector<c10::IValue>&)> merge =
        [&](const std::vector<c10::IValue>& values) -> c10::IValue {
      if (values[0].isList()) {
        for (const c10::IValue& value : values) {
          if (value.toListRef().size() == values[0].toListRef().size()) continue;
          throw Stop("the number of results depends on sizes that vary: " + schema.name());
        }
        c10::impl::GenericList list(values[0].toList().elementType());
        for (size_t k = 0; k < values[0].toListRef().size(); ++k) {
          std::vector<c10::IValue> items;
          for (const c10::IValue& value : values) items.push_back(value.toListRef()[k]);
          list.push_back(merge(items));
        }
        return list;
      }
      if (!values[0].isTensor()) {
        if (varies && !values[0].isNone()) {
          throw Stop("an answer depends on sizes that vary: " + schema.name());
        }
        return values[0];
      }
      // What an in-place operator returns is the tensor that it wrote.
      for (const c10::IValue& input : inputs) {
        at::Tensor same;
        for_each_tensor(input, [&](const at::Tensor& t) {
          if (info(t).values[0].is_same(values[0].toTensor())) same = t;
        });
        if (!same.defined()) continue;
        if (written.empty()) return same;
        const at::Tensor element = info(same).values[0];
        for (TensorInfo* other : known_in_memory_of(same)) {
          const at::Tensor& own = other->values[0];
          const bool all = own.data_ptr() == element.data_ptr() && own.dim() == element.dim() &&
                           own.scalar_type() == element.scalar_type();
          if (all) note_number(*other);
        }
        return same;
      }
      std::vector<at::Tensor> tensors;
      for (const c10::IValue& value : values) tensors.push_back(value.toTensor());
      // A number that the ranges decide is the same at all sizes.
      const bool decided = number && symbolic(*number) == nullptr;
      const at::Tensor key = add_known(tensors, varies && !decided);
      note_number(info(key));
      return key;
    };
    std::vector<c10::IValue> values;
    for (const Stack& stack : at) values.push_back(stack[i]);
    results.push_back(merge(values));
  }
  return results;
}

}  // namespace kiln::torchscript

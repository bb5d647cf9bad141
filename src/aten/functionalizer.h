// Turns captured tensors, which may be views of one another and may be written in place, into pure
// values.
//
// Each captured tensor is a base value and a chain of view nodes. A write rebuilds the base from
// the new contents of the view; the other tensors over that base are recomputed when they are next
// read. All front ends share this.
#pragma once

#include <vector>

#include "ir/module.h"

namespace kiln {

class Functionalizer {
 public:
  explicit Functionalizer(Module& module) : module_(module) {}

  // A tensor with memory of its own.
  int add(Value* value);
  // A tensor that shares memory with `source`; `value` is computed from source's current value by
  // view nodes only (checked), else it counts as a tensor of its own.
  int add_view(int source, Value* value);
  // A second name for the same tensor.
  int add_alias(int tensor);

  // The current contents.
  Value* read(int tensor);
  // Replaces the contents. Same type as read(). K1304 when the write cannot be expressed.
  Status write(int tensor, Value* value, const Origin& origin);

  // The tensor that owns the memory and whether anybody wrote to it.
  int storage(int tensor) const { return tensors_[static_cast<size_t>(tensor)].storage; }
  bool written(int storage) const { return storages_[static_cast<size_t>(storage)].version != 0; }
  Value* base(int storage) { return storages_[static_cast<size_t>(storage)].base; }
  bool is_whole(int tensor) const { return tensors_[static_cast<size_t>(tensor)].chain.empty(); }

 private:
  struct ViewStep {
    const OpDef* op = nullptr;
    std::vector<Attr> attrs;
    Type source, result;
  };
  struct Storage {
    Value* base = nullptr;
    int version = 0;
  };
  struct Tensor {
    int storage = 0;
    std::vector<ViewStep> chain;  // from the base outwards
    Value* value = nullptr;       // contents at `version`
    int version = 0;
  };

  Value* apply(const std::vector<ViewStep>& chain, size_t count, Value* base, const Origin& origin);
  // The base of one view step after the viewed part was replaced.
  Result<Value*> invert(const ViewStep& step, Value* source, Value* part, const Origin& origin);

  Module& module_;
  std::vector<Storage> storages_;
  std::vector<Tensor> tensors_;
};

}  // namespace kiln

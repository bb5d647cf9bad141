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
  // A tensor that shares memory with `source`. Writes to either side reach the other when `value`
  // is computed from source's current value by view nodes (or by index nodes, whose inverse is
  // index_put, or by calls of PyTorch with an inverse, see host_views.h); other views can be read,
  // but neither side can be written any more.
  int add_view(int source, Value* value);
  // Is `value` computed from source's current value by such nodes alone?
  bool is_followable(int source, Value* value);
  // A second name for the same tensor.
  int add_alias(int tensor);

  // The current contents.
  Value* read(int tensor);
  // Replaces the contents. Same type as read(). K1304 when the write cannot be expressed; nothing
  // is changed then.
  Status write(int tensor, Value* value, const Origin& origin);
  // What write() would refuse before looking at the value.
  Status check_writable(int tensor);
  // `tensor` becomes a second name for `other` (unsqueeze_, t_, ... change how memory is seen).
  void rebind(int tensor, int other);

  // Capture saw `result` share memory with `source`, or be a copy of it, because of the strides
  // that `source` had: a reshape. Other strides may decide otherwise.
  void decided_by_strides(int source, int result);
  // The storages of such sources where it matters what was decided, because one of the two was
  // written and the other read after that. What a storage of `seen_outside` holds in the end is
  // read.
  std::vector<int> storages_that_decide(const std::vector<int>& seen_outside) const;
  // Do the two surely share no element?
  bool are_apart(int a, int b) const;

  // The tensor that owns the memory and whether anybody wrote to it.
  int storage(int tensor) const { return tensors_[static_cast<size_t>(tensor)].storage; }
  bool written(int storage) const { return storages_[static_cast<size_t>(storage)].version != 0; }
  Value* base(int storage) { return storages_[static_cast<size_t>(storage)].base; }
  // What `tensor` is of its storage; false where a view is none of ViewChain's.
  bool view_of_storage(int tensor, ViewChain* chain) const;
  bool is_whole(int tensor) const { return tensors_[static_cast<size_t>(tensor)].chain.empty(); }

 private:
  struct ViewStep {
    const OpDef* op = nullptr;
    std::vector<Attr> attrs;
    std::vector<Value*> indices;  // operands after the first: index tensors
    Type source, result;
  };
  struct Storage {
    Value* base = nullptr;
    int version = 0;
    bool shared_unseen = false;  // some view of it cannot be followed
  };
  struct Tensor {
    int storage = 0;
    std::vector<ViewStep> chain;  // from the base outwards
    Value* value = nullptr;       // contents at `version`
    int version = 0;
    std::vector<int> decisions;  // of which it, or what it is a view of, is the result
  };
  struct Decision {
    int source = 0;  // storage
    bool source_written = false, result_written = false;
    bool matters = false;
  };
  static bool is_result_of(const Tensor& tensor, int decision);

  // The view steps from source's current value to `value`; false when other nodes lie between.
  bool steps_between(Value* source, Value* value, std::vector<ViewStep>& steps);
  Value* apply(const std::vector<ViewStep>& chain, size_t count, Value* base, const Origin& origin);
  // The base of one view step after the viewed part was replaced.
  Result<Value*> invert(const ViewStep& step, Value* source, Value* part, const Origin& origin);

  Module& module_;
  std::vector<Storage> storages_;
  std::vector<Tensor> tensors_;
  std::vector<Decision> decisions_;
};

}  // namespace kiln

// Results of calls on tensors without data, by what they were called with: layers repeat, an import
// runs more than once, and torch computes many shapes in Python.
#pragma once

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>

#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace kiln::torchscript {

class ShapeCache {
 public:
  // Says all that the results depend on; nothing where no text does. `place`: what else.
  static std::optional<std::string> key(const c10::OperatorHandle& op,
                                        const std::vector<c10::IValue>& arguments,
                                        const std::string& place);
  // New tensors like those that were stored; what was given comes back as the argument that it is.
  std::optional<std::vector<c10::IValue>> find(const std::string& key,
                                               const std::vector<c10::IValue>& arguments) const;
  void store(const std::string& key, const std::vector<c10::IValue>& arguments,
             const std::vector<c10::IValue>& results);

 private:
  struct Entry {
    at::Tensor like;  // undefined: there is none
    std::optional<size_t> given;
  };
  struct Value {
    c10::TypePtr element;  // of a list; else null
    bool none = false;
    std::vector<Entry> entries;
  };
  std::unordered_map<std::string, std::vector<Value>> known_;
};

}  // namespace kiln::torchscript

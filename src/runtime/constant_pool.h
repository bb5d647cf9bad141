// Constants of all programs of the process by content: programs that were made from one model
// (other shapes, other graphs of torch.compile, the same file loaded twice) hold equal packed
// weights once.
//
// The key is the content itself, compared byte by byte, so it does not matter where a constant came
// from and whether the weights behind it have changed since. Entries are weak: what no program
// holds any more is freed, as soon as the block it was allocated in is (constants.cpp).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "base/hash.h"
#include "runtime/step.h"

namespace kiln {

class ConstantPool {
 public:
  static ConstantPool& global();

  // A constant with the same format and bytes that somebody holds, else `fresh` itself, which from
  // now on others may be given: its bytes must not change any more. Thread-safe.
  ConstantData intern(const ConstantData& fresh);
  // Nobody is given these any more, by address, unless they are interned again.
  void withdraw(const std::vector<const ConstantData*>& constants);
  // Constants that were interned and are alive.
  size_t size();

 private:
  struct Entry {
    void* data = nullptr;
    size_t bytes = 0;
    std::string format;
    std::weak_ptr<void> owner;
  };
  void sweep();

  std::mutex mutex_;
  std::multimap<Hash128, Entry> entries_;  // by format, size and a sample of the bytes
  size_t sweep_at_ = 64;                   // number of entries at which dead ones are looked for
};

}  // namespace kiln

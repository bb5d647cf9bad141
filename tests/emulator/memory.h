// The emulated device's memory: host memory whose bounds are known.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>

#include "backends/cuda/emulated/device/machine.h"

namespace kiln::emulator {

class Memory {
 public:
  struct Allocation {
    unsigned char* begin = nullptr;
    size_t bytes = 0;
    unsigned char* block = nullptr;      // what malloc gave; null: not ours to free
    kiln_emulated::Cell* cells = nullptr;  // one a byte, made at the first launch that looks
    size_t cell_bytes = 0;
  };

  ~Memory();
  // A multiple of 64 and, so that nothing depends on more, of no higher power of two. Full of 0xff
  // (NaN, -1), with guard zones on both sides. Null when there is no memory.
  void* allocate(size_t bytes);
  // False when `address` is no allocation; *intact: its guard zones were not written.
  bool free(void* address, bool* intact);
  // The allocation that [address, address + bytes) lies in, or null.
  Allocation* find(const void* address, size_t bytes);
  // Its cells; null when it is so large that they would take too much.
  kiln_emulated::Cell* cells(Allocation& allocation);
  size_t count() const { return allocations_.size(); }
  size_t bytes_in_use() const { return bytes_; }

 private:
  void release(Allocation& allocation);

  std::map<const unsigned char*, Allocation> allocations_;
  size_t bytes_ = 0;
};

}  // namespace kiln::emulator

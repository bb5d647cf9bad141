// Asynchronous barriers in one block's shared memory, and the bulk copies that they wait for.
// Everything happens as late as the rules allow: a phase ends, and its copies arrive, when a thread
// waits for it. One that ends before anybody has waited for the one before it is a mistake: who
// waits knows parities only, and would wait for the wrong one.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "emulator/races.h"

namespace kiln::emulator {

// What cuTensorMapEncodeTiled makes here, of a tensor map's 128 bytes. Rows of elements that lie
// side by side.
struct TensorBox {
  static constexpr uint64_t kAlignment = 1024;  // in shared memory: the swizzle's pattern
  static constexpr uint64_t kMagic = 0x50414d4e4c494b00;

  uint64_t magic = 0;
  uint64_t address = 0;
  int64_t rows = 0, columns = 0, row_bytes = 0;  // the last: from one row to the next
  int32_t element_bytes = 0, box_rows = 0, box_columns = 0;
  int32_t reserved = 0;

  uint64_t bytes() const {
    return static_cast<uint64_t>((rows - 1) * row_bytes + columns * element_bytes);
  }
  size_t box_bytes() const { return static_cast<size_t>(box_rows * box_columns * element_bytes); }
  // The box from (row, column) on, as shared memory has it: zeros outside.
  void get(int64_t row, int64_t column, unsigned char* bytes) const;
};

class AsyncBarriers {
 public:
  // "" or what is wrong. `phase`: the running thread's, of the block's barriers.
  std::string init(const void* word, int arrivals, uint32_t thread, uint32_t phase);
  std::string arrive(const void* word, int bytes, uint32_t thread, uint32_t phase);
  // `cells`: those of `to` on; they say that a copy is under way until it has arrived.
  std::string copy(const void* word, const TensorBox& box, int64_t row, int64_t column, void* to,
                   kiln_emulated::Cell* cells, uint32_t thread, const Now& now);
  // *over: the phase of that parity is over; else the thread is to wait.
  std::string wait(const void* word, uint32_t parity, uint32_t thread, uint32_t phase, bool* over);
  void fence(uint32_t thread);
  // Threads that waited for phases that have ended since the last call.
  std::vector<uint32_t> take_woken() { return std::move(woken_); }
  void clear() { barriers_.clear(), woken_.clear(); }

 private:
  struct Copy {
    std::vector<unsigned char> bytes;
    void* to;
    kiln_emulated::Cell* cells;
    void mark(uint32_t block_start) const;
  };
  struct Barrier {
    int arrivals = 0, missing = 0;  // of threads, in this phase
    int64_t bytes = 0;              // announced, and not under way
    uint32_t ended = 0;             // phases
    std::vector<Copy> copies;
    std::vector<uint32_t> waiting;
    uint32_t made_by = 0, made_in = 0;
    bool fenced = false;
    bool unseen = false;  // nobody has waited for the last phase that ended
  };
  std::string find(const void* word, uint32_t thread, uint32_t phase, Barrier** barrier);
  std::string end_phases(Barrier& barrier);

  std::map<const void*, Barrier> barriers_;
  std::vector<uint32_t> woken_;
};

}  // namespace kiln::emulator

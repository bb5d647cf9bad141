#include "emulator/async_barriers.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace kiln::emulator {
namespace {

constexpr int kMaxArrivals = (1 << 20) - 1;

}  // namespace

void TensorBox::get(int64_t row, int64_t column, unsigned char* bytes) const {
  std::memset(bytes, 0, box_bytes());
  const auto size = static_cast<size_t>(element_bytes);
  for (int64_t r = 0; r < box_rows; ++r) {
    for (int64_t c = 0; c < box_columns; ++c) {
      const int64_t y = row + r, x = column + c;
      if (y < 0 || y >= rows || x < 0 || x >= columns) continue;
      size_t at = static_cast<size_t>(r * box_columns + c) * size;
      at ^= (at >> 7 & 7) << 4;
      const auto* base = reinterpret_cast<const unsigned char*>(address);
      std::memcpy(bytes + at, base + y * row_bytes + x * element_bytes, size);
    }
  }
}

// Elements have two bytes at least.
void AsyncBarriers::Copy::mark(uint32_t block_start) const {
  for (size_t i = 0; i < bytes.size(); i += 2) cells[i].copying = block_start;
}

std::string AsyncBarriers::init(const void* word, int arrivals, uint32_t thread, uint32_t phase) {
  if (arrivals < 1 || arrivals > kMaxArrivals) return "an asynchronous barrier for no threads";
  if (barriers_.contains(word)) return "an asynchronous barrier is initialized a second time";
  Barrier& barrier = barriers_[word];
  barrier.arrivals = barrier.missing = arrivals;
  barrier.made_by = thread;
  barrier.made_in = phase;
  return {};
}

void AsyncBarriers::fence(uint32_t thread) {
  for (auto& [word, barrier] : barriers_) {
    if (barrier.made_by == thread) barrier.fenced = true;
  }
}

std::string AsyncBarriers::find(const void* word, uint32_t thread, uint32_t phase,
                                Barrier** barrier) {
  const auto found = barriers_.find(word);
  if (found == barriers_.end()) return "an asynchronous barrier that nobody has initialized";
  *barrier = &found->second;
  if ((*barrier)->made_in == phase && (*barrier)->made_by != thread) {
    return "an asynchronous barrier that another thread initialized, with no barrier between";
  }
  return {};
}

std::string AsyncBarriers::arrive(const void* word, int bytes, uint32_t thread, uint32_t phase) {
  Barrier* barrier = nullptr;
  if (std::string wrong = find(word, thread, phase, &barrier); !wrong.empty()) return wrong;
  if (barrier->missing == 0) {
    if (std::string wrong = end_phases(*barrier); !wrong.empty()) return wrong;
    if (barrier->missing == 0) return "more arrivals at an asynchronous barrier than it is for";
  }
  if (bytes < 0) return "an asynchronous barrier is to expect a negative number of bytes";
  barrier->bytes += bytes;
  --barrier->missing;
  return barrier->waiting.empty() ? std::string() : end_phases(*barrier);
}

std::string AsyncBarriers::copy(const void* word, const TensorBox& box, int64_t row,
                                int64_t column, void* to, kiln_emulated::Cell* cells,
                                uint32_t thread, const Now& now) {
  Barrier* barrier = nullptr;
  if (std::string wrong = find(word, thread, now.phase, &barrier); !wrong.empty()) return wrong;
  if (!barrier->fenced) return "a bulk copy to an asynchronous barrier with no fence behind init()";
  if (box.magic != TensorBox::kMagic) return "a bulk copy by what is no tensor map";
  if (reinterpret_cast<uintptr_t>(to) % TensorBox::kAlignment != 0) {
    return "a bulk copy to what is no multiple of 1024 bytes";
  }
  Copy copy{std::vector<unsigned char>(box.box_bytes()), to, cells};
  copy.mark(now.block_start);
  box.get(row, column, copy.bytes.data());
  std::memset(to, 0xff, copy.bytes.size());
  barrier->bytes -= static_cast<int64_t>(copy.bytes.size());
  barrier->copies.push_back(std::move(copy));
  return barrier->waiting.empty() ? std::string() : end_phases(*barrier);
}

std::string AsyncBarriers::wait(const void* word, uint32_t parity, uint32_t thread, uint32_t phase,
                                bool* over) {
  Barrier* barrier = nullptr;
  if (std::string wrong = find(word, thread, phase, &barrier); !wrong.empty()) return wrong;
  if (parity > 1) return "a parity that is neither 0 nor 1";
  if (barrier->ended % 2 == parity) {
    if (std::string wrong = end_phases(*barrier); !wrong.empty()) return wrong;
  }
  *over = barrier->ended % 2 != parity;
  if (*over) {
    barrier->unseen = false;
  } else {
    barrier->waiting.push_back(thread);
  }
  return {};
}

// The phase, if it is complete; the next one cannot be.
std::string AsyncBarriers::end_phases(Barrier& barrier) {
  if (barrier.missing != 0 || barrier.bytes != 0) return {};
  if (barrier.unseen) {
    return "a phase of an asynchronous barrier ends, and nobody has waited for the one before it";
  }
  barrier.unseen = barrier.waiting.empty();
  for (const Copy& copy : barrier.copies) {
    copy.mark(0);
    std::memcpy(copy.to, copy.bytes.data(), copy.bytes.size());
  }
  barrier.copies.clear();
  barrier.missing = barrier.arrivals;
  ++barrier.ended;
  woken_.insert(woken_.end(), barrier.waiting.begin(), barrier.waiting.end());
  barrier.waiting.clear();
  return {};
}

}  // namespace kiln::emulator

#include "emulator/memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "emulator/races.h"

namespace kiln::emulator {
namespace {

constexpr size_t kGuardBytes = 128;
constexpr unsigned char kGuard = 0xa5;
// Cells are 28 times the memory, of which only the pages that are touched are ever there.
constexpr size_t kMostBytesWithCells = size_t{256} << 20;

}  // namespace

Memory::~Memory() {
  for (auto& [begin, allocation] : allocations_) release(allocation);
}

void* Memory::allocate(size_t bytes) {
  // begin is 64 more than a multiple of 128.
  const size_t total = (kGuardBytes + 64 + bytes + kGuardBytes + 127) / 128 * 128;
  auto* block = static_cast<unsigned char*>(std::aligned_alloc(128, total));
  if (block == nullptr) return nullptr;
  Allocation allocation;
  allocation.block = block;
  allocation.begin = block + kGuardBytes + 64;
  allocation.bytes = bytes;
  std::memset(block, kGuard, kGuardBytes + 64);
  std::memset(allocation.begin, 0xff, bytes);
  std::memset(allocation.begin + bytes, kGuard, kGuardBytes);
  allocations_[allocation.begin] = allocation;
  bytes_ += bytes;
  return allocation.begin;
}

bool Memory::free(void* address, bool* intact) {
  const auto found = allocations_.find(static_cast<unsigned char*>(address));
  if (found == allocations_.end()) return false;
  Allocation& allocation = found->second;
  const auto guarded = [](const unsigned char* from, const unsigned char* to) {
    return std::all_of(from, to, [](unsigned char byte) { return byte == kGuard; });
  };
  const unsigned char* end = allocation.begin + allocation.bytes;
  *intact = guarded(allocation.block, allocation.begin) && guarded(end, end + kGuardBytes);
  bytes_ -= allocation.bytes;
  release(allocation);
  allocations_.erase(found);
  return true;
}

Memory::Allocation* Memory::find(const void* address, size_t bytes) {
  const auto* at = static_cast<const unsigned char*>(address);
  auto next = allocations_.upper_bound(at);
  if (next == allocations_.begin()) return nullptr;
  Allocation& allocation = std::prev(next)->second;
  const size_t offset = static_cast<size_t>(at - allocation.begin);
  return offset <= allocation.bytes && bytes <= allocation.bytes - offset ? &allocation : nullptr;
}

kiln_emulated::Cell* Memory::cells(Allocation& allocation) {
  if (allocation.cells == nullptr && allocation.bytes != 0 &&
      allocation.bytes <= kMostBytesWithCells) {
    allocation.cell_bytes = allocation.bytes * sizeof(kiln_emulated::Cell);
    void* cells = mmap(nullptr, allocation.cell_bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (cells == MAP_FAILED) return nullptr;
    allocation.cells = static_cast<kiln_emulated::Cell*>(cells);
  }
  return allocation.cells;
}

void Memory::release(Allocation& allocation) {
  if (allocation.cells != nullptr) munmap(allocation.cells, allocation.cell_bytes);
  std::free(allocation.block);
}

}  // namespace kiln::emulator

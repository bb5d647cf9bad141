#include "runtime/constant_memory.h"

#include <algorithm>
#include <mutex>
#include <utility>
#include <vector>

#include "runtime/memory.h"

namespace kiln {

class ConstantMemory::Home {
 public:
  struct Kept {
    std::shared_ptr<void> block;
    size_t bytes;
  };

  void set_keeping(bool keep) {
    std::vector<Kept> freed;  // outside of the lock
    std::lock_guard lock(mutex_);
    keep_ = keep;
    freed.swap(kept_);
  }

  void put(std::shared_ptr<void> block, size_t bytes) noexcept {
    std::lock_guard lock(mutex_);
    if (keep_) kept_.push_back({std::move(block), bytes});
  }

  std::shared_ptr<void> take(size_t bytes) {
    std::lock_guard lock(mutex_);
    const auto found = std::find_if(kept_.begin(), kept_.end(),
                                    [&](const Kept& kept) { return kept.bytes == bytes; });
    if (found == kept_.end()) return nullptr;
    std::shared_ptr<void> block = std::move(found->block);
    kept_.erase(found);
    return block;
  }

 private:
  std::mutex mutex_;
  bool keep_ = false;
  std::vector<Kept> kept_;
};

ConstantMemory::ConstantMemory() : home_(std::make_shared<Home>()) {}
ConstantMemory::~ConstantMemory() = default;

std::shared_ptr<void> ConstantMemory::hand_out(const std::shared_ptr<Home>& home,
                                               std::shared_ptr<void> block, size_t bytes) {
  void* data = block.get();
  return {data, [home, block = std::move(block), bytes](void*) mutable {
            home->put(std::move(block), bytes);
          }};
}

std::shared_ptr<void> ConstantMemory::allocate(size_t bytes) {
  std::shared_ptr<void> block = allocate_block(bytes);
  return block == nullptr ? nullptr : hand_out(home_, std::move(block), bytes);
}

ConstantMemory::Collection::Collection(ConstantMemory& memory) : memory_(memory) {
  memory_.home_->set_keeping(true);
}

ConstantMemory::Collection::~Collection() { memory_.home_->set_keeping(false); }

std::shared_ptr<void> ConstantMemory::Collection::take(size_t bytes) {
  std::shared_ptr<void> block = memory_.home_->take(bytes);
  return block == nullptr ? nullptr : hand_out(memory_.home_, std::move(block), bytes);
}

}  // namespace kiln

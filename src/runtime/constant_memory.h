// The memory of one engine's constants, which an update may write again.
//
// Fresh memory costs more than what is written to it (the system clears every page), so an update
// that nobody looks on computes the new constants where the old ones lie. Who may do so needs no
// other rule than that of shared_ptr: memory comes back when its last holder lets it go.
#pragma once

#include <cstddef>
#include <memory>

namespace kiln {

class ConstantMemory {
 public:
  ConstantMemory();
  ~ConstantMemory();
  ConstantMemory(const ConstantMemory&) = delete;
  ConstantMemory& operator=(const ConstantMemory&) = delete;

  // A block as allocate_block() gives, null when there is no memory.
  std::shared_ptr<void> allocate(size_t bytes);

  // While one of these lives, blocks that are let go are kept instead of freed.
  class Collection {
   public:
    explicit Collection(ConstantMemory& memory);
    ~Collection();
    Collection(const Collection&) = delete;
    Collection& operator=(const Collection&) = delete;

    // A block of exactly that size which has come back, as a new one; null when there is none.
    std::shared_ptr<void> take(size_t bytes);

   private:
    ConstantMemory& memory_;
  };

 private:
  class Home;
  static std::shared_ptr<void> hand_out(const std::shared_ptr<Home>& home,
                                        std::shared_ptr<void> block, size_t bytes);
  std::shared_ptr<Home> home_;  // kept by all blocks, which may outlive the engine
};

}  // namespace kiln

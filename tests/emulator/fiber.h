// Stacks to run the threads of a block on, one at a time. A fiber that is given up in the middle
// is simply never resumed: kernels hold nothing that would have to be destroyed.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

namespace kiln::emulator {

class Fiber {
 public:
  Fiber();
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Begins `body(argument)` at the next resume; what ran here before is forgotten. When the body
  // returns, the fiber has paused for good.
  void start(void (*body)(void*), void* argument);
  // From outside: runs until pause() or the end of the body.
  void resume();
  // From inside: back to who resumed.
  void pause();

 private:
  static void enter();

  unsigned char* memory_ = nullptr;  // guard page, then the stack
  void* own_ = nullptr;              // stack pointer of the fiber when it does not run
  void* outside_ = nullptr;          // stack pointer of who resumed it
  void (*body_)(void*) = nullptr;
  void* argument_ = nullptr;
};

}  // namespace kiln::emulator

#include "emulator/fiber.h"

#include <sys/mman.h>

#include <cstdint>

#include "base/check.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace kiln::emulator {
namespace {

constexpr size_t kGuardBytes = 4096;
constexpr size_t kStackBytes = 128 << 10;

}  // namespace

// Keeps what the ABI says a call keeps, on the stack that is left; *save becomes its stack pointer.
extern "C" void kiln_emulator_switch(void** save, void* to);
#if defined(__x86_64__)
asm(R"(
.text
.type kiln_emulator_switch, @function
kiln_emulator_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size kiln_emulator_switch, .-kiln_emulator_switch
)");
constexpr size_t kSavedWords = 6;  // below the return address
#elif defined(__aarch64__)
asm(R"(
.text
.type kiln_emulator_switch, @function
kiln_emulator_switch:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x2, sp
  str x2, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
.size kiln_emulator_switch, .-kiln_emulator_switch
)");
#else
#error "the emulator switches stacks on x86-64 and AArch64 only"
#endif

namespace {
// enter() has no argument; the emulator runs one fiber at a time.
thread_local Fiber* entering = nullptr;
}  // namespace

Fiber::Fiber() {
  void* memory = mmap(nullptr, kGuardBytes + kStackBytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  KILN_CHECK(memory != MAP_FAILED);
  memory_ = static_cast<unsigned char*>(memory);
  mprotect(memory_, kGuardBytes, PROT_NONE);
}

Fiber::~Fiber() {
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(memory_, kGuardBytes + kStackBytes);
#endif
  munmap(memory_, kGuardBytes + kStackBytes);
}

void Fiber::start(void (*body)(void*), void* argument) {
#if defined(__SANITIZE_ADDRESS__)
  // What was given up here has left its frames marked.
  __asan_unpoison_memory_region(memory_ + kGuardBytes, kStackBytes);
#endif
  body_ = body;
  argument_ = argument;
  auto* top = reinterpret_cast<uint64_t*>(memory_ + kGuardBytes + kStackBytes);
#if defined(__x86_64__)
  // As after a call: 8 bytes below a multiple of 16, with a return address that is never used.
  *--top = 0;
  *--top = reinterpret_cast<uint64_t>(&Fiber::enter);
  for (size_t i = 0; i < kSavedWords; ++i) *--top = 0;
#else
  top -= 20;
  for (int i = 0; i < 20; ++i) top[i] = 0;
  top[11] = reinterpret_cast<uint64_t>(&Fiber::enter);
#endif
  own_ = top;
}

void Fiber::enter() {
  Fiber* self = entering;
  self->body_(self->argument_);
  self->pause();
  KILN_CHECK(false);
}

void Fiber::resume() {
  entering = this;
  kiln_emulator_switch(&outside_, own_);
}

void Fiber::pause() { kiln_emulator_switch(&own_, outside_); }

}  // namespace kiln::emulator

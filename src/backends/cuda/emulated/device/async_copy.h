// The host's twin of backends/cuda/device/async_copy.h. Between start() and wait() the target holds
// what nobody should read; both ends of a copy count as writes by the thread, so that others that
// touch the target meanwhile are races.
#pragma once

#include "device/platform.h"

class AsyncCopies {
 public:
  template <class T>
  void start(const Shared<T>& to, const In<T>& from, bool there) {
    constexpr int kElements = 16 / sizeof(T);
    if (count_ == kMost) kiln_emulated::machine->fail("too many copies are under way");
    Copy& copy = copies_[count_++];
    copy = {to.region(), to.address(), sizeof(T), group_, {}};
    if (there) {
      const Pack<T, kElements> value = load<kElements>(from);
      __builtin_memcpy(copy.bytes, value.at, 16);
    }
    Pack<T, kElements> none;
    __builtin_memset(none.at, 0xff, 16);
    store<kElements>(to, none);
    kiln_emulated::machine->copy_under_way(to.region(), reinterpret_cast<void*>(to.address()),
                                           kElements, sizeof(T), true);
  }
  template <class T>
  void start_at(const Shared<T>& base, int32 element, const In<T>& from, bool there) {
    start<T>(Shared<T>(base + element), from, there);
  }
  void commit() { ++group_; }
  template <int kPending>
  void wait() {
    int left = 0;
    for (int i = 0; i < count_; ++i) {
      Copy& copy = copies_[i];
      if (copy.group + kPending >= group_) {
        copies_[left++] = copy;
        continue;
      }
      void* const to = reinterpret_cast<void*>(copy.address);
      const int count = static_cast<int>(16 / copy.size);
      kiln_emulated::machine->copy_under_way(copy.region, to, count, copy.size, false);
      kiln_emulated::machine->write(copy.region, to, copy.bytes, count, copy.size);
    }
    count_ = left;
  }

 private:
  struct Copy {
    const kiln_emulated::Region* region;
    uint64 address;
    uint64 size;  // of an element
    int group;
    alignas(16) unsigned char bytes[16];
  };
  static constexpr int kMost = 128;
  Copy copies_[kMost];
  int count_ = 0, group_ = 0;
};

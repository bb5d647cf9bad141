// Data for kernel tests: reproducible values, aligned scratch that shows
// overruns, strides.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <random>
#include <vector>

namespace kiln::cpu {

// 64-byte aligned scratch, filled with 0xff (NaN as a float) so that reading it
// before writing shows, and with guard bytes behind it.
class Scratch {
 public:
  explicit Scratch(size_t bytes) : bytes_(bytes) {
    data_ = static_cast<unsigned char*>(::operator new(bytes + kGuard, std::align_val_t(64)));
    std::memset(data_, 0xff, bytes + kGuard);
  }
  ~Scratch() {
    for (size_t i = 0; i < kGuard; ++i) {
      EXPECT_EQ(data_[bytes_ + i], 0xff) << "a kernel wrote behind its scratch, byte " << i;
      if (data_[bytes_ + i] != 0xff) break;
    }
    ::operator delete(data_, std::align_val_t(64));
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  void* data() { return data_; }

 private:
  static constexpr size_t kGuard = 256;
  size_t bytes_;
  unsigned char* data_;
};

// Uniform reals in [-1, 1).
template <class T>
std::vector<T> random_reals(int64_t n, uint32_t seed) {
  std::mt19937 engine(seed);
  std::vector<T> values(static_cast<size_t>(n));
  for (T& v : values) v = static_cast<T>(static_cast<double>(engine()) / 2147483648.0 - 1.0);
  return values;
}

// Integers in [low, high], for sums that are exact.
template <class T>
std::vector<T> random_integers(int64_t n, int low, int high, uint32_t seed) {
  std::mt19937 engine(seed);
  std::vector<T> values(static_cast<size_t>(n));
  for (T& v : values) {
    v = static_cast<T>(low + static_cast<int>(engine() % static_cast<uint32_t>(high - low + 1)));
  }
  return values;
}

}  // namespace kiln::cpu

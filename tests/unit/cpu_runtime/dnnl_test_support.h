// What the tests of the oneDNN kernels share: strided tensors of small integers (so that fp32 sums
// are exact and comparison is bitwise), guarded scratch memory, and the naive epilogue.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "backends/cpu/runtime/dnnl_api.h"
#include "backends/cpu/runtime/dnnl_primitive.h"

namespace kiln::dnnl_test {

// Skips where oneDNN is not installed; any other failure to load it fails the test.
class DnnlTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto api = dnnl_api();
    if (api.ok()) return;
    if (api.status().code() == "K5101") GTEST_SKIP() << api.status().to_string();
    FAIL() << api.status().to_string();
  }
};

using Index = std::vector<int64_t>;

inline void for_each_index(const std::vector<int64_t>& dims,
                           const std::function<void(const Index&)>& body) {
  Index index(dims.size(), 0);
  while (true) {
    body(index);
    size_t d = dims.size();
    while (d > 0 && ++index[d - 1] == dims[d - 1]) index[--d] = 0;
    if (d == 0) return;
  }
}

// A float tensor with memory around and between its elements that must stay as it is.
class Tensor {
 public:
  static constexpr float kGuard = -12345.0f;

  explicit Tensor(DnnlTensor shape) : shape_(std::move(shape)) {
    size_t extent = 1;
    for (size_t d = 0; d < shape_.dims.size(); ++d) {
      extent += (shape_.dims[d] - 1) * shape_.strides[d];
    }
    storage_.assign(extent + 2 * kMargin, kGuard);
  }

  Tensor& fill_integers(unsigned seed, int low = -3, int high = 3) {
    std::mt19937 random(seed);
    for_each_index(shape_.dims, [&](const Index& i) {
      (*this)[i] = static_cast<float>(low + static_cast<int>(random() % (high - low + 1)));
    });
    return *this;
  }

  const DnnlTensor& shape() const { return shape_; }
  float* data() { return storage_.data() + kMargin; }
  const float* data() const { return storage_.data() + kMargin; }

  float& operator[](const Index& i) { return data()[offset(i)]; }
  float operator[](const Index& i) const { return data()[offset(i)]; }
  // The element that index `i` of a larger tensor sees by broadcasting.
  float broadcast(const Index& i) const {
    Index mine = i;
    for (size_t d = 0; d < mine.size(); ++d) {
      if (shape_.dims[d] == 1) mine[d] = 0;
    }
    return (*this)[mine];
  }

  // Nothing outside of the elements was written.
  void expect_guards_intact() const {
    std::vector<bool> element(storage_.size(), false);
    for_each_index(shape_.dims, [&](const Index& i) { element[kMargin + offset(i)] = true; });
    for (size_t i = 0; i < storage_.size(); ++i) {
      if (!element[i]) {
        ASSERT_EQ(storage_[i], kGuard) << "written outside at " << i;
      }
    }
  }

 private:
  static constexpr size_t kMargin = 32;
  size_t offset(const Index& i) const {
    size_t result = 0;
    for (size_t d = 0; d < i.size(); ++d) result += i[d] * shape_.strides[d];
    return result;
  }
  DnnlTensor shape_;
  std::vector<float> storage_;
};

// `bytes` of 64-byte aligned memory with a guard behind it.
class Scratch {
 public:
  explicit Scratch(size_t bytes) : bytes_(bytes), memory_(bytes + 2 * kGuardBytes, kPattern) {
    const auto address = reinterpret_cast<uintptr_t>(memory_.data());
    start_ = memory_.data() + (64 - address % 64) % 64;
  }
  void* data() { return start_; }
  void expect_guard_intact() const {
    for (size_t i = 0; i < kGuardBytes; ++i) ASSERT_EQ(start_[bytes_ + i], kPattern) << i;
  }

 private:
  static constexpr size_t kGuardBytes = 64;
  static constexpr unsigned char kPattern = 0xA5;
  size_t bytes_;
  std::vector<unsigned char> memory_;
  unsigned char* start_;
};

// The epilogue on one element; `old` is what the output held, `tensors` the operands in order.
inline double apply_post_ops(double y, const std::vector<DnnlPostOp>& ops, double old,
                             const std::vector<const Tensor*>& tensors, const Index& index) {
  using Kind = DnnlPostOp::Kind;
  size_t next = 0;
  for (const DnnlPostOp& op : ops) {
    const double a = op.alpha, b = op.beta;
    const double t = op.has_tensor() ? tensors[next++]->broadcast(index) : 0.0;
    switch (op.kind) {
      case Kind::kRelu: y = std::max(y, 0.0); break;
      case Kind::kLeakyRelu: y = y < 0 ? a * y : y; break;
      case Kind::kElu: y = y < 0 ? a * std::expm1(y) : y; break;
      case Kind::kGeluErf: y = 0.5 * y * (1 + std::erf(y / std::sqrt(2.0))); break;
      case Kind::kGeluTanh:
        y = 0.5 * y * (1 + std::tanh(0.7978845608028654 * (y + 0.044715 * y * y * y)));
        break;
      case Kind::kSilu: y = y / (1 + std::exp(-y)); break;
      case Kind::kHardswish: y = y * std::clamp(y + 3, 0.0, 6.0) / 6; break;
      case Kind::kHardsigmoid: y = std::clamp(y + 3, 0.0, 6.0) / 6; break;
      case Kind::kSigmoid: y = 1 / (1 + std::exp(-y)); break;
      case Kind::kTanh: y = std::tanh(y); break;
      case Kind::kClip: y = std::min(std::max(y, a), b); break;
      case Kind::kLinear: y = a * y + b; break;
      case Kind::kSum: y += a * old; break;
      case Kind::kAdd: y += t; break;
      case Kind::kSub: y -= t; break;
      case Kind::kMul: y *= t; break;
      case Kind::kDiv: y /= t; break;
      case Kind::kMax: y = std::max(y, t); break;
      case Kind::kMin: y = std::min(y, t); break;
    }
  }
  return y;
}

inline DnnlTensor with_strides(std::vector<int64_t> dims, std::vector<int64_t> strides) {
  return {DType::kF32, std::move(dims), std::move(strides)};
}

}  // namespace kiln::dnnl_test

#include "runtime/strided_copy.h"

#include <gtest/gtest.h>

#include <numeric>
#include <random>
#include <vector>

namespace kiln {
namespace {

struct Side {
  std::vector<int64_t> strides;
  int64_t offset = 0, elements = 0;
};

// Strides of a window of a larger permuted tensor; some negative; `broadcast`: some 0.
Side random_side(const std::vector<int64_t>& dims, bool broadcast, std::mt19937& random) {
  Side side;
  side.strides.resize(dims.size());
  std::vector<size_t> order(dims.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::shuffle(order.begin(), order.end(), random);
  if (random() % 3 == 0) std::sort(order.rbegin(), order.rend());
  int64_t stride = 1;
  for (size_t d : order) {
    if (broadcast && random() % 4 == 0) continue;
    if (random() % 4 == 0) stride *= 1 + static_cast<int64_t>(random() % 3);  // gaps
    side.strides[d] = stride;
    stride *= std::max<int64_t>(dims[d], 1);
    if (random() % 5 == 0 && dims[d] > 0) {
      side.offset += (dims[d] - 1) * side.strides[d];
      side.strides[d] = -side.strides[d];
    }
  }
  side.elements = stride;
  return side;
}

void check(size_t element, std::mt19937& random) {
  std::vector<int64_t> dims(random() % 6);
  for (int64_t& d : dims) d = static_cast<int64_t>(random() % 5);
  if (random() % 4 != 0) {
    for (int64_t& d : dims) d = std::max<int64_t>(d, 1);
  }
  const Side source = random_side(dims, true, random), target = random_side(dims, false, random);
  std::vector<unsigned char> from(static_cast<size_t>(source.elements) * element);
  for (unsigned char& byte : from) byte = static_cast<unsigned char>(random());
  std::vector<unsigned char> got(static_cast<size_t>(target.elements) * element, 0xee), want = got;
  strided_copy(from.data() + source.offset * static_cast<int64_t>(element), source.strides.data(),
               got.data() + target.offset * static_cast<int64_t>(element), target.strides.data(),
               dims.data(), static_cast<int>(dims.size()), element);
  int64_t total = 1;
  for (int64_t d : dims) total *= d;
  for (int64_t flat = 0; flat < total; ++flat) {
    int64_t rest = flat, a = source.offset, b = target.offset;
    for (size_t d = dims.size(); d-- > 0;) {
      a += rest % dims[d] * source.strides[d];
      b += rest % dims[d] * target.strides[d];
      rest /= dims[d];
    }
    std::copy_n(from.begin() + a * static_cast<int64_t>(element), element,
                want.begin() + b * static_cast<int64_t>(element));
  }
  ASSERT_EQ(got, want);
}

TEST(StridedCopy, RandomRanksAndStrides) {
  std::mt19937 random(7);
  for (int round = 0; round < 3000; ++round) {
    check(size_t{1} << random() % 5, random);
    if (HasFatalFailure()) FAIL() << "round " << round;
  }
}

TEST(StridedCopy, HighestRank) {
  std::vector<int64_t> dims(kMaxRank, 1), source(kMaxRank, 0), target(kMaxRank, 0);
  dims[0] = 2;
  dims[15] = 3;
  source[0] = 1;
  source[15] = 2;
  target[0] = 3;
  target[15] = 1;
  const std::vector<float> from = {0, 1, 2, 3, 4, 5};
  std::vector<float> to(6);
  strided_copy(from.data(), source.data(), to.data(), target.data(), dims.data(), kMaxRank, 4);
  EXPECT_EQ(to, (std::vector<float>{0, 2, 4, 1, 3, 5}));
}

}  // namespace
}  // namespace kiln

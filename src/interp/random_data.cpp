#include "interp/random_data.h"

#include "base/check.h"
#include "base/hash.h"

namespace kiln {
namespace {

// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
class SplitMix {
 public:
  explicit SplitMix(uint64_t seed) : state_(seed) {}
  uint64_t next() {
    state_ += 0x9e3779b97f4a7c15u;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  double unit() { return static_cast<double>(next() >> 11) * 0x1p-53; }  // [0, 1)
  int64_t below(int64_t n) { return static_cast<int64_t>(next() % static_cast<uint64_t>(n)); }

 private:
  uint64_t state_;
};

double draw_float(SplitMix& random, DataKind kind) {
  switch (kind) {
    case DataKind::kNormal: {
      // Irwin-Hall: twelve uniforms have variance one; no libm, so the same bits everywhere.
      double sum = -6.0;
      for (int i = 0; i < 12; ++i) sum += random.unit();
      return sum;
    }
    case DataKind::kPositive: return 0.5 + 1.5 * random.unit();
    case DataKind::kUnit: return 2.0 * random.unit() - 1.0;
    default: return static_cast<double>(random.below(9) - 4);
  }
}

int64_t draw_integer(SplitMix& random, DataKind kind) {
  switch (kind) {
    case DataKind::kPositive: return 1 + random.below(4);
    case DataKind::kUnit: return random.below(3) - 1;
    default: return random.below(9) - 4;
  }
}

}  // namespace

HostTensor random_data(DType dtype, std::vector<int64_t> shape, DataKind kind, uint64_t seed,
                       int64_t limit) {
  KILN_CHECK(kind != DataKind::kIndices || limit >= 1);
  HostTensor tensor(dtype, std::move(shape));
  SplitMix random(seed);
  for (int64_t i = 0; i < tensor.num_elements(); ++i) {
    if (dtype == DType::kBool) {
      tensor.set_int(i, static_cast<int64_t>(random.next() >> 63));
    } else if (kind == DataKind::kIndices) {
      tensor.set_int(i, random.below(limit));
    } else if (is_float(dtype)) {
      tensor.set_double(i, draw_float(random, kind));
    } else {
      const int64_t value = draw_integer(random, kind);
      tensor.set_int(i, dtype == DType::kU8 && value < 0 ? -value : value);
    }
  }
  return tensor;
}

uint64_t seed_of(std::string_view name) { return hash128(name).low; }

}  // namespace kiln

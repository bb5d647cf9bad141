// Reproducible test data for the reference executor: the same seed gives the same bits everywhere.
#pragma once

#include <cstdint>
#include <string_view>

#include "core/host_tensor.h"

namespace kiln {

enum class DataKind : uint8_t {
  kNormal,         // roughly standard normal (floats), -4..4 (integers), either (bool)
  kSmallIntegers,  // whole numbers -4..4, so that sums of products are exact
  kPositive,       // 0.5..2 (floats), 1..4 (integers); variances, divisors
  kUnit,           // -1..1
  kIndices         // 0..limit-1
};

// `limit` matters for kIndices only and must then be >= 1.
HostTensor random_data(DType dtype, std::vector<int64_t> shape, DataKind kind, uint64_t seed,
                       int64_t limit = 1);

// A seed from a name, so that a weight gets the same data wherever it stands.
uint64_t seed_of(std::string_view name);

}  // namespace kiln

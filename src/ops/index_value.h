// Checks of index values that are known only when an op runs.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"

namespace kiln {

// `value` when it is in [0, size), or with `wrap` value + size when it is in [-size, 0). K4210.
inline Result<int64_t> checked_index(std::string_view op, int64_t value, int64_t size,
                                     bool wrap = false) {
  if (value >= 0 && value < size) return value;
  if (wrap && value < 0 && value >= -size) return value + size;
  return Status::error("K4210", std::string(op) + ": index out of range, " +
                                    std::to_string(value) + " of " + std::to_string(size));
}

}  // namespace kiln

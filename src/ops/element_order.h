// The order of elements in sort and topk: by value, NaN above everything.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/host_tensor.h"

namespace kiln {

// True when element i stands strictly before element j in an ascending (descending) order. Equal
// elements, and two NaNs, stand in neither order, so a stable sort keeps their places.
inline bool stands_before(const HostTensor& x, int64_t i, int64_t j, bool descending) {
  if (descending) return stands_before(x, j, i, false);
  if (!is_float(x.dtype())) return x.get_int(i) < x.get_int(j);
  const double a = x.get_double(i);
  const double b = x.get_double(j);
  return a < b || (!std::isnan(a) && std::isnan(b));
}

}  // namespace kiln

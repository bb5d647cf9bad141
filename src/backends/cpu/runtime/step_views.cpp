#include "backends/cpu/runtime/step_views.h"

#include <algorithm>

namespace kiln::cpu {

Dims to_dims(const std::vector<int64_t>& values) {
  Dims dims{};
  std::copy(values.begin(), values.end(), dims.begin());
  return dims;
}

}  // namespace kiln::cpu

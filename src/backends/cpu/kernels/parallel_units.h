// Units of uneven cost, claimed one by one by parts that each have scratch of their own.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "base/parallel_for.h"

namespace kiln::cpu {

// Calls body(unit, part) once for every unit of [0, units), with part in [0, parts). Two units of
// the same part never run at the same time. Which part gets a unit varies from run to run, so
// results must not depend on it.
template <class Body>
void parallel_units(int64_t units, int64_t parts, Body&& body) {
  std::atomic<int64_t> next{0};
  parallel_for(std::min(units, parts), 1, [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part) {
      for (int64_t unit = next.fetch_add(1, std::memory_order_relaxed); unit < units;
           unit = next.fetch_add(1, std::memory_order_relaxed)) {
        body(unit, part);
      }
    }
  });
}

}  // namespace kiln::cpu

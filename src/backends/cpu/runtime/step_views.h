// The checks of runtime/view_checks.h, by the names that the CPU's steps use.
#pragma once

#include <cstdint>
#include <vector>

#include "backends/cpu/kernels/dims.h"
#include "runtime/view_checks.h"

namespace kiln::cpu {

using kiln::byte_span;
using kiln::ByteSpan;
using kiln::check_counts;
using kiln::check_dims;
using kiln::check_dtype;
using kiln::check_rank;
using kiln::check_views;
using kiln::spans_overlap;
static_assert(kMaxViewRank == kMaxRank);

// The entries of a vector of at most kMaxRank as kernels want them.
Dims to_dims(const std::vector<int64_t>& values);

}  // namespace kiln::cpu

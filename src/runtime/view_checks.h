// What steps of Kiln's own kernels, on any device, check of their operands, which may come from a
// damaged file.
//
// The runtime has already proved that every element of a view lies inside its slot. What is left:
// that the views fit each other and the parameters, that no two elements of an output share a place
// (kernels write in parallel), and that no stride or product of sizes can overflow.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/status.h"
#include "runtime/step.h"

namespace kiln {

inline constexpr int kMaxViewRank = 16;

// K3250 unless `desc` has [min_inputs, max_inputs] inputs and `outputs` outputs.
Status check_counts(const StepDesc& desc, size_t min_inputs, size_t max_inputs, size_t outputs);

// Every view of the context is a plain tensor of rank <= kMaxViewRank with a size that can be
// computed, and outputs have distinct elements. Replaces meaningless strides (of dims that are
// never stepped along) by 0 where they are so large that products with them could overflow. K3250.
Status check_views(std::string_view step, BindContext& context);

// K3250 unless the sizes are `dims`, the dtype is `dtype`, the rank is `rank`.
Status check_dims(std::string_view step, const ConcreteView& view,
                  const std::vector<int64_t>& dims);
Status check_dtype(std::string_view step, const ConcreteView& view, DType dtype);
Status check_rank(std::string_view step, const ConcreteView& view, int rank);

// The bytes that a view may touch, relative to its first element: [low, high).
struct ByteSpan {
  int64_t low = 0, high = 0;
};
ByteSpan byte_span(const ConcreteView& view);
bool spans_overlap(const void* a, ByteSpan span_a, const void* b, ByteSpan span_b);

}  // namespace kiln

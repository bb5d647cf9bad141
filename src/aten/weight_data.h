// Bytes of a captured weight: borrowed when contiguous, copied otherwise.
#pragma once

#include <kiln/capture.h>

#include "ir/module.h"

namespace kiln {

bool is_contiguous(const CaptureWeight& weight);

// `bytes` is the size of the contiguous tensor. Rank is at most 16.
WeightData borrow_or_copy(const CaptureWeight& weight, size_t bytes);

}  // namespace kiln

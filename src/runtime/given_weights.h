// Weights that a caller gives by name: for a file without them, in place of a file's, as an update.
#pragma once

#include <optional>
#include <vector>

#include <kiln/program.h>

#include "runtime/engine.h"
#include "runtime/plan.h"

namespace kiln {

// Bytes of a weight as the plan wants it. K3106 when the product of its dims is out of range.
Result<size_t> weight_size(const WeightSignature& weight);

// The bytes of a weight in host memory: borrowed where they are there, else a copy of them. K4501.
Result<WeightBytes> weight_on_host(const WeightBytes& weight);

// Puts the given weights in their places in `weights`, which is parallel to plan.weights. Memory
// whose elements are not aligned is copied. K3113 a name that the program does not have, K3114
// another dtype, shape or size, or no memory, K3115 another content than a fixed weight has, K3116
// one name twice. On error `weights` may be partly changed. `changed`, parallel to plan.weights, is
// set where one was given.
Status place_given_weights(const EnginePlan& plan, const std::vector<WeightView>& given,
                           std::vector<WeightBytes>& weights,
                           std::vector<bool>* changed = nullptr);

}  // namespace kiln

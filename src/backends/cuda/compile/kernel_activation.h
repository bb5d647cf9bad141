// Activations behind convolutions and products: which nodes are some, and their text in own
// kernels.
#pragma once

#include <string>
#include <vector>

#include "backends/cuda/runtime/kernel_activation.h"
#include "ir/graph.h"

namespace kiln::cuda {

// Whether the node, of one operand, is an activation that there is.
bool activation_of(Node& node, KernelActivation* out);

// Whether an epilogue is nothing, or one activation.
bool only_activation(const std::vector<Node*>& epilogue, KernelActivation* out);
// FusionAdvisor::epilogue_length for kernels with one activation.
int activation_length(const std::vector<Node*>& epilogue);

// The expression of device/math.h that it is of `value`, an expression of type `number`; `value`
// itself for none.
std::string activation_text(const KernelActivation& activation, const std::string& number,
                            const std::string& value);

}  // namespace kiln::cuda

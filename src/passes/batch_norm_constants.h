// Inference batch norm as y = x * factor[c] + shift[c], computed in the init graph.
#pragma once

#include "ir/module.h"

namespace kiln {

struct BatchNormConstants {
  Value* factor = nullptr;  // values of the init graph, f64[channels]
  Value* shift = nullptr;
};

// Statistics and parameters of the node are all constants of main.
bool has_constant_statistics(Node& batch_norm);

// factor = weight / sqrt(var + eps), shift = bias - mean * factor; in fp64, because what follows
// multiplies every weight or activation by them. Precondition: has_constant_statistics().
BatchNormConstants batch_norm_constants(Module& module, Node& batch_norm);

}  // namespace kiln

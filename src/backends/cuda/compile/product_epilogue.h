// What kernels of matrix products compute behind the sums: a factor, a bias, an addend, then one
// activation.
#pragma once

#include <vector>

#include "backends/cuda/compile/kernel_activation.h"
#include "fusion/anchor.h"
#include "fusion/engine_lowering.h"

namespace kiln::cuda {

// The epilogue that the leading nodes come to.
struct ProductEpilogue {
  int nodes = 0;
  double alpha = 1;
  Value* bias = nullptr;  // inside
  Value* add = nullptr;   // inside
  KernelActivation activation;
};

// Which activations a kernel has, of results of this dtype.
using TakesActivation = bool (*)(const KernelActivation& activation, DType dtype);

// Of `nodes` behind `anchor` (linear, matmul or conv), as far as such an epilogue goes.
ProductEpilogue product_epilogue(Node& anchor, const std::vector<Node*>& nodes,
                                 TakesActivation takes);
// Copies a product's dense result, `target`, to `place`, which has the same elements in this order.
void copy_to_place(const PlanView& target, const PlanView& place, const Node& node,
                   EngineLowering& lowering);
// The dim of the anchor's result that the product's columns are.
size_t product_column_dim(Node& anchor);

}  // namespace kiln::cuda

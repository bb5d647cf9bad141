// Convolutions whose windows lie side by side (patch embeddings: 16 x 16 pixels, stride 16) as
// products of matrices: a row holds the pixels of a window.
//
// Only those over channels of which a pixel's do not fill vectors: over others an implicit product
// reads the pixels where they lie.
#pragma once

#include "fusion/engine_lowering.h"
#include "ir/graph.h"

namespace kiln::cuda {

// A convolution of one group without padding or dilation, whose stride is its window.
bool is_patch_product(Node& conv);

// [batch, positions..., depth] and [out, depth]. Depth runs over a window's pixels in the order in
// which the image holds them, so that what is copied lies in rows.
struct PatchViews {
  PlanView pixels, weight;
};
// `x`, `weight`: what the operands of `conv` are in main.
PatchViews patch_views(Node& conv, Value* x, Value* weight, EngineLowering& lowering,
                       const Origin& origin);

// The view with dim 1 as the last one.
PlanView channels_at_end(PlanView view);

}  // namespace kiln::cuda

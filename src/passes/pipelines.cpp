// The ordered lists of passes. Why a pass stands where it does is said next to it.
#include "passes/pass_manager.h"

namespace kiln {

const std::vector<NamedPipeline>& named_pipelines() {
  static const std::vector<NamedPipeline> pipelines = {
      {"simplify", "one form for equal programs, constants out of the way",
       // Each of these opens cases for the others: a cancelled pair of views makes two linears
       // neighbours, a folded weight makes a batch norm foldable, a dead branch makes a use the
       // only one. fold_constants comes after what creates views of weights, cse and dce last, so
       // that "has one use" is true when the next round asks.
       "fix(fix(canonicalize, simplify_views, sink_expands, index_to_view, simplify_masks, "
       "merge_transposes, hoist_reshapes, fold_bias, fold_batch_norm, recognize_activations, "
       "recognize_attention, fold_constants, cse, dce), "
       // Whether a permute is free behind a product is known when what follows has its form.
       "sink_permutes), "
       // A batch norm that no weight took by now never will; and linears are merged when no other
       // pass can make two of them one.
       "decompose_batch_norm, merge_linears, "
       // Once reshapes have met, slices may come between them and what they belong to.
       "hoist_slices, fix(simplify_views, fold_constants, cse, dce)"},
      {"precision", "16-bit storage where the user asked for it",
       // Casts of weights go to the init graph, pairs of casts and copies of them go away.
       "lower_precision, fix(canonicalize, simplify_views, fold_constants, cse, dce)"},
      {"legalize", "what the backend refuses computes in f32, or goes back to PyTorch",
       // What is f32 now may be folded as f32 was before.
       "widen, fold_batch_norm, decompose_batch_norm, "
       "fix(fold_constants, cse, dce), legalize, dce"},
      {"partition", "native ops in few runs between calls of PyTorch", "partition"},
      {"fuse", "memory orders, then fusions",
       // Epilogues first: an elementwise op is cheaper in a convolution than in a tile program.
       // Channels are padded in the memory order that convolutions have by then.
       "assign_layouts, pad_channels, add_masks, fuse_epilogues, fuse_tiles"},
  };
  return pipelines;
}

}  // namespace kiln

// What the oneDNN providers share: expressing the elementwise nodes behind an anchor as post-ops.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "backends/cpu/runtime/dnnl_step_params.h"
#include "core/dim.h"
#include "fusion/anchor.h"
#include "fusion/representative_sizes.h"
#include "ir/graph.h"
#include "runtime/plan.h"
#include "tuning/kernel_provider.h"

namespace kiln {

class EngineLowering;

// How a tensor of a post-op relates to the result.
enum class DnnlBroadcast : uint8_t {
  kNone,     // no tensor
  kFull,     // the result's shape
  kChannel,  // one element per channel
  kScalar    // one element
};

struct DnnlEpilogueStep {
  DnnlPostOpParams op;
  DnnlBroadcast broadcast = DnnlBroadcast::kNone;
  Value* tensor = nullptr;  // inside; null without
  int node = 0;             // position in the epilogue
};

// Post-ops for the leading nodes of `epilogue` that have one, in order; `channel` is the dim of the
// anchor's result that per-channel tensors run along. Not expressible: a value used as its own
// partner, tensors that broadcast otherwise, division by a number whose reciprocal is not exact.
// Post-ops pass over NaN where torch keeps it (relu, clamp).
std::vector<DnnlEpilogueStep> map_dnnl_epilogue(Node& anchor, const std::vector<Node*>& epilogue,
                                                size_t channel);
std::vector<DnnlPostOpParams> post_op_params(const std::vector<DnnlEpilogueStep>& steps);
// The steps of the first `nodes` nodes.
std::vector<DnnlEpilogueStep> first_dnnl_steps(const std::vector<DnnlEpilogueStep>& steps,
                                               int nodes);

// The largest n such that the first n nodes map and `supported` says ok to their steps; -1 when not
// even n = 0. `why` is the last refusal.
template <typename Supported>
int longest_dnnl_epilogue(Node& anchor, const std::vector<Node*>& epilogue, size_t channel,
                          Supported supported, Status* why) {
  const std::vector<DnnlEpilogueStep> steps = map_dnnl_epilogue(anchor, epilogue, channel);
  for (int nodes = steps.empty() ? 0 : steps.back().node + 1; nodes >= 0; --nodes) {
    *why = supported(first_dnnl_steps(steps, nodes));
    if (why->ok()) return nodes;
  }
  return -1;
}

// Dims of a tensor that broadcasts so, given the result's.
template <typename Dim>
std::vector<Dim> dnnl_tensor_dims(DnnlBroadcast broadcast, const std::vector<Dim>& result,
                                  size_t channel) {
  if (broadcast == DnnlBroadcast::kFull) return result;
  std::vector<Dim> dims(result.size(), Dim(1));
  if (broadcast == DnnlBroadcast::kChannel) dims[channel] = result[channel];
  return dims;
}

// The library, or why there is none, and the dtypes that it serves: f32, bf16, f16.
Status check_dnnl_serves(DType dtype);

// "dnnl.conv" epilogues and so on; see dnnl_epilogue_length() in cpu_backend.h.
int dnnl_conv_epilogue_length(Node& anchor, const std::vector<Node*>& epilogue);
int dnnl_matmul_epilogue_length(Node& anchor, const std::vector<Node*>& epilogue);

}  // namespace kiln

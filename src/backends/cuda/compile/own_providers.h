// Providers of Kiln's own kernels that are no tile programs: what is always there.
#pragma once

#include <memory>
#include <vector>

#include "fusion/engine_lowering.h"
#include "runtime/plan.h"
#include "tuning/kernel_provider.h"

namespace kiln::cuda {

std::unique_ptr<KernelProvider> make_movement_provider();   // copies, pads, scans, sorts, sources
std::unique_ptr<KernelProvider> make_indexing_provider();   // embedding, gathers, scatters
std::unique_ptr<KernelProvider> make_pool_provider();       // pools and interpolation
// A convolution that is make_depthwise_provider()'s, where the dtype suits it.
bool is_depthwise(Node& node);
std::unique_ptr<KernelProvider> make_depthwise_provider();  // convolution of each channel by itself
// One that is make_direct_conv_provider()'s.
bool is_direct_conv(Node& node);
std::unique_ptr<KernelProvider> make_direct_conv_provider();  // convolution over few channels
std::unique_ptr<KernelProvider> make_gemm_provider();  // products, convolutions

// A copy of `from` to `to`, of one shape.
void emit_copy(const PlanView& from, const PlanView& to, DType dtype, const Origin& origin,
               std::string_view label, EngineLowering& lowering);

}  // namespace kiln::cuda

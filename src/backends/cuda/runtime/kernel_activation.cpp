#include "backends/cuda/runtime/kernel_activation.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "base/status.h"

namespace kiln::cuda {
namespace {

using Kind = KernelActivation::Kind;

constexpr std::array<std::pair<Kind, const char*>, 12> kKinds = {{
    {Kind::kNone, "none"},
    {Kind::kRelu, "relu"},
    {Kind::kClip, "clip"},
    {Kind::kLeakyRelu, "leaky_relu"},
    {Kind::kElu, "elu"},
    {Kind::kSigmoid, "sigmoid"},
    {Kind::kTanh, "tanh"},
    {Kind::kSilu, "silu"},
    {Kind::kGelu, "gelu"},
    {Kind::kGeluTanh, "gelu_tanh"},
    {Kind::kHardsigmoid, "hardsigmoid"},
    {Kind::kHardswish, "hardswish"},
}};

}  // namespace

void KernelActivation::add_to(Json& params) const {
  for (const auto& [known, name] : kKinds) {
    if (known == kind) params.set("activation", name);
  }
  params.set("alpha", alpha);
  params.set("beta", beta);
}

Result<KernelActivation> KernelActivation::from_json(const Json& params) {
  KernelActivation result;
  KILN_ASSIGN_OR_RETURN(const std::string name, params.string_at("activation"));
  KILN_ASSIGN_OR_RETURN(result.alpha, params.double_at("alpha"));
  KILN_ASSIGN_OR_RETURN(result.beta, params.double_at("beta"));
  const auto known = std::find_if(kKinds.begin(), kKinds.end(),
                                  [&](const auto& kind) { return kind.second == name; });
  if (known == kKinds.end()) {
    return Status::error("K3212", "unknown activation '" + name + "'");
  }
  result.kind = known->first;
  return result;
}

}  // namespace kiln::cuda

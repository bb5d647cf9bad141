// The activation behind a convolution or a product, as parameters of steps and kernels have it.
#pragma once

#include <cstdint>

#include <kiln/status.h>

#include "base/json.h"

namespace kiln::cuda {

struct KernelActivation {
  enum class Kind : uint8_t {
    kNone,
    kRelu,
    kClip,       // to [alpha, beta]
    kLeakyRelu,  // slope alpha
    kElu,        // alpha
    kSigmoid,
    kTanh,
    kSilu,
    kGelu,
    kGeluTanh,
    kHardsigmoid,
    kHardswish
  } kind = Kind::kNone;
  double alpha = 0, beta = 0;

  // Members "activation", "alpha" and "beta" of a step's or a kernel's parameters.
  void add_to(Json& params) const;
  static Result<KernelActivation> from_json(const Json& params);  // K3212
};

}  // namespace kiln::cuda

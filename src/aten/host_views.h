// Views that stay in PyTorch, such as slices of complex tensors: how a write through one reaches
// what it is a view of.
#pragma once

#include <optional>

#include "core/call_arg.h"

namespace kiln {

struct HostViewInverse {
  Call call;                 // of %0, the new contents of the view, and
  bool takes_whole = false;  // of %1, what was viewed; gives the new contents of that
};

// `view` is a call of one operand. Empty for calls that are no views, and for views through which
// nothing can be written so.
std::optional<HostViewInverse> inverse_of_host_view(const Call& view);

}  // namespace kiln

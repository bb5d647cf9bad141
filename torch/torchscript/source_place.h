// Where a node of a TorchScript graph comes from in the user's source.
#pragma once

#include <torch/csrc/jit/frontend/source_range.h>

#include <string>

namespace kiln::torchscript {

// "model.py:41": relative to the package or the working folder, as the other doors write it; ""
// where the code is torch's own or unknown. Of a traced node, the innermost line outside torch.
std::string user_place(const torch::jit::SourceRange& range);

}  // namespace kiln::torchscript

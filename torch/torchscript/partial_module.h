// A module in which other modules stand for some of its submodules.
#pragma once

#include <torch/csrc/jit/api/module.h>

#include <map>
#include <string>

#include <kiln/status.h>

namespace kiln::torchscript {

// `replacements` by the paths of submodules. Each must have a `forward` with the arguments and
// results of the one that it stands for. The modules on the way get classes of their own, with the
// same methods. All modules are objects of their own, whose attributes may be set; the tensors are
// shared with `root`, which does not change.
// K1145 for a module on the way whose methods hold its submodules in a form that cannot be
// followed.
Result<torch::jit::Module> replace_submodules(
    const torch::jit::Module& root, const std::map<std::string, torch::jit::Module>& replacements);

}  // namespace kiln::torchscript

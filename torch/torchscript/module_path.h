// Paths of submodules and attributes: "layer1.0.conv1.weight"; "" is the root.
#pragma once

#include <string>

namespace kiln::torchscript {

inline std::string inside(const std::string& path, const std::string& name) {
  return path.empty() ? name : path + "." + name;
}

}  // namespace kiln::torchscript

// Legal reorderings of a module: random ones, to show that a pass does not depend on the order of
// nodes, and a canonical one, to compare what comes out.
#pragma once

#include <cstdint>
#include <memory>

#include "ir/module.h"

namespace kiln {

// Puts the nodes of every graph into a random order that respects operands and effects.
void shuffle_nodes(Module& module, uint64_t seed);

// A copy in which nodes stand in depth-first order from effects and outputs, constants in order of
// first use, weights by name; dead nodes, origins and names of values are gone. Two modules that
// differ in these respects only print equally.
std::unique_ptr<Module> canonical_copy(Module& module);

}  // namespace kiln

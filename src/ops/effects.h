// What a node does besides computing its results.
#pragma once

#include "ir/graph.h"

namespace kiln {

// True for nodes that keep their order and are never merged, moved over each other or dropped:
// nodes of ops with the trait kEffect, except an aten.call whose `effect` field is "none".
bool has_effect(Node& node);

}  // namespace kiln

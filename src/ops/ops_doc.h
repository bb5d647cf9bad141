// docs/ops.md, written from the registry.
#pragma once

#include <string>

namespace kiln {

// The whole page: a table of all ops, then one section per op with its formula, operands, fields,
// traits and samples.
std::string ops_markdown();

}  // namespace kiln

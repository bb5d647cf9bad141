// Blocks of memory for constants, arenas and scratch.
#pragma once

#include <cstddef>
#include <memory>

namespace kiln {

// `bytes` of uninitialised memory, 64-byte aligned (2 MiB aligned and with huge pages where the
// system gives them when the block is large). Null when there is none; never throws.
std::shared_ptr<void> allocate_block(size_t bytes);

}  // namespace kiln

// CRC-32 as zip files use it (polynomial 0xEDB88320, reflected; ISO 3309).
#pragma once

#include <cstddef>
#include <cstdint>

namespace kiln {

// Continues `crc`, the value for the bytes before; 0 to begin.
uint32_t crc32(const void* data, size_t size, uint32_t crc = 0);

}  // namespace kiln

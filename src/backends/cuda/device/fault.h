// Codes of the fault word; the runtime turns them into K4410 and K4411.
#pragma once

#include "device/platform.h"

constexpr uint32 kFaultIndex = 1;    // an index is out of range
constexpr uint32 kFaultDivisor = 2;  // an integer division by zero

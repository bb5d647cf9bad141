#pragma once
#include "device/platform.h"
KILN_DEVICE int32 cluster_rank() { return 0; }
KILN_DEVICE void cluster_barrier() { kiln_emulated::machine->fail("clusters"); }

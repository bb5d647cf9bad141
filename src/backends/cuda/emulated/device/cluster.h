// The host's twin of backends/cuda/device/cluster.h: the emulator runs the blocks of a cluster by
// turns.
#pragma once

#include "device/platform.h"

#define KILN_CLUSTER_KERNEL(max_threads, blocks)                                   \
  constexpr int kiln_max_threads = (max_threads), kiln_cluster_blocks = (blocks); \
  static

KILN_DEVICE constexpr int32 cluster_blocks(int32 wanted) { return wanted; }

KILN_DEVICE void cluster_barrier(const char* file = __builtin_FILE(),
                                 int line = __builtin_LINE()) {
  kiln_emulated::machine->cluster_barrier(file, line);
}

KILN_DEVICE Pack<float, 4> load_peer(const Shared<float>& own, int32 rank) {
  Pack<float, 4> value;
  kiln_emulated::machine->read_peer(own.region(), rank,
                                    reinterpret_cast<const void*>(own.address()), value.at, 4,
                                    sizeof(float));
  return value;
}

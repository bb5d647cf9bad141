// Blocks that run at the same time and read each other's shared memory: thread block clusters
// (sm_90 and later). Where there are none, a cluster is one block, and what is done for several is
// done by one: a kernel's source is the same, its launch has fewer blocks.
// backends/cuda/emulated/device/cluster.h is the host's twin.
#pragma once

#include "device/platform.h"

// KILN_CLUSTER_KERNEL(128, 4) void name(...): a kernel whose blocks make clusters of as many blocks
// along x as cluster_blocks(4) says; the grid is a multiple of it.
#if __CUDA_ARCH__ >= 900
#define KILN_CLUSTER_KERNEL(max_threads, blocks) \
  extern "C" __global__ __launch_bounds__(max_threads) __cluster_dims__(blocks, 1, 1)
#else
#define KILN_CLUSTER_KERNEL(max_threads, blocks) KILN_KERNEL(max_threads)
#endif

#if __CUDA_ARCH__ >= 900
KILN_DEVICE constexpr int32 cluster_blocks(int32 wanted) { return wanted; }

// All threads of all blocks of the cluster are here, and see what each has written before.
KILN_DEVICE void cluster_barrier() {
  asm volatile(
      "barrier.cluster.arrive.release.aligned;\n\t"
      "barrier.cluster.wait.acquire.aligned;" ::
          : "memory");
}

// Four numbers from the dynamic shared memory of block `rank` of the cluster, at the place that
// `own` has in this block's.
KILN_DEVICE Pack<float, 4> load_peer(Shared<float> own, int32 rank) {
  Pack<float, 4> result;
  asm volatile(
      "{ .reg .u64 a; .reg .u32 s, p; cvta.to.shared.u64 a, %4; cvt.u32.u64 s, a;"
      " mapa.shared::cluster.u32 p, s, %5;"
      " ld.shared::cluster.v4.f32 {%0,%1,%2,%3}, [p]; }"
      : "=f"(result.at[0]), "=f"(result.at[1]), "=f"(result.at[2]), "=f"(result.at[3])
      : "l"(own), "r"(rank)
      : "memory");
  return result;
}
#else
KILN_DEVICE constexpr int32 cluster_blocks(int32) { return 1; }

KILN_DEVICE void cluster_barrier() { barrier(); }

KILN_DEVICE Pack<float, 4> load_peer(Shared<float> own, int32) { return load<4>(own); }
#endif

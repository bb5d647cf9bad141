// the runtime's own copy
// | strided_copy {"element_bytes": 4, "rank": 3, "wide": false}

// ---- strided_copy: strided_copy_32_3d
#include "device/platform.h"

using Index = int32;

// Element i in the order of the target, whose innermost dim is 0.
KILN_KERNEL(256) void strided_copy_32_3d(In<uint32> from, Out<uint32> to, Index elements,
    Index n0, Index a0, Index b0,
    Index n1, Index a1, Index b1,
    Index n2, Index a2, Index b2) {
  wait_for_previous(from, to);
  const Index step = static_cast<Index>(blocks_x()) * 256;
  for (Index i = static_cast<Index>(block_x()) * 256 + thread_x(); i < elements; i += step) {
    Index source = 0, target = 0;
    Index rest = i;
    source += rest % n0 * a0;
    target += rest % n0 * b0;
    rest /= n0;
    source += rest % n1 * a1;
    target += rest % n1 * b1;
    rest /= n1;
    source += rest * a2;
    target += rest * b2;
    to[target] = from[source];
  }
}

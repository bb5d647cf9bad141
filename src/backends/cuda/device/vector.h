// Groups of elements at the end of an array.
#pragma once

#include "device/platform.h"

// The first `count` of N elements, of which there is at least one; zeros for the others.
template <class T, int N, class Pointer>
KILN_DEVICE Pack<T, N> load_some(Pointer from, int32 count) {
  KILN_EXPECT(count > 0);
  if (count >= N) return load<N>(from);
  Pack<T, N> result = {};
#pragma unroll
  for (int32 v = 0; v < N; ++v) {
    if (v < count) result.at[v] = from[v];
  }
  return result;
}
template <class T, int N, class Pointer>
KILN_DEVICE void store_some(Pointer to, const Pack<T, N>& value, int32 count) {
  KILN_EXPECT(count > 0);
  if (count >= N) {
    store<N>(to, value);
    return;
  }
#pragma unroll
  for (int32 v = 0; v < N; ++v) {
    if (v < count) to[v] = value.at[v];
  }
}

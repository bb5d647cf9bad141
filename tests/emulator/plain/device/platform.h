// A third twin of backends/cuda/device/platform.h, never run: the kernel as an optimising compiler
// may see it, to show that two sources are one kernel (tests/emulator/equivalence.h). Pointers are
// plain; threads, barriers and exchanges are functions that the compiler knows nothing about, but
// for what every launch guarantees:
//   - a thread's numbers stay the same while it runs, and lie in the block and the grid;
//   - a block has at most as many threads as the kernel is made for, KILN_MAX_THREADS;
//   - where KILN_BLOCK and KILN_GRID are defined, "x, y, z", they are those of every launch.
// Barriers and exchanges may change all memory that other threads can reach, and are calls whose
// number and order count.
#pragma once

#include "device/numbers.h"

#define KILN_DEVICE inline
#define KILN_KERNEL(max_threads) extern "C"
#define KILN_RESTRICT __restrict__
#define KILN_EXPECT(condition)
#define KILN_UNROLL
#define KILN_UNROLL_BY(times)

extern "C" {
int32 kiln_thread(int32 dim) __attribute__((const));
int32 kiln_threads(int32 dim) __attribute__((const));
int64 kiln_block(int32 dim) __attribute__((const));
int64 kiln_blocks(int32 dim) __attribute__((const));
void* kiln_shared_array(const char* name) __attribute__((const));
void kiln_barrier();
void kiln_warp_barrier();
uint64 kiln_exchange(int32 op, uint64 value, int32 lane);
void kiln_atomic_add(float* to, float value);
void kiln_atomic_max(int32* to, int32 value);
void kiln_report_fault(uint32* fault, uint32 code);
float kiln_exp2(float x) __attribute__((const));
}

template <class T>
using In = const T* KILN_RESTRICT;
template <class T>
using Out = T* KILN_RESTRICT;
template <class T>
using InOut = T*;

namespace kiln_plain {
#ifdef KILN_GRID
KILN_DEVICE int32 threads(int32 dim) {
  constexpr int32 of_each[3] = {KILN_BLOCK};
  return of_each[dim];
}
KILN_DEVICE int64 blocks(int32 dim) {
  constexpr int64 of_each[3] = {KILN_GRID};
  return of_each[dim];
}
#else
KILN_DEVICE int32 threads(int32 dim) {
  const int32 count = kiln_threads(dim);
  if (count < 1 || count > KILN_MAX_THREADS) __builtin_unreachable();
  return count;
}
KILN_DEVICE int64 blocks(int32 dim) {
  const int64 count = kiln_blocks(dim);
  if (count < 1 || count > 0x7fffffff) __builtin_unreachable();
  return count;
}
#endif
KILN_DEVICE int32 thread(int32 dim) {
  const int32 place = kiln_thread(dim);
  if (place < 0 || place >= threads(dim)) __builtin_unreachable();
  return place;
}
KILN_DEVICE int64 block(int32 dim) {
  const int64 place = kiln_block(dim);
  if (place < 0 || place >= blocks(dim)) __builtin_unreachable();
  return place;
}
}  // namespace kiln_plain

KILN_DEVICE int32 thread_x() { return kiln_plain::thread(0); }
KILN_DEVICE int32 thread_y() { return kiln_plain::thread(1); }
KILN_DEVICE int32 threads_x() { return kiln_plain::threads(0); }
KILN_DEVICE int32 threads_y() { return kiln_plain::threads(1); }
KILN_DEVICE int64 block_x() { return kiln_plain::block(0); }
KILN_DEVICE int64 block_y() { return kiln_plain::block(1); }
KILN_DEVICE int64 block_z() { return kiln_plain::block(2); }
KILN_DEVICE int64 blocks_x() { return kiln_plain::blocks(0); }
KILN_DEVICE int64 blocks_y() { return kiln_plain::blocks(1); }
KILN_DEVICE int32 lane() { return thread_x() & 31; }
KILN_DEVICE int32 warp() { return thread_x() >> 5; }

template <class T>
using Shared = T*;
#define KILN_SHARED(T, name, count) T* const name = static_cast<T*>(kiln_shared_array(#name))
template <class T>
KILN_DEVICE Shared<T> dynamic_shared(int32 byte_offset = 0) {
  return reinterpret_cast<T*>(static_cast<unsigned char*>(kiln_shared_array("")) + byte_offset);
}

template <class... Pointers>
KILN_DEVICE void wait_for_previous(Pointers&...) {}
template <class T>
KILN_DEVICE void prefetch(const T*) {}
KILN_DEVICE void barrier() { kiln_barrier(); }
KILN_DEVICE void warp_barrier() { kiln_warp_barrier(); }

namespace kiln_plain {
template <class T>
T exchange(int32 op, T value, int32 lane) {
  uint64 bits = 0;
  __builtin_memcpy(&bits, &value, sizeof(T));
  bits = kiln_exchange(op, bits, lane);
  __builtin_memcpy(&value, &bits, sizeof(T));
  return value;
}
}  // namespace kiln_plain
template <class T>
KILN_DEVICE T shuffle(T value, int32 from_lane) {
  return kiln_plain::exchange(0, value, from_lane);
}
template <class T>
KILN_DEVICE T shuffle_xor(T value, int32 mask) {
  return kiln_plain::exchange(1, value, mask);
}
template <class T>
KILN_DEVICE T shuffle_up(T value, int32 delta) {
  return kiln_plain::exchange(2, value, delta);
}
template <class T>
KILN_DEVICE T shuffle_down(T value, int32 delta) {
  return kiln_plain::exchange(3, value, delta);
}
KILN_DEVICE bool vote_any(bool value) { return kiln_exchange(4, value, 0) != 0; }
KILN_DEVICE uint32 vote_ballot(bool value) {
  return static_cast<uint32>(kiln_exchange(5, value, 0));
}

KILN_DEVICE float exp2_of(float x) { return kiln_exp2(x); }

template <class T, int N>
struct alignas(sizeof(T) * N > 16 ? 16 : sizeof(T) * N) Pack {
  T at[N];
};
template <int N, class T>
KILN_DEVICE Pack<T, N> load(const T* from) {
  return *reinterpret_cast<const Pack<T, N>*>(from);
}
template <int N, class T>
KILN_DEVICE Pack<T, N> load_if(bool there, const T* from) {
  return there ? load<N>(from) : Pack<T, N>{};
}
template <int N, class T>
KILN_DEVICE void store(T* to, const Pack<T, N>& value) {
  *reinterpret_cast<Pack<T, N>*>(to) = value;
}

KILN_DEVICE void atomic_add(float* to, float value) { kiln_atomic_add(to, value); }
KILN_DEVICE void atomic_max(int32* to, int32 value) { kiln_atomic_max(to, value); }
KILN_DEVICE void report_fault(InOut<uint32> fault, uint32 code) { kiln_report_fault(fault, code); }

// What kernels use of the machine, and all that differs between NVRTC and the host's emulation.
// This is the NVRTC side; backends/cuda/emulated/device/platform.h is the other. Kernels and the
// other device headers use nothing else of CUDA, and no raw pointers to memory:
//   - parameters are declared as In<T> (read only), Out<T> (written) or InOut<T>;
//   - they are indexed, moved by adding elements, and read or written N at a time by load<N> and
//     store<N> (the address must be a multiple of N * sizeof(T), 16 at most);
//   - shared memory is declared by KILN_SHARED or taken from dynamic_shared<T>().
#pragma once

using int8 = signed char;
using uint8 = unsigned char;
using int16 = short;
using uint16 = unsigned short;
using int32 = int;
using uint32 = unsigned int;
using int64 = long long;
using uint64 = unsigned long long;

#define KILN_DEVICE __device__ __forceinline__
// KILN_KERNEL(256) void name(In<float> x, Out<float> y, int64 n) { ... }
#define KILN_KERNEL(max_threads) extern "C" __global__ __launch_bounds__(max_threads)
#define KILN_RESTRICT __restrict__
// What the caller of a device function owes it; the emulator reports where it does not hold.
#define KILN_EXPECT(condition)
// Before a loop that indexes arrays held in registers.
#define KILN_UNROLL _Pragma("unroll")
#define KILN_PRAGMA(text) _Pragma(#text)
#define KILN_UNROLL_BY(times) KILN_PRAGMA(unroll(times))  // 1: not at all

template <class T>
using In = const T* KILN_RESTRICT;
template <class T>
using Out = T* KILN_RESTRICT;
template <class T>
using InOut = T*;

KILN_DEVICE int32 thread_x() { return static_cast<int32>(threadIdx.x); }
KILN_DEVICE int32 thread_y() { return static_cast<int32>(threadIdx.y); }
KILN_DEVICE int32 threads_x() { return static_cast<int32>(blockDim.x); }
KILN_DEVICE int32 threads_y() { return static_cast<int32>(blockDim.y); }
KILN_DEVICE int64 block_x() { return static_cast<int64>(blockIdx.x); }
KILN_DEVICE int64 block_y() { return static_cast<int64>(blockIdx.y); }
KILN_DEVICE int64 block_z() { return static_cast<int64>(blockIdx.z); }
KILN_DEVICE int64 blocks_x() { return static_cast<int64>(gridDim.x); }
KILN_DEVICE int64 blocks_y() { return static_cast<int64>(gridDim.y); }
KILN_DEVICE int32 lane() { return static_cast<int32>(threadIdx.x & 31); }  // of blocks of one dim
KILN_DEVICE int32 warp() { return static_cast<int32>(threadIdx.x >> 5); }

// One array of `count` elements, shared by the block; `count` is a constant.
#define KILN_SHARED(T, name, count) __shared__ __align__(16) T name[count]
template <class T>
using Shared = T*;  // what KILN_SHARED and dynamic_shared give
template <class T>
KILN_DEVICE Shared<T> dynamic_shared(int32 byte_offset = 0) {
  extern __shared__ __align__(128) unsigned char kiln_dynamic_shared[];
  return reinterpret_cast<T*>(kiln_dynamic_shared + byte_offset);
}

// The first thing that a kernel does: from sm_90 on it is launched while the kernel before it on
// the stream still runs (Launch in runtime/launch.h), and nothing that this one wrote may be read,
// nor overwritten what it reads, before it is done. The next kernel may begin to wait from now on.
// `pointers` are all of the kernel's: with what is added to them, which the compiler does not know
// to be 0, it cannot read from them earlier.
template <class... Pointers>
KILN_DEVICE void wait_for_previous(Pointers&... pointers) {
#if __CUDA_ARCH__ >= 900
  int32 zero;
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
  asm volatile("griddepcontrol.wait; mov.u32 %0, 0;" : "=r"(zero)::"memory");
  ((pointers += zero), ...);
#endif
}

// Has the 128 bytes around `from` brought to the L2 cache; no access, so it may come before
// wait_for_previous().
template <class T>
KILN_DEVICE void prefetch(const T* from) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(from));
}

KILN_DEVICE void barrier() { __syncthreads(); }
KILN_DEVICE void warp_barrier() { __syncwarp(); }
// All 32 lanes take part.
template <class T>
KILN_DEVICE T shuffle(T value, int32 from_lane) {
  return __shfl_sync(0xffffffffu, value, from_lane);
}
template <class T>
KILN_DEVICE T shuffle_xor(T value, int32 mask) {
  return __shfl_xor_sync(0xffffffffu, value, mask);
}
template <class T>
KILN_DEVICE T shuffle_up(T value, int32 delta) {
  return __shfl_up_sync(0xffffffffu, value, delta);
}
template <class T>
KILN_DEVICE T shuffle_down(T value, int32 delta) {
  return __shfl_down_sync(0xffffffffu, value, delta);
}
KILN_DEVICE bool vote_any(bool value) { return __any_sync(0xffffffffu, value) != 0; }
KILN_DEVICE uint32 vote_ballot(bool value) { return __ballot_sync(0xffffffffu, value); }

// The numbers in memory that are no C++ types.
struct f16 {
  uint16 bits;
};
struct bf16 {
  uint16 bits;
};
KILN_DEVICE float to_float(f16 x) {
  float result;
  asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(x.bits));
  return result;
}
KILN_DEVICE float to_float(bf16 x) { return __uint_as_float(static_cast<uint32>(x.bits) << 16); }
KILN_DEVICE f16 to_f16(float x) {
  f16 result;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(result.bits) : "f"(x));
  return result;
}
KILN_DEVICE bf16 to_bf16(float x) {
  bf16 result;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(result.bits) : "f"(x));
  return result;
}

// 2^x within two units in the last place; results below 2^-126 are zero.
KILN_DEVICE float exp2_of(float x) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

// N elements that travel together, in one access of up to 128 bits where N * sizeof(T) allows.
template <class T, int N>
struct alignas(sizeof(T) * N > 16 ? 16 : sizeof(T) * N) Pack {
  T at[N];
};
template <int N, class T>
KILN_DEVICE Pack<T, N> load(const T* from) {
  return *reinterpret_cast<const Pack<T, N>*>(from);
}
// The same, or zeros where nothing is to be read. The choice is made among registers of 32 bits:
// among the elements of a pack it would be made one by one.
template <int N, class T>
KILN_DEVICE Pack<T, N> load_if(bool there, const T* from) {
  constexpr int kWords = sizeof(T) * N / 4;
  if constexpr (sizeof(T) >= 4 || kWords == 0) {
    return there ? load<N>(from) : Pack<T, N>{};
  } else {
    union {
      Pack<uint32, kWords> words;
      Pack<T, N> pack;
    } both{};
    if (there) both.words = *reinterpret_cast<const Pack<uint32, kWords>*>(from);
    return both.pack;
  }
}
template <int N, class T>
KILN_DEVICE void store(T* to, const Pack<T, N>& value) {
  *reinterpret_cast<Pack<T, N>*>(to) = value;
}

KILN_DEVICE void atomic_add(float* to, float value) { atomicAdd(to, value); }
KILN_DEVICE void atomic_max(int32* to, int32 value) { atomicMax(to, value); }

// Fault word: any thread may store a code; zero means all is well.
KILN_DEVICE void report_fault(InOut<uint32> fault, uint32 code) {
  *reinterpret_cast<volatile uint32*>(fault) = code;
}

// Products of matrices in shared memory by a warpgroup: four warps, the first of which has a number
// divisible by 4 (wgmma; sm_90a).
// backends/cuda/emulated/device/wgmma.h is the host's twin.
#pragma once

#include "device/async_barrier.h"

// Defined where there are such instructions. Kernels are empty elsewhere: who launches them knows.
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define KILN_WARPGROUPS
#endif

// A kernel of which one block has a multiprocessor's registers for itself.
#define KILN_SOLE_KERNEL(max_threads) extern "C" __global__ __launch_bounds__(max_threads, 1)

// Of 16 columns of a matrix of 16-bit elements that copy_box brought: rows of 128 bytes, swizzled.
struct MatrixDescriptor {
  uint64 bits;
  // `bytes` further: to other columns, or by a multiple of 8 rows.
  KILN_DEVICE MatrixDescriptor moved(int32 bytes) const {
    return {bits + static_cast<uint64>(bytes / 16)};
  }
};
// Of the first columns; `matrix` is a multiple of 1024 bytes.
template <class T>
KILN_DEVICE MatrixDescriptor describe_matrix(Shared<T> matrix) {
  constexpr uint64 kSwizzle128 = 1ull << 62, kEightRows = 1024 / 16;
  return {kSwizzle128 | kEightRows << 32 | 1ull << 16 |
          (static_cast<uint64>(shared_address(matrix)) & 0x3ffff) / 16};
}

// Has products, behind a barrier, see what this thread wrote to shared memory, also by copies that
// it waited for (device/async_copy.h); bulk copies need none of this.
KILN_DEVICE void show_to_products() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// Registers of a thread from here on, by all threads of a warpgroup; the kernel's registers are
// those of its launch bounds before.
template <int32 kRegisters>
KILN_DEVICE void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int32 kRegisters>
KILN_DEVICE void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

// clang-format off
// The first 8, 16, ... of a thread's sums as operands: their names in the text, and themselves.
#define KILN_NAMES_8 "%0, %1, %2, %3, %4, %5, %6, %7"
#define KILN_NAMES_16 KILN_NAMES_8 ", %8, %9, %10, %11, %12, %13, %14, %15"
#define KILN_NAMES_32 KILN_NAMES_16 ", " \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define KILN_NAMES_64 KILN_NAMES_32 ", " \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define KILN_NAMES_96 KILN_NAMES_64 ", " \
  "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, " \
  "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"
#define KILN_NAMES_128 KILN_NAMES_96 ", " \
  "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, " \
  "%110, %111, %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, " \
  "%124, %125, %126, %127"
#define KILN_SUMS_8 \
  "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), \
  "+f"(d[6]), "+f"(d[7])
#define KILN_SUMS_16 KILN_SUMS_8, \
  "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), \
  "+f"(d[14]), "+f"(d[15])
#define KILN_SUMS_32 KILN_SUMS_16, \
  "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), \
  "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), \
  "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31])
#define KILN_SUMS_64 KILN_SUMS_32, \
  "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), \
  "+f"(d[39]), "+f"(d[40]), "+f"(d[41]), "+f"(d[42]), "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), \
  "+f"(d[46]), "+f"(d[47]), "+f"(d[48]), "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), \
  "+f"(d[53]), "+f"(d[54]), "+f"(d[55]), "+f"(d[56]), "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), \
  "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63])
#define KILN_SUMS_96 KILN_SUMS_64, \
  "+f"(d[64]), "+f"(d[65]), "+f"(d[66]), "+f"(d[67]), "+f"(d[68]), "+f"(d[69]), "+f"(d[70]), \
  "+f"(d[71]), "+f"(d[72]), "+f"(d[73]), "+f"(d[74]), "+f"(d[75]), "+f"(d[76]), "+f"(d[77]), \
  "+f"(d[78]), "+f"(d[79]), "+f"(d[80]), "+f"(d[81]), "+f"(d[82]), "+f"(d[83]), "+f"(d[84]), \
  "+f"(d[85]), "+f"(d[86]), "+f"(d[87]), "+f"(d[88]), "+f"(d[89]), "+f"(d[90]), "+f"(d[91]), \
  "+f"(d[92]), "+f"(d[93]), "+f"(d[94]), "+f"(d[95])
#define KILN_SUMS_128 KILN_SUMS_96, \
  "+f"(d[96]), "+f"(d[97]), "+f"(d[98]), "+f"(d[99]), "+f"(d[100]), "+f"(d[101]), "+f"(d[102]), \
  "+f"(d[103]), "+f"(d[104]), "+f"(d[105]), "+f"(d[106]), "+f"(d[107]), "+f"(d[108]), \
  "+f"(d[109]), "+f"(d[110]), "+f"(d[111]), "+f"(d[112]), "+f"(d[113]), "+f"(d[114]), \
  "+f"(d[115]), "+f"(d[116]), "+f"(d[117]), "+f"(d[118]), "+f"(d[119]), "+f"(d[120]), \
  "+f"(d[121]), "+f"(d[122]), "+f"(d[123]), "+f"(d[124]), "+f"(d[125]), "+f"(d[126]), \
  "+f"(d[127])

// `sums`: how many of a thread; the operands behind them are those of A, B and of whether the sums
// count.
#define KILN_WGMMA(type, columns, sums, a_name, b_name, flag_name) \
  asm volatile("{ .reg .pred p; setp.ne.b32 p, " flag_name ", 0; wgmma.mma_async.sync.aligned." \
      "m64n" columns "k16.f32." type "." type " {" KILN_NAMES_##sums "}, " a_name ", " b_name \
      ", p, 1, 1, 0, 0; }" : KILN_SUMS_##sums \
      : "l"(a.bits), "l"(b.bits), "r"(accumulate ? 1 : 0) : "memory")
// The same with A in registers and B transposed.
#define KILN_WGMMA_TRANSPOSED(type) \
  asm volatile("{ .reg .pred p; setp.ne.b32 p, %37, 0; wgmma.mma_async.sync.aligned." \
      "m64n64k16.f32." type "." type " {" KILN_NAMES_32 "}, {%32, %33, %34, %35}, %36, " \
      "p, 1, 1, 1; }" \
      : KILN_SUMS_32 \
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b.bits), "r"(accumulate ? 1 : 0) : "memory")
// clang-format on

KILN_DEVICE void warpgroup_mma(f16, float (&d)[32], const uint32 (&a)[4], MatrixDescriptor b,
                               bool accumulate) {
  KILN_WGMMA_TRANSPOSED("f16");
}
KILN_DEVICE void warpgroup_mma(bf16, float (&d)[32], const uint32 (&a)[4], MatrixDescriptor b,
                               bool accumulate) {
  KILN_WGMMA_TRANSPOSED("bf16");
}
KILN_DEVICE void warpgroup_mma(f16, float (&d)[8], MatrixDescriptor a, MatrixDescriptor b,
                               bool accumulate) {
  KILN_WGMMA("f16", "16", 8, "%8", "%9", "%10");
}
KILN_DEVICE void warpgroup_mma(bf16, float (&d)[8], MatrixDescriptor a, MatrixDescriptor b,
                               bool accumulate) {
  KILN_WGMMA("bf16", "16", 8, "%8", "%9", "%10");
}
KILN_DEVICE void warpgroup_mma(f16, float (&d)[16], MatrixDescriptor a, MatrixDescriptor b,
                               bool accumulate) {
  KILN_WGMMA("f16", "32", 16, "%16", "%17", "%18");
}
KILN_DEVICE void warpgroup_mma(bf16, float (&d)[16], MatrixDescriptor a, MatrixDescriptor b,
                               bool accumulate) {
  KILN_WGMMA("bf16", "32", 16, "%16", "%17", "%18");
}
KILN_DEVICE void warpgroup_mma(f16, float (&d)[32], MatrixDescriptor a, MatrixDescriptor b,
                               bool accumulate) {
  KILN_WGMMA("f16", "64", 32, "%32", "%33", "%34");
}
KILN_DEVICE void warpgroup_mma(bf16, float (&d)[32], MatrixDescriptor a, MatrixDescriptor b,
                               bool accumulate) {
  KILN_WGMMA("bf16", "64", 32, "%32", "%33", "%34");
}
KILN_DEVICE void warpgroup_mma(f16, float (&d)[64], MatrixDescriptor a, MatrixDescriptor b,
                               bool accumulate) {
  KILN_WGMMA("f16", "128", 64, "%64", "%65", "%66");
}
KILN_DEVICE void warpgroup_mma(bf16, float (&d)[64], MatrixDescriptor a, MatrixDescriptor b,
                               bool accumulate) {
  KILN_WGMMA("bf16", "128", 64, "%64", "%65", "%66");
}
KILN_DEVICE void warpgroup_mma(f16, float (&d)[96], MatrixDescriptor a, MatrixDescriptor b,
                               bool accumulate) {
  KILN_WGMMA("f16", "192", 96, "%96", "%97", "%98");
}
KILN_DEVICE void warpgroup_mma(bf16, float (&d)[96], MatrixDescriptor a, MatrixDescriptor b,
                               bool accumulate) {
  KILN_WGMMA("bf16", "192", 96, "%96", "%97", "%98");
}
KILN_DEVICE void warpgroup_mma(f16, float (&d)[128], MatrixDescriptor a, MatrixDescriptor b,
                               bool accumulate) {
  KILN_WGMMA("f16", "256", 128, "%128", "%129", "%130");
}
KILN_DEVICE void warpgroup_mma(bf16, float (&d)[128], MatrixDescriptor a, MatrixDescriptor b,
                               bool accumulate) {
  KILN_WGMMA("bf16", "256", 128, "%128", "%129", "%130");
}
#undef KILN_WGMMA
#undef KILN_WGMMA_TRANSPOSED
#undef KILN_NAMES_8
#undef KILN_SUMS_8
#undef KILN_NAMES_16
#undef KILN_SUMS_16
#undef KILN_NAMES_32
#undef KILN_SUMS_32
#undef KILN_NAMES_64
#undef KILN_SUMS_64
#undef KILN_NAMES_96
#undef KILN_SUMS_96
#undef KILN_NAMES_128
#undef KILN_SUMS_128

// The products that a warpgroup started, in groups; all its 128 threads take part in each call.
//
//   d (64 x N) = a (64 x 16) * b (N x 16)^T, or d += a * b^T; N is 16, 32, 64,
//   128, 192 or 256; sums in f32
//
// Thread 32 w + l of the warpgroup holds of d, g = l / 4, t = l % 4 (PTX ISA, "Register fragments
// for wgmma.mma_async.m64nNk16"): d[4 j + e] is row 16 w + g + e / 2 * 8, column 8 j + 2 t + e % 2.
struct WarpgroupProducts {
  // Before the first product of a group.
  KILN_DEVICE void begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
  // From here to the wait for the group, d must not be touched, nor what a and b lie in be written.
  template <class T, int32 kSums>
  KILN_DEVICE void start(T type, float (&d)[kSums], MatrixDescriptor a, MatrixDescriptor b,
                         bool accumulate) {
    warpgroup_mma(type, d, a, b, accumulate);
  }
  // d (64 x 64) += a (64 x 16) * b (16 x 64). Each warp gives its 16 rows of a as those of
  // mma_16x8x16 (device/mma.h); b has neighbours of a row in memory, not of a column.
  template <class T>
  KILN_DEVICE void start_transposed(T type, float (&d)[32], const uint32 (&a)[4],
                                    MatrixDescriptor b, bool accumulate) {
    warpgroup_mma(type, d, a, b, accumulate);
  }
  // Makes a group of the products since the last.
  KILN_DEVICE void commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
  // Until all groups but the last kPending are done.
  template <int32 kPending>
  KILN_DEVICE void wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
  }
  // Of each d, behind the wait for its last product and before anything uses it: the compiler does
  // not know that the wait writes it.
  template <int32 kSums>
  KILN_DEVICE void done(float (&d)[kSums]) {
    KILN_UNROLL
    for (int32 i = 0; i < kSums; ++i) asm volatile("" : "+f"(d[i])::"memory");
  }
};

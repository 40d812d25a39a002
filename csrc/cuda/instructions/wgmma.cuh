// wgmma: matrix products of a warpgroup (128 threads) with operands in shared memory, the first one also in registers
// (sm_90a alone).
//
// Operands lie in boxes of 128-byte rows with the 128-byte swizzle, as TMA leaves them (schedule/shared_tile.h). Where
// accumulators lie: product/tile.cuh.
#pragma once

#include <type_traits>

#include "cuda/instructions/numbers.cuh"

namespace bt::cuda {

// Which index of an operand is contiguous: the one that is summed over, or its own. tf32 has the first alone.
enum class Major { k, mn };

// What wgmma has to know of an operand. Major::k: stride_bytes from 8 rows to the next 8; leading_bytes is not used.
// Major::mn: stride_bytes from 8 k to the next 8, leading_bytes from one 128-byte wide box to the next.
__device__ __forceinline__ uint64_t matrix_descriptor(const void* shared, int leading_bytes, int stride_bytes) {
  constexpr uint64_t kSwizzle128 = uint64_t{1} << 62;
  return kSwizzle128 | static_cast<uint64_t>((shared_address(shared) & 0x3FFFFu) >> 4) |
         static_cast<uint64_t>(leading_bytes >> 4) << 16 | static_cast<uint64_t>(stride_bytes >> 4) << 32;
}

// Orders the accumulators' and operands' earlier accesses before the wgmma that follow.
__device__ __forceinline__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }

__device__ __forceinline__ void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

// Until at most PENDING committed groups are under way.
template <int PENDING>
__device__ __forceinline__ void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
}

// Keeps the compiler from moving accumulators while wgmma writes to them behind its back.
template <int COUNT>
__device__ __forceinline__ void wgmma_fence_registers(float (&d)[COUNT]) {
#pragma unroll
  for (int i = 0; i < COUNT; ++i) asm volatile("" : "+f"(d[i])::"memory");
}

#define BT_REGISTERS_64                                                              \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "           \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define BT_REGISTERS_128                                                                         \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "                       \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "             \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "             \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "             \
  "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "             \
  "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "             \
  "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, " \
  "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#define BT_8(d, i)                                                                                            \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), \
      "+f"(d[i + 7])
#define BT_64(d, i)                                                                                                \
  BT_8(d, i), BT_8(d, i + 8), BT_8(d, i + 16), BT_8(d, i + 24), BT_8(d, i + 32), BT_8(d, i + 40), BT_8(d, i + 48), \
      BT_8(d, i + 56)

#define BT_WGMMA_128(SHAPE_AND_TYPES, MAJORS, ...)                                         \
  asm volatile("wgmma.mma_async.sync.aligned.m64n128" SHAPE_AND_TYPES " {" BT_REGISTERS_64 \
               "}, %64, %65, 1, 1, 1" MAJORS ";"                                           \
               : BT_64(d, 0)                                                               \
               : "l"(a), "l"(b)__VA_ARGS__)
#define BT_WGMMA_256(SHAPE_AND_TYPES, MAJORS, ...)                                          \
  asm volatile("wgmma.mma_async.sync.aligned.m64n256" SHAPE_AND_TYPES " {" BT_REGISTERS_128 \
               "}, %128, %129, 1, 1, 1" MAJORS ";"                                          \
               : BT_64(d, 0), BT_64(d, 64)                                                  \
               : "l"(a), "l"(b)__VA_ARGS__)
#define BT_COMMA ,

// d += a b for a 64 x k, b k x N and k = 32 bytes of operands: 16 of bf16 and half_t, 8 of float (as tf32).
// Asynchronous: between wgmma_fence and wgmma_commit, done after wgmma_wait. All 128 threads of the warpgroup.
template <typename T, int N, Major A, Major B>
__device__ __forceinline__ void wgmma(float (&d)[N / 2], uint64_t a, uint64_t b) {
  static_assert(N == 128 || N == 256);
  constexpr int kA = A == Major::mn, kB = B == Major::mn;
  if constexpr (std::is_same_v<T, float>) {
    static_assert(A == Major::k && B == Major::k, "tf32 operands are contiguous along k");
    if constexpr (N == 128) {
      BT_WGMMA_128("k8.f32.tf32.tf32", "", );
    } else {
      BT_WGMMA_256("k8.f32.tf32.tf32", "", );
    }
  } else if constexpr (std::is_same_v<T, bf16>) {
    if constexpr (N == 128) {
      BT_WGMMA_128("k16.f32.bf16.bf16", ", %66, %67", BT_COMMA "n"(kA), "n"(kB));
    } else {
      BT_WGMMA_256("k16.f32.bf16.bf16", ", %130, %131", BT_COMMA "n"(kA), "n"(kB));
    }
  } else {
    static_assert(std::is_same_v<T, half_t>);
    if constexpr (N == 128) {
      BT_WGMMA_128("k16.f32.f16.f16", ", %66, %67", BT_COMMA "n"(kA), "n"(kB));
    } else {
      BT_WGMMA_256("k16.f32.f16.f16", ", %130, %131", BT_COMMA "n"(kA), "n"(kB));
    }
  }
}

// The same in tf32 with a in registers, four numbers of its 64 x 8 per thread: rows g and g + 8 of the warp's 16, k t
// and t + 4 with g = lane / 4, t = lane % 4, in the order (g, t), (g + 8, t), (g, t + 4), (g + 8, t + 4). They must
// keep until wgmma_wait.
template <int N>
__device__ __forceinline__ void wgmma_tf32(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t b) {
  static_assert(N == 128 || N == 256);
  if constexpr (N == 128) {
    asm volatile("wgmma.mma_async.sync.aligned.m64n128k8.f32.tf32.tf32 {" BT_REGISTERS_64
                 "}, {%64, %65, %66, %67}, %68, 1, 1, 1;"
                 : BT_64(d, 0)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
  } else {
    asm volatile("wgmma.mma_async.sync.aligned.m64n256k8.f32.tf32.tf32 {" BT_REGISTERS_128
                 "}, {%128, %129, %130, %131}, %132, 1, 1, 1;"
                 : BT_64(d, 0), BT_64(d, 64)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
  }
}

#undef BT_COMMA
#undef BT_WGMMA_256
#undef BT_WGMMA_128
#undef BT_64
#undef BT_8
#undef BT_REGISTERS_128
#undef BT_REGISTERS_64

// A warpgroup's registers per thread, from the pool that its block was launched with.
template <int COUNT>
__device__ __forceinline__ void raise_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(COUNT));
}

template <int COUNT>
__device__ __forceinline__ void lower_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(COUNT));
}

}  // namespace bt::cuda

// What every kernel uses of CUDA itself, by functions that the tests replace to run the same kernels on a CPU.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace bt::cuda {

#ifdef __CUDACC__  // the host's compiler takes bindings.cpp, which needs the runtime's types alone

// The block's dynamic shared memory, aligned for TMA's 128-byte swizzle, whose pattern repeats every 1024 bytes.
template <typename T>
__device__ __forceinline__ T* dynamic_shared() {
  extern __shared__ __align__(1024) unsigned char shared[];
  return reinterpret_cast<T*>(shared);
}

// Generic address of shared memory as the 32-bit one that PTX instructions take.
__device__ __forceinline__ uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

__device__ __forceinline__ int lane_id() { return static_cast<int>(threadIdx.x % 32); }

__device__ __forceinline__ int warp_id() { return static_cast<int>(threadIdx.x / 32); }

__device__ __forceinline__ void sync_block() { __syncthreads(); }

__device__ __forceinline__ void sync_warp() { __syncwarp(); }

// Barrier number id (1 .. 15) of count threads of the block; 0 is sync_block's.
__device__ __forceinline__ void sync_threads(int id, int count) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(count) : "memory");
}

template <typename T>
__device__ __forceinline__ T shuffle_xor(T value, int mask) {
  return __shfl_xor_sync(0xFFFFFFFFu, value, mask);
}

template <typename T>
__device__ __forceinline__ T shuffle(T value, int lane) {
  return __shfl_sync(0xFFFFFFFFu, value, lane);
}

// Orders this thread's writes before its later ones for all of the device.
__device__ __forceinline__ void fence_device() { __threadfence(); }

// Adds and returns what was there before. Integers alone: their sum does not depend on the order.
__device__ __forceinline__ uint32_t add_atomic(uint32_t* address, uint32_t value) { return atomicAdd(address, value); }

// The same number, of which the compiler knows nothing: what follows from it is computed again, not kept in registers.
__device__ __forceinline__ int compute_anew(int x) {
  asm volatile("" : "+r"(x)::"memory");
  return x;
}

__device__ __forceinline__ double square_root(double x) { return sqrt(x); }
__device__ __forceinline__ float square_root(float x) { return sqrtf(x); }

#endif

}  // namespace bt::cuda

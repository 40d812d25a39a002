// cp.async: global to shared memory past the registers (sm_80 and newer).
#pragma once

#include "cuda/instructions/cuda.cuh"

namespace bt::cuda {

// 16 bytes, both addresses aligned to 16; those from `bytes` (0 .. 16) on are zero and not read.
__device__ __forceinline__ void copy_async_16(void* shared, const void* global, int bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)), "l"(global), "r"(bytes)
               : "memory");
}

__device__ __forceinline__ void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Until at most PENDING of this thread's committed groups are under way.
template <int PENDING>
__device__ __forceinline__ void copy_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

}  // namespace bt::cuda

// Programmatic dependent launch (sm_90): a kernel's blocks may start while the kernel before it still runs.
//
// Every kernel makes both calls before it touches global memory. The kernel before has then ended and its writes are
// visible; and since that one waited in the same way, so have all kernels before it.
#pragma once

#include "cuda/instructions/cuda.cuh"

namespace bt::cuda {

// Lets the next kernel's blocks start as multiprocessors become free.
__device__ __forceinline__ void start_next_grid() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// Until the kernel before has ended.
__device__ __forceinline__ void wait_for_previous_grid() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

}  // namespace bt::cuda

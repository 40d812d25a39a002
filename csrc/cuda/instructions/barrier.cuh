// mbarriers in shared memory (sm_90): a phase ends when the expected arrivals and bytes are in.
//
// Arrivals release and waits acquire at the scope of the block, also where blocks of a cluster signal each other: what
// they hand over is read and written by the copy engine and by wgmma alone, whose accesses the barrier orders by
// itself. At the cluster's scope each would cost a fence of the whole GPU's memory or the contents of L1, in every step
// of a product.
#pragma once

#include "cuda/instructions/cuda.cuh"

namespace bt::cuda {

__device__ __forceinline__ void barrier_init(uint64_t* barrier, int count) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(count) : "memory");
}

// Makes the initialization visible to the cluster and to the copy engine; a barrier of the threads must follow.
__device__ __forceinline__ void barrier_init_fence() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

// Arrives, and adds bytes to what copies have to bring before the phase ends.
__device__ __forceinline__ void barrier_expect_bytes(uint64_t* barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes)
               : "memory");
}

// At the barrier in the same place of block `rank` of the cluster.
__device__ __forceinline__ void barrier_arrive_at(uint64_t* barrier, int rank) {
  asm volatile(
      "{\n"
      ".reg .b32 remote;\n"
      "mapa.shared::cluster.u32 remote, %0, %1;\n"
      "mbarrier.arrive.shared::cluster.b64 _, [remote];\n"
      "}" ::"r"(shared_address(barrier)),
      "r"(rank)
      : "memory");
}

// Until the phase of that parity has ended.
__device__ __forceinline__ void barrier_wait(uint64_t* barrier, int parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "wait:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra wait;\n"
      "}" ::"r"(shared_address(barrier)),
      "r"(parity)
      : "memory");
}

}  // namespace bt::cuda

// Thread-block clusters and their distributed shared memory (sm_90). On older GPUs every block is a cluster of its own.
#pragma once

#include "cuda/instructions/cuda.cuh"

namespace bt::cuda {

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900

__device__ __forceinline__ int cluster_rank() {
  uint32_t rank;
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return static_cast<int>(rank);
}

__device__ __forceinline__ int cluster_size() {
  uint32_t size;
  asm("mov.u32 %0, %%cluster_nctarank;" : "=r"(size));
  return static_cast<int>(size);
}

__device__ __forceinline__ void cluster_arrive() {
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
}

__device__ __forceinline__ void cluster_wait() { asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory"); }

// Until all threads of the cluster are here: so that no block ends while another one uses its shared memory, or that
// barriers are initialized everywhere. Unlike cluster_sync it makes no writes visible, and so waits for none.
__device__ __forceinline__ void cluster_meet() {
  asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
  cluster_wait();
}

// The number in the same place of block `rank`'s shared memory.
__device__ __forceinline__ float load_cluster(const float* own, int rank) {
  float value;
  asm volatile(
      "{\n"
      ".reg .b32 remote;\n"
      "mapa.shared::cluster.u32 remote, %1, %2;\n"
      "ld.shared::cluster.f32 %0, [remote];\n"
      "}"
      : "=f"(value)
      : "r"(shared_address(own)), "r"(rank)
      : "memory");
  return value;
}

__device__ __forceinline__ double load_cluster(const double* own, int rank) {
  double value;
  asm volatile(
      "{\n"
      ".reg .b32 remote;\n"
      "mapa.shared::cluster.u32 remote, %1, %2;\n"
      "ld.shared::cluster.f64 %0, [remote];\n"
      "}"
      : "=d"(value)
      : "r"(shared_address(own)), "r"(rank)
      : "memory");
  return value;
}

#else

__device__ __forceinline__ int cluster_rank() { return 0; }
__device__ __forceinline__ int cluster_size() { return 1; }
__device__ __forceinline__ void cluster_arrive() {}
__device__ __forceinline__ void cluster_wait() { __syncthreads(); }
__device__ __forceinline__ void cluster_meet() {}
__device__ __forceinline__ float load_cluster(const float* own, int) { return *own; }
__device__ __forceinline__ double load_cluster(const double* own, int) { return *own; }

#endif

// All threads of the cluster: what they wrote to shared memory before is seen by all after.
__device__ __forceinline__ void cluster_sync() {
  cluster_arrive();
  cluster_wait();
}

}  // namespace bt::cuda

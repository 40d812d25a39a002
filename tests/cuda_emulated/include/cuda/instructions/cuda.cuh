// The emulated GPU's side of csrc/cuda/instructions/cuda.cuh, and stand-ins for what that takes from the CUDA toolkit.
#pragma once

#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "emulated/launch.h"
#include "emulated/machine.h"
#include "emulated/shared.h"
#include "emulated/threads.h"

// There is no __shared__: kernels take dynamic shared memory.
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __grid_constant__
#define __launch_bounds__(...)
#define threadIdx (emulated::thread_index())
#define blockIdx (emulated::block_index())
#define blockDim (emulated::block_size())
#define gridDim (emulated::grid_size())

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorLaunchFailure = 719,
  cudaErrorNotSupported = 801,
};

inline const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess: return "no error";
    case cudaErrorInvalidValue: return "invalid argument";
    case cudaErrorInvalidConfiguration: return "invalid configuration argument";
    case cudaErrorLaunchFailure: return emulated::last_failure();
    case cudaErrorNotSupported: return "operation not supported";
  }
  return "unrecognized error code";
}

struct CUstream_st;
using cudaStream_t = CUstream_st*;

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
};

struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};

namespace bt::cuda {

template <typename T>
T* dynamic_shared() {
  return static_cast<T*>(emulated::shared_memory());
}

inline uint32_t shared_address(const void* pointer) { return emulated::shared_address(pointer); }

inline void sync_block() { emulated::sync_block(); }
inline void sync_warp() { emulated::sync_warp(); }
inline void sync_threads(int id, int count) { emulated::sync_threads(id, count); }

template <typename T>
T shuffle(T value, int lane) {
  static_assert(sizeof(T) <= sizeof(uint64_t));
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  bits = emulated::exchange(bits, lane);
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline int lane_id() { return static_cast<int>(threadIdx.x % 32); }

inline int warp_id() { return static_cast<int>(threadIdx.x / 32); }

template <typename T>
T shuffle_xor(T value, int mask) {
  return shuffle(value, lane_id() ^ mask);
}

inline void fence_device() { std::atomic_thread_fence(std::memory_order_seq_cst); }

inline uint32_t add_atomic(uint32_t* address, uint32_t value) {
  return std::atomic_ref<uint32_t>(*address).fetch_add(value);
}

inline int compute_anew(int x) { return x; }

inline double square_root(double x) { return std::sqrt(x); }
inline float square_root(float x) { return std::sqrt(x); }

}  // namespace bt::cuda

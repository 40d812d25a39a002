// Functions that kernels and the host share, and that the CPU tests call.
#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define BT_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define BT_HOST_DEVICE inline
#endif

namespace bt::cuda {

BT_HOST_DEVICE constexpr int64_t ceil_div(int64_t x, int64_t y) { return (x + y - 1) / y; }

}  // namespace bt::cuda

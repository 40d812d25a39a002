// The embeddings' types and their conversions.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "cuda/instructions/cuda.cuh"

namespace bt::cuda {

using bf16 = __nv_bfloat16;
using half_t = __half;

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(bf16 x) { return __bfloat162float(x); }
__device__ __forceinline__ float to_float(half_t x) { return __half2float(x); }

// To nearest, ties to even.
template <typename T>
__device__ __forceinline__ T from_float(float x);
template <>
__device__ __forceinline__ float from_float<float>(float x) {
  return x;
}
template <>
__device__ __forceinline__ bf16 from_float<bf16>(float x) {
  return __float2bfloat16_rn(x);
}
template <>
__device__ __forceinline__ half_t from_float<half_t>(float x) {
  return __float2half_rn(x);
}

struct alignas(8) Pair {
  float low, high;
};

// Two 16-bit numbers in a register, the first in its low half.
template <typename T>
__device__ __forceinline__ uint32_t pack(float low, float high);
template <>
__device__ __forceinline__ uint32_t pack<bf16>(float low, float high) {
  uint32_t both;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
  return both;
}
template <>
__device__ __forceinline__ uint32_t pack<half_t>(float low, float high) {
  uint32_t both;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
  return both;
}

template <typename T>
__device__ __forceinline__ Pair unpack(uint32_t both);
template <>
__device__ __forceinline__ Pair unpack<bf16>(uint32_t both) {
  return {__uint_as_float(both << 16), __uint_as_float(both & 0xFFFF0000u)};  // bfloat16 is the upper half of a float
}
template <>
__device__ __forceinline__ Pair unpack<half_t>(uint32_t both) {
  const float2 x = __half22float2(reinterpret_cast<const __half2&>(both));
  return {x.x, x.y};
}

__device__ __forceinline__ uint32_t float_bits(float x) { return __float_as_uint(x); }
__device__ __forceinline__ float float_from_bits(uint32_t bits) { return __uint_as_float(bits); }

}  // namespace bt::cuda

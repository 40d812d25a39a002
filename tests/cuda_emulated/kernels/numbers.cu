// Test kernels: conversions of all numbers of an array.
#include "cuda/instructions/numbers.cuh"
#include "exported.h"

using namespace bt::cuda;

namespace {

template <typename T>
__global__ void round_kernel(const float* in, T* out, int64_t count) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step) {
    out[i] = from_float<T>(in[i]);
  }
}

template <typename T>
__global__ void widen_kernel(const T* in, float* out, int64_t count) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step) {
    out[i] = to_float(in[i]);
  }
}

// Pairs packed and unpacked again.
template <typename T>
__global__ void pack_kernel(const float* in, uint32_t* packed, float* out) {
  packed[threadIdx.x] = pack<T>(in[2 * threadIdx.x], in[2 * threadIdx.x + 1]);
  const Pair pair = unpack<T>(packed[threadIdx.x]);
  out[2 * threadIdx.x] = pair.low;
  out[2 * threadIdx.x + 1] = pair.high;
}

constexpr Launch kShape{16, 64, 0, 1, false, nullptr};

}  // namespace

EXPORTED int round_bfloat16(const float* in, bf16* out, int64_t n) {
  return launch(round_kernel<bf16>, kShape, in, out, n);
}
EXPORTED int round_float16(const float* in, half_t* out, int64_t n) {
  return launch(round_kernel<half_t>, kShape, in, out, n);
}
EXPORTED int widen_bfloat16(const bf16* in, float* out, int64_t n) {
  return launch(widen_kernel<bf16>, kShape, in, out, n);
}
EXPORTED int widen_float16(const half_t* in, float* out, int64_t n) {
  return launch(widen_kernel<half_t>, kShape, in, out, n);
}

EXPORTED int pack_bfloat16(const float* in, uint32_t* packed, float* out, int pairs) {
  return launch(pack_kernel<bf16>, {1, pairs, 0, 1, false, nullptr}, in, packed, out);
}
EXPORTED int pack_float16(const float* in, uint32_t* packed, float* out, int pairs) {
  return launch(pack_kernel<half_t>, {1, pairs, 0, 1, false, nullptr}, in, packed, out);
}

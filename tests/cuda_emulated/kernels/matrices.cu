// Test kernels: one warp's ldmatrix, stmatrix and mma.sync, operands and results by the PTX manual's fragment layouts.
#include "cuda/instructions/matrix.cuh"
#include "cuda/instructions/wgmma.cuh"
#include "exported.h"

using namespace bt::cuda;

namespace {

// in, out: 32 rows of 8 numbers, four matrices; transposed: each of them. Back to shared memory by another instruction
// than the one that loaded: plain stores by the fragment's definition.
__global__ void matrices_kernel(const uint16_t* in, uint16_t* out, bool transposed, int misaligned) {
  uint16_t* shared = dynamic_shared<uint16_t>();
  const int lane = lane_id();
  for (int i = 0; i < 8; ++i) shared[lane * 8 + i] = in[lane * 8 + i];
  sync_warp();
  uint32_t r[4];
  const uint16_t* row = shared + lane * 8 + misaligned;
  transposed ? load_matrix_x4_transposed(r, row) : load_matrix_x4(r, row);
  for (int matrix = 0; matrix < 4; ++matrix) {
    for (int i = 0; i < 2; ++i) {
      out[matrix * 64 + lane / 4 * 8 + lane % 4 * 2 + i] = static_cast<uint16_t>(r[matrix] >> 16 * i);
    }
  }
}

// What load_matrix_x4 loaded, stored transposed.
__global__ void store_kernel(const uint16_t* in, uint16_t* out) {
  uint16_t* shared = dynamic_shared<uint16_t>();
  const int lane = lane_id();
  for (int i = 0; i < 8; ++i) shared[lane * 8 + i] = in[lane * 8 + i];
  sync_warp();
  uint32_t r[4];
  load_matrix_x4(r, shared + lane * 8);
  sync_warp();
  store_matrix_x4_transposed(shared + lane * 8, r);
  sync_warp();
  for (int i = 0; i < 8; ++i) out[lane * 8 + i] = shared[lane * 8 + i];
}

// One matrix, transposed in registers.
__global__ void transpose_kernel(const uint32_t* in, uint32_t* out) {
  out[lane_id()] = transpose_matrix(in[lane_id()]);
}

// d (16, 8) += a (16, 16) b (16, 8)
template <typename T>
__global__ void multiply_16_kernel(const T* a, const T* b, float* d) {
  const int group = lane_id() / 4, pair = lane_id() % 4 * 2;
  const auto two = [](T low, T high) { return pack<T>(to_float(low), to_float(high)); };
  uint32_t ra[4], rb[2];
  for (int i = 0; i < 4; ++i) {
    const T* from = a + (group + i % 2 * 8) * 16 + pair + i / 2 * 8;
    ra[i] = two(from[0], from[1]);
  }
  for (int i = 0; i < 2; ++i) rb[i] = two(b[(pair + i * 8) * 8 + group], b[(pair + i * 8 + 1) * 8 + group]);
  float rd[4];
  for (int i = 0; i < 4; ++i) rd[i] = d[(group + i / 2 * 8) * 8 + pair + i % 2];
  multiply_16<T>(rd, ra, rb);
  for (int i = 0; i < 4; ++i) d[(group + i / 2 * 8) * 8 + pair + i % 2] = rd[i];
}

// d (16, 8) += a (16, 8) b (8, 8)
__global__ void multiply_tf32_kernel(const float* a, const float* b, float* d) {
  const int group = lane_id() / 4, within = lane_id() % 4;
  uint32_t ra[4], rb[2];
  for (int i = 0; i < 4; ++i) ra[i] = float_bits(a[(group + i % 2 * 8) * 8 + within + i / 2 * 4]);
  for (int i = 0; i < 2; ++i) rb[i] = float_bits(b[(within + i * 4) * 8 + group]);
  float rd[4];
  for (int i = 0; i < 4; ++i) rd[i] = d[(group + i / 2 * 8) * 8 + within * 2 + i % 2];
  multiply_tf32(rd, ra, rb);
  for (int i = 0; i < 4; ++i) d[(group + i / 2 * 8) * 8 + within * 2 + i % 2] = rd[i];
}

constexpr Launch kWarp{1, 32, 1024, 1, false, nullptr};

}  // namespace

EXPORTED int matrices(const uint16_t* in, uint16_t* out, bool transposed, int misaligned) {
  return launch(matrices_kernel, kWarp, in, out, transposed, misaligned);
}
EXPORTED int transpose(const uint32_t* in, uint32_t* out) { return launch(transpose_kernel, kWarp, in, out); }
EXPORTED int store(const uint16_t* in, uint16_t* out) { return launch(store_kernel, kWarp, in, out); }
EXPORTED int multiply_bfloat16(const bf16* a, const bf16* b, float* d) {
  return launch(multiply_16_kernel<bf16>, kWarp, a, b, d);
}
EXPORTED int multiply_float16(const half_t* a, const half_t* b, float* d) {
  return launch(multiply_16_kernel<half_t>, kWarp, a, b, d);
}
EXPORTED int multiply_float32(const float* a, const float* b, float* d) {
  return launch(multiply_tf32_kernel, kWarp, a, b, d);
}

// The emulated GPU's side of csrc/cuda/instructions/wgmma.cuh.
#pragma once

#include "cuda/instructions/matrix.cuh"

namespace bt::cuda {

enum class Major { k, mn };

inline uint64_t matrix_descriptor(const void* shared, int leading_bytes, int stride_bytes) {
  return emulated::matrix_descriptor(shared, leading_bytes, stride_bytes);
}

inline void wgmma_fence() { emulated::wgmma_fence(); }
inline void wgmma_commit() { emulated::wgmma_commit(); }

template <int PENDING>
void wgmma_wait() {
  emulated::wgmma_wait(PENDING);
}

template <int COUNT>
void wgmma_fence_registers(float (&)[COUNT]) {}

template <typename T, int N, Major A, Major B>
void wgmma(float (&d)[N / 2], uint64_t a, uint64_t b) {
  static_assert(N == 128 || N == 256);
  static_assert(sizeof(T) == 2 || (A == Major::k && B == Major::k), "tf32 operands are contiguous along k");
  emulated::wgmma(kNumber<T>, N, A == Major::mn, B == Major::mn, d, a, b);
}

template <int N>
void wgmma_tf32(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t b) {
  static_assert(N == 128 || N == 256);
  emulated::wgmma(emulated::Number::tf32, N, false, false, d, 0, b, a);
}

template <int COUNT>
void raise_registers() {
  emulated::set_registers(COUNT);
}

template <int COUNT>
void lower_registers() {
  emulated::set_registers(COUNT);
}

inline void store_matrix_x4_transposed(void* row, const uint32_t (&r)[4]) {
  emulated::store_matrices_transposed(row, r);
}

}  // namespace bt::cuda

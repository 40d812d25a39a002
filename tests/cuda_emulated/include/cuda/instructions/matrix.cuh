// The emulated GPU's side of csrc/cuda/instructions/matrix.cuh.
#pragma once

#include <type_traits>

#include "cuda/instructions/numbers.cuh"
#include "emulated/matrices.h"

namespace bt::cuda {

template <typename T>
constexpr emulated::Number kNumber = emulated::Number::tf32;
template <>
inline constexpr emulated::Number kNumber<bf16> = emulated::Number::bfloat16;
template <>
inline constexpr emulated::Number kNumber<half_t> = emulated::Number::float16;

inline void load_matrix_x4(uint32_t (&r)[4], const void* row) { emulated::load_matrices(r, row, false); }
inline void load_matrix_x4_transposed(uint32_t (&r)[4], const void* row) { emulated::load_matrices(r, row, true); }

inline uint32_t transpose_matrix(uint32_t r) { return emulated::transposed_matrix(r); }

template <typename T>
void multiply_16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  static_assert(sizeof(T) == 2);
  emulated::multiply(kNumber<T>, d, a, b);
}

inline void multiply_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  emulated::multiply(emulated::Number::tf32, d, a, b);
}

}  // namespace bt::cuda

// Pieces of K and of C, the operands of the backward, from registers to global memory.
#pragma once

#include "cuda/instructions/numbers.cuh"
#include "cuda/numeric.h"

namespace bt::cuda {

template <typename T, bool TF32>
__device__ __forceinline__ T as_operand(float x) {
  return from_float<T>(TF32 ? round_to_tf32(x) : x);
}

// Two 8 x 8 pieces next to each other, of which a lane has two numbers of each: left's from (row, column) on, right's 8
// columns on. A row of both is 32 bytes, but no store of a warp would write them together: lanes of neighbouring rows
// exchange halves, so that each of the two stores fills the sectors of every other row. rows, columns: those that
// exist; an even number of columns fits into a row. All lanes.
template <typename T>
__device__ __forceinline__ void store_next_to_each_other(T* matrix, int64_t ld, int64_t row, int64_t column,
                                                         uint32_t left, uint32_t right, int64_t rows, int64_t columns) {
  const bool odd = lane_id() / 4 % 2 != 0;
  const uint32_t other = shuffle_xor(odd ? left : right, 4);  // the odd row's left half, the even row's right half
  const uint32_t of_even = odd ? other : left, of_odd = odd ? right : other;
  if (odd) row -= 1, column += 8;
  T* out = matrix + row * ld + column;
  if (row < rows && column < columns) *reinterpret_cast<uint32_t*>(out) = of_even;
  if (row + 1 < rows && column < columns) *reinterpret_cast<uint32_t*>(out + ld) = of_odd;
}

}  // namespace bt::cuda

// Pieces of K and of C, the operands of the backward, from registers to global memory.
#pragma once

#include "cuda/instructions/numbers.cuh"
#include "cuda/numeric.h"

namespace bt::cuda {

template <typename T, bool TF32>
__device__ __forceinline__ T as_operand(float x) {
  return from_float<T>(TF32 ? round_to_tf32(x) : x);
}

// Stores 8 x 8 pieces of a matrix two by two, next to each other in a row of pieces.
//
// A row of both is 32 bytes of 16-bit numbers, a sector, but no store of a warp would write them together: lanes of
// neighbouring rows exchange halves, and each of the two stores fills the sectors of every other row. float32 fills
// sectors as it is.
template <typename T, bool TF32>
class PiecePairs {
  static constexpr bool kExchange = sizeof(T) == 2;

 public:
  // (row, column): of the calling lane's first number in the first piece.
  __device__ __forceinline__ PiecePairs(T* matrix, int64_t ld, int row, int column)
      : odd_(lane_id() / 4 % 2 != 0), row_(row), column_(column), ld_(ld) {
    if (kExchange && odd_) row_ -= 1, column_ += 8;
    out_ = matrix + row_ * ld + column_;
  }

  // Of the pair `down` rows and `across` columns on: the lane's two numbers in the left piece and in the right one.
  // rows, columns: those that exist, unless the WHOLE pair does. Rows have an even length, padding included. All lanes.
  template <bool WHOLE>
  __device__ __forceinline__ void put(int down, int across, const float (&left)[2], const float (&right)[2],
                                      int64_t rows = 0, int64_t columns = 0) const {
    if constexpr (kExchange) {
      put_words<WHOLE>(down, across, pack<T>(left[0], left[1]), pack<T>(right[0], right[1]), rows, columns);
    } else {
      const Pair pairs[2] = {{as_operand<T, TF32>(left[0]), as_operand<T, TF32>(left[1])},
                             {as_operand<T, TF32>(right[0]), as_operand<T, TF32>(right[1])}};
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        Pair* const target = reinterpret_cast<Pair*>(out_ + down * ld_ + across + 8 * i);
        if (WHOLE || (row_ + down < rows && column_ + across + 8 * i < columns)) *target = pairs[i];
      }
    }
  }

  // The same of 16-bit numbers that are packed.
  template <bool WHOLE>
  __device__ __forceinline__ void put_words(int down, int across, uint32_t left, uint32_t right, int64_t rows = 0,
                                            int64_t columns = 0) const {
    static_assert(kExchange);
    const uint32_t other = shuffle_xor(odd_ ? left : right, 4);  // an odd row's left half, an even row's right half
    const uint32_t words[2] = {odd_ ? other : left, odd_ ? right : other};
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      uint32_t* const target = reinterpret_cast<uint32_t*>(out_ + (down + i) * ld_ + across);
      if (WHOLE || (row_ + down + i < rows && column_ + across < columns)) *target = words[i];
    }
  }

 private:
  bool odd_;
  int row_, column_;  // of the lane's first store
  int64_t ld_;
  T* out_;
};

}  // namespace bt::cuda

// One warp's share of a product from operands in shared memory: the three ways to multiply that every GPU from sm_80 on
// has.
//
// step(d, a, b, k) adds kDepth of the summed index, from k on, for the warp's rows of A's tile and columns of B's;
// kUnroll steps are worth to be laid out one after the other. A tile with Major::k has the operand's own index as rows
// and k as columns; Major::mn the other way round.
#pragma once

#include "cuda/instructions/matrix.cuh"
#include "cuda/product/tile.cuh"

namespace bt::cuda {

// The 16-byte pieces that ldmatrix takes: four 8 x 8 blocks of 16-bit numbers (8 x 4 of 32-bit ones), two along the
// operand's own index and two along k. OWN_FIRST: the order of the four: A's fragments have the own index first, B's
// the other one.
template <typename T, Major MAJOR, bool OWN_FIRST, typename Tile>
__device__ __forceinline__ void load_blocks(uint32_t (&r)[4], const unsigned char* tile, int own, int k) {
  const int lane = lane_id(), block = lane / 8;
  const int along_own = OWN_FIRST ? block % 2 : block / 2, along_k = OWN_FIRST ? block / 2 : block % 2;
  constexpr int kPiece = 16 / static_cast<int>(sizeof(T));
  if constexpr (MAJOR == Major::k) {
    load_matrix_x4(r, tile + Tile::offset(own + 8 * along_own, lane % 8, k + kPiece * along_k));
  } else {
    static_assert(sizeof(T) == 2);
    load_matrix_x4_transposed(r, tile + Tile::offset(k + 8 * along_k, lane % 8, own + 8 * along_own));
  }
}

// Row first_row + row, first_row a multiple of 8 and row below 8.
template <typename T, typename Tile>
__device__ __forceinline__ float number_at(const unsigned char* tile, int first_row, int row, int column) {
  return *reinterpret_cast<const float*>(tile + Tile::offset(first_row, row, column));
}

// bf16 and half_t: mma.sync m16n8k16.
template <typename T>
struct NarrowMultiply {
  using Element = T;
  static constexpr int kDepth = 16, kUnroll = 4;

  template <Major A, Major B, typename TileA, typename TileB, int ROWS, int COLUMNS>
  static __device__ __forceinline__ void step(float (&d)[ROWS * COLUMNS / 32], const unsigned char* a,
                                              const unsigned char* b, int row, int column, int k) {
    uint32_t fragments[ROWS / 16][4];
#pragma unroll
    for (int i = 0; i < ROWS / 16; ++i) load_blocks<T, A, true, TileA>(fragments[i], a, row + 16 * i, k);
#pragma unroll
    for (int j = 0; j < COLUMNS / 16; ++j) {
      uint32_t both[4];
      load_blocks<T, B, false, TileB>(both, b, column + 16 * j, k);
      const uint32_t left[2] = {both[0], both[1]}, right[2] = {both[2], both[3]};
#pragma unroll
      for (int i = 0; i < ROWS / 16; ++i) {
        float (*piece)[4] = reinterpret_cast<float (*)[4]>(d) + i * (COLUMNS / 8) + 2 * j;
        multiply_16<T>(piece[0], fragments[i], left);
        multiply_16<T>(piece[1], fragments[i], right);
      }
    }
  }
};

// float32 rounded to tf32: mma.sync m16n8k8.
struct Tf32Multiply {
  using Element = float;
  static constexpr int kDepth = 8, kUnroll = 4;

  // ldmatrix transposes 16-bit numbers alone. INTERLEAVED: of the 8 of k, the fragments' first and second four are even
  // and odd ones. In which order they are summed is free as long as both operands agree, and rows 0, 2, 4, 6 lie in
  // different banks.
  template <Major MAJOR, bool OWN_FIRST, bool INTERLEAVED, typename Tile>
  static __device__ __forceinline__ void load(uint32_t (&r)[4], const unsigned char* tile, int own, int k) {
    if constexpr (MAJOR == Major::k) {
      static_assert(!INTERLEAVED);
      load_blocks<float, MAJOR, OWN_FIRST, Tile>(r, tile, own, k);
    } else {
      const int g = lane_id() / 4, t = lane_id() % 4;
#pragma unroll
      for (int block = 0; block < 4; ++block) {
        const int along_own = OWN_FIRST ? block % 2 : block / 2, along_k = OWN_FIRST ? block / 2 : block % 2;
        const int row = INTERLEAVED ? 2 * t + along_k : 4 * along_k + t;
        r[block] = float_bits(number_at<float, Tile>(tile, k, row, own + 8 * along_own + g));
      }
    }
  }

  template <Major A, Major B, typename TileA, typename TileB, int ROWS, int COLUMNS>
  static __device__ __forceinline__ void step(float (&d)[ROWS * COLUMNS / 32], const unsigned char* a,
                                              const unsigned char* b, int row, int column, int k) {
    constexpr bool kInterleaved = A == Major::mn && B == Major::mn;
    uint32_t fragments[ROWS / 16][4];
#pragma unroll
    for (int i = 0; i < ROWS / 16; ++i) load<A, true, kInterleaved, TileA>(fragments[i], a, row + 16 * i, k);
#pragma unroll
    for (int j = 0; j < COLUMNS / 16; ++j) {
      uint32_t both[4];
      load<B, false, kInterleaved, TileB>(both, b, column + 16 * j, k);
      const uint32_t left[2] = {both[0], both[1]}, right[2] = {both[2], both[3]};
#pragma unroll
      for (int i = 0; i < ROWS / 16; ++i) {
        float (*piece)[4] = reinterpret_cast<float (*)[4]>(d) + i * (COLUMNS / 8) + 2 * j;
        multiply_tf32(piece[0], fragments[i], left);
        multiply_tf32(piece[1], fragments[i], right);
      }
    }
  }
};

// float32 as it is: fused multiply-adds, each thread for the numbers that a tensor core would give it.
struct IeeeMultiply {
  using Element = float;
  static constexpr int kDepth = 4, kUnroll = 2;

  struct alignas(16) Four {
    float x[4];
  };

  // Numbers k .. k + 3 of one row of the operand: one access where they lie side by side.
  template <Major MAJOR, typename Tile>
  static __device__ __forceinline__ Four load(const unsigned char* tile, int own, int k) {
    if constexpr (MAJOR == Major::k) {
      return *reinterpret_cast<const Four*>(tile + Tile::offset(own, k));
    } else {
      const int eight = k / 8 * 8, row = k % 8;
      return {{number_at<float, Tile>(tile, eight, row, own), number_at<float, Tile>(tile, eight, row + 1, own),
               number_at<float, Tile>(tile, eight, row + 2, own), number_at<float, Tile>(tile, eight, row + 3, own)}};
    }
  }

  template <Major A, Major B, typename TileA, typename TileB, int ROWS, int COLUMNS>
  static __device__ __forceinline__ void step(float (&d)[ROWS * COLUMNS / 32], const unsigned char* a,
                                              const unsigned char* b, int row, int column, int k) {
    const int g = lane_id() / 4, t = lane_id() % 4;
    Four rows[ROWS / 8];
#pragma unroll
    for (int i = 0; i < ROWS / 8; ++i) rows[i] = load<A, TileA>(a, row + 8 * i + g, k);
#pragma unroll
    for (int j = 0; j < COLUMNS / 8; ++j) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const Four other = load<B, TileB>(b, column + 8 * j + 2 * t + e, k);
#pragma unroll
        for (int i = 0; i < ROWS / 8; ++i) {
          float& sum = d[4 * (i / 2 * (COLUMNS / 8) + j) + 2 * (i % 2) + e];
#pragma unroll
          for (int l = 0; l < 4; ++l) sum += rows[i].x[l] * other.x[l];
        }
      }
    }
  }
};

}  // namespace bt::cuda

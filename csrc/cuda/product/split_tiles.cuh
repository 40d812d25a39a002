// Tiles of a product over shares of its summed index (split tiles) in global memory, in the order of the registers that
// they come from. The kernel that adds them goes by the same order, so every access is 16 bytes per thread and 512 per
// warp and nothing is converted.
//
//     split_tiles[split][tile][piece][thread] of four float32; piece = row_tile * kColumnTiles + column_tile
#pragma once

#include "cuda/product/tile.cuh"

namespace bt::cuda {

// A thread's four numbers of a piece.
struct alignas(16) ThreadPiece {
  float x[4];
};

// thread: of those that computed the tile.
template <typename Product>
__device__ __forceinline__ ThreadPiece* split_tile(float* split_tiles, int64_t tile, int thread) {
  return reinterpret_cast<ThreadPiece*>(split_tiles) + tile * (Product::kRows * Product::kColumns / 4) + thread;
}

template <typename Product>
__device__ __forceinline__ void store_split_tile(float* split_tiles, int64_t tile,
                                                 const float (&d)[Fragment<Product>::kValues]) {
  ThreadPiece* out = split_tile<Product>(split_tiles, tile, static_cast<int>(threadIdx.x));
#pragma unroll
  for (int piece = 0; piece < Fragment<Product>::kValues / 4; ++piece) {
    const float* x = d + 4 * piece;
    const ThreadPiece four{{x[0], x[1], x[2], x[3]}};
    out[piece * Product::kWorkers] = four;
  }
}

struct SplitRange {
  int first, step, end;
};

// The sum of a thread's piece over the splits, in their order. A few of them are loaded at once.
template <typename Product>
__device__ __forceinline__ ThreadPiece add_split_tiles(float* split_tiles, SplitRange splits, int64_t tiles,
                                                       int64_t tile, int thread, int piece) {
  constexpr int kAhead = 4;
  ThreadPiece sum{};
#pragma unroll 1
  for (int first = splits.first; first < splits.end; first += kAhead * splits.step) {
    ThreadPiece parts[kAhead]{};
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int split = first + i * splits.step;
      if (split < splits.end) {
        parts[i] = split_tile<Product>(split_tiles, split * tiles + tile, thread)[piece * Product::kWorkers];
      }
    }
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
#pragma unroll
      for (int v = 0; v < 4; ++v) sum.x[v] += parts[i].x[v];
    }
  }
  return sum;
}

}  // namespace bt::cuda

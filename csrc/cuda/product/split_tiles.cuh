// Partial tiles of a split product in global memory, in the order of the registers that they come from: the kernel that
// adds them goes by the same order, so every access is 16 bytes per thread and 512 per warp and nothing is converted.
//
//     partial[split][tile][piece][thread] of four float32; piece = row_tile * kColumnTiles + column_tile
#pragma once

#include "cuda/product/tile.cuh"

namespace bt::cuda {

struct alignas(16) PartialPiece {
  float x[4];
};

// thread: of those that computed the tile.
template <typename Product>
__device__ __forceinline__ PartialPiece* partial_tile(float* partial, int64_t tile, int thread) {
  return reinterpret_cast<PartialPiece*>(partial) + tile * (Product::kRows * Product::kColumns / 4) + thread;
}

template <typename Product>
__device__ __forceinline__ void store_partial(float* partial, int64_t tile,
                                              const float (&d)[Fragment<Product>::kValues]) {
  PartialPiece* out = partial_tile<Product>(partial, tile, static_cast<int>(threadIdx.x));
#pragma unroll
  for (int piece = 0; piece < Fragment<Product>::kValues / 4; ++piece) {
    const float* x = d + 4 * piece;
    const PartialPiece four{{x[0], x[1], x[2], x[3]}};
    out[piece * Product::kWorkers] = four;
  }
}

struct SplitRange {
  int first, step, end;
};

// The sum of a thread's piece over the splits, in their order. A few of them are loaded at once.
template <typename Product>
__device__ __forceinline__ PartialPiece add_partial(float* partial, SplitRange splits, int64_t tiles, int64_t tile,
                                                    int thread, int piece) {
  constexpr int kAhead = 4;
  PartialPiece sum{};
#pragma unroll 1
  for (int first = splits.first; first < splits.end; first += kAhead * splits.step) {
    PartialPiece parts[kAhead]{};
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int split = first + i * splits.step;
      if (split < splits.end) {
        parts[i] = partial_tile<Product>(partial, split * tiles + tile, thread)[piece * Product::kWorkers];
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

// The two passes that a backward's epilogue makes over the accumulators of its tile, and the memory that it needs.
#pragma once

#include "cuda/numeric.h"
#include "cuda/product/backward_tile.cuh"

namespace bt::cuda {

// After the tiles of y: the block's sums, and the factors of its features.
template <typename Product>
constexpr int backward_shared_bytes() {
  constexpr int kSums = Fragment<Product>::kWarpsAcross * Product::kRows * static_cast<int>(sizeof(float));
  constexpr int kFactors = Product::kRows * static_cast<int>(sizeof(FeatureGradient));
  constexpr int kEpilogue = BackwardTile<Product>::kSharedBytes + kSums + kFactors;
  return Product::kSharedBytes > kEpilogue ? Product::kSharedBytes : kEpilogue;
}

// sums[w][row]: the part of sum_n T y_own that the w-th of the warps next to each other has, per feature row of the
// tile.
template <typename Product>
__device__ __forceinline__ void row_sums(const float (&d)[Fragment<Product>::kValues],
                                         const BackwardTile<Product>& tile, float* sums) {
  using Pieces = Fragment<Product>;
#pragma unroll
  for (int i = 0; i < Pieces::kRowTiles; ++i) {
    float sum[2] = {0, 0};
#pragma unroll
    for (int j = 0; j < Pieces::kColumnTiles; j += 2) {
      const FourPairs y = tile.own(i, j);
#pragma unroll
      for (int b = 0; b < 4; ++b) {
        const float* t = d + Pieces::index(i, j + b / 2, 2 * (b % 2));
        sum[b % 2] += t[0] * y.pairs[b].low + t[1] * y.pairs[b].high;
      }
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float total = sum_over_row(sum[half]);
      if (lane_id() % 4 == 0) {
        sums[warp_id() % Pieces::kWarpsAcross * Product::kRows + Pieces::first_row() + 16 * i + 8 * half] = total;
      }
    }
  }
}

// All of a row: the parts of the warps next to each other, in their order.
template <typename Product>
__device__ __forceinline__ float add_row_sums(const float* sums, int row) {
  float sum = sums[row];
  for (int w = 1; w < Fragment<Product>::kWarpsAcross; ++w) sum += sums[w * Product::kRows + row];
  return sum;
}

// dz of the tile from the factors of its features.
template <typename Product>
__device__ __forceinline__ void write_gradient(const float (&d)[Fragment<Product>::kValues],
                                               BackwardTile<Product>& tile, const FeatureGradient* factors) {
  using Pieces = Fragment<Product>;
#pragma unroll
  for (int i = 0; i < Pieces::kRowTiles; ++i) {
    const FeatureGradient upper = factors[Pieces::first_row() + 16 * i],
                          lower = factors[Pieces::first_row() + 16 * i + 8];
#pragma unroll
    for (int j = 0; j < Pieces::kColumnTiles; j += 2) {
      const FourPairs own = tile.own(i, j), other = tile.other(i, j);
      FourPairs dz;
#pragma unroll
      for (int b = 0; b < 4; ++b) {
        const FeatureGradient& f = b % 2 == 0 ? upper : lower;
        const float* t = d + Pieces::index(i, j + b / 2, 2 * (b % 2));
        dz.pairs[b].low = feature_gradient(f, t[0], own.pairs[b].low, other.pairs[b].low);
        dz.pairs[b].high = feature_gradient(f, t[1], own.pairs[b].high, other.pairs[b].high);
      }
      tile.put(i, j, dz);
    }
  }
  tile.finish();
}

}  // namespace bt::cuda

// gram: split tiles of K_a = y_a y_a^T and K_b = y_b y_b^T over shares of the features.
//
//     split_tiles[s][v][t] = y_v[rows of t, s-th features] y_v[columns of t, s-th features]^T
//
// Only the tiles that have numbers on or above the diagonal exist (GramTiles), so the symmetric K is computed once. N^2
// tiles alone cannot fill a GPU, hence the shares. Operands as standardize left them, float32 accumulators;
// gram_combine adds the shares in their order.
//
// Grid: splits x views x tiles. On Hopper the tiles of one square of K are a cluster and fetch its columns once.
#pragma once

#include "cuda/instructions/grid.cuh"
#include "cuda/product/split_tiles.cuh"
#include "cuda/schedule/tiles.h"

namespace bt::cuda {

template <typename Product>
struct GramTilesArguments {
  typename Product::Operand rows, columns;  // both of y (2, N, D)
  float* split_tiles;                       // (splits, 2, tiles) of Product's tiles
  int64_t d, share;
  int tiles;
};

template <typename Product>
__global__ void __launch_bounds__(Product::kThreads, Product::kBlocksPerMultiprocessor)
    gram_tiles_kernel(const __grid_constant__ GramTilesArguments<Product> arguments) {
  start_next_grid();  // Product::run waits for the previous one
  const int block = static_cast<int>(blockIdx.x);
  const int tile = block % arguments.tiles, view = block / arguments.tiles % 2, split = block / arguments.tiles / 2;
  const TileIndex origin = GramTiles{Product::kRows, Product::kColumns}.origin(tile);
  const int64_t begin = split * arguments.share;
  const int64_t end = begin + arguments.share < arguments.d ? begin + arguments.share : arguments.d;
  const ProductTile product{view, origin.row, view, origin.column, static_cast<int>(begin), static_cast<int>(end)};
  Product::template run<Product::kClusterShares ? Shared::b : Shared::none, 0>(
      arguments.rows, arguments.columns, product, [&](const float (&d)[Fragment<Product>::kValues]) {
        store_split_tile<Product>(arguments.split_tiles, block, d);
      });
}

}  // namespace bt::cuda

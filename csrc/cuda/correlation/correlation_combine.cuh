// correlation, where the batch is split: adds the split tiles of each tile of C in their order and reduces it.
//
// Forward::partial leaves the tile in float32 instead, and Forward::total reduces C that was added up elsewhere.
//
// Grid: tiles, in the order of correlation_tiles, x slices of 64 columns; threads as those that computed the tile, so
// they find its numbers in the order of their own registers.
#pragma once

#include "cuda/correlation/correlation_tiles.cuh"

namespace bt::cuda {

struct CorrelationCombineArguments {
  float* split_tiles;  // (splits, tiles) tiles
  CorrelationGrid grid;
  CorrelationOutputs outputs;
  TermSums sums;  // counter null: no terms are wanted
};

template <typename Product, bool TF32, Forward FORWARD>
__global__ void __launch_bounds__(Product::kWorkers, Product::kClusterShares ? 3 : 2)
    correlation_combine_kernel(const __grid_constant__ CorrelationCombineArguments arguments) {
  using Pieces = Fragment<Product>;
  constexpr int kColumnTiles = kSquaresShare / 8, kSlices = Pieces::kColumnTiles / kColumnTiles;
  start_next_grid();
  wait_for_previous_grid();
  const int64_t tile = blockIdx.x / kSlices;
  const int first_piece = static_cast<int>(blockIdx.x % kSlices) * kColumnTiles;
  const TileIndex index = grouped_tile(tile, arguments.grid.row_tiles, arguments.grid.column_tiles, kTileGroup);
  const int tile_row = index.row * Product::kRows, tile_column = index.column * Product::kColumns;
  float d[4 * Pieces::kRowTiles * kColumnTiles];
  if constexpr (FORWARD == Forward::total) {
    load_correlation<Product, kColumnTiles>(d, arguments.outputs, tile_row, tile_column, first_piece);
  } else {
#pragma unroll
    for (int i = 0; i < Pieces::kRowTiles; ++i) {
#pragma unroll
      for (int j = 0; j < kColumnTiles; ++j) {
        const ThreadPiece sum =
            add_split_tiles<Product>(arguments.split_tiles, {0, 1, arguments.grid.splits}, arguments.grid.tiles(), tile,
                                     static_cast<int>(threadIdx.x), i * Pieces::kColumnTiles + first_piece + j);
#pragma unroll
        for (int v = 0; v < 4; ++v) d[4 * (i * kColumnTiles + j) + v] = sum.x[v];
      }
    }
  }
  if constexpr (FORWARD == Forward::partial) {
    store_correlation<Product, kColumnTiles>(d, arguments.outputs, tile_row, tile_column, first_piece);
  } else {
    unsigned char* shared = dynamic_shared<unsigned char>();
    const double squares = reduce_correlation<Product, TF32, kColumnTiles>(
        d, arguments.outputs, {tile_row, tile_column, first_piece}, reinterpret_cast<float*>(shared));
    if (arguments.sums.counter == nullptr) return;
    const auto sync = [] { sync_block(); };
    double* sums = reinterpret_cast<double*>(shared);
    finish_terms(arguments.sums, block_sum(squares, sums, Product::kWorkers, sync), sums, Product::kWorkers, sync);
  }
}

}  // namespace bt::cuda

// correlation: tiles of the cross-correlation matrix C = y_own^T y_other / N, reduced as they are finished.
//
// The product runs over the batch. With one split a block finishes its tile and correlation_epilogue reduces it there,
// and the last block writes the loss; where D is too small to fill the GPU the batch is split as well, and
// correlation_combine adds the split tiles. Of a partial forward the tile leaves as it is, in float32.
//
// Rows of C are the features first_row .. first_row + height of view `own`, columns all features of the other view: own
// = 1 gives rows of C^T, from which the backward of a forced correlation gets dz_b. Grid: splits x tiles, columns of
// tiles one after the other, eight rows of tiles at a time; on Hopper two tiles above each other are a cluster and
// fetch their columns once.
#pragma once

#include "cuda/correlation/correlation_epilogue.cuh"
#include "cuda/instructions/grid.cuh"
#include "cuda/product/split_tiles.cuh"
#include "cuda/schedule/tiles.h"

namespace bt::cuda {

struct CorrelationGrid {
  int row_tiles, column_tiles;  // row_tiles a multiple of the cluster's blocks
  int splits;

  BT_HOST_DEVICE int64_t tiles() const { return static_cast<int64_t>(row_tiles) * column_tiles; }
};

constexpr int kTileGroup = 8;  // rows of tiles that are walked together: their operands stay in L2

template <typename Product>
struct CorrelationTilesArguments {
  typename Product::Operand own, other;  // both of y (2, N, D)
  int own_view;
  float* split_tiles;  // (splits, tiles) tiles; null: one split
  CorrelationGrid grid;
  int64_t n, share;  // samples, and those of a split
  CorrelationOutputs outputs;
  TermSums sums;  // counter null: no terms are wanted
};

template <typename Product>
constexpr int kCorrelationWarps = Product::kWorkers / 32 / Fragment<Product>::kWarpsAcross;

template <typename Product, bool TF32>
__global__ void __launch_bounds__(Product::kThreads, Product::kBlocksPerMultiprocessor)
    correlation_tiles_kernel(const __grid_constant__ CorrelationTilesArguments<Product> arguments) {
  using Pieces = Fragment<Product>;
  start_next_grid();  // Product::run waits for the previous one
  const CorrelationOutputs& out = arguments.outputs;
  const int64_t tiles = arguments.grid.tiles();
  const int split = static_cast<int>(blockIdx.x / tiles);
  const TileIndex index =
      grouped_tile(blockIdx.x % tiles, arguments.grid.row_tiles, arguments.grid.column_tiles, kTileGroup);
  const int tile_row = index.row * Product::kRows, tile_column = index.column * Product::kColumns;
  const int64_t begin = split * arguments.share;
  const int64_t end = begin + arguments.share < arguments.n ? begin + arguments.share : arguments.n;
  const ProductTile product{arguments.own_view, out.first_row + tile_row, 1 - arguments.own_view,
                            tile_column,        static_cast<int>(begin),  static_cast<int>(end)};
  Product::template run<Product::kClusterShares ? Shared::b : Shared::none, 0>(
      arguments.own, arguments.other, product, [&](const float (&d)[Pieces::kValues]) {
        if (arguments.split_tiles != nullptr) {
          store_split_tile<Product>(arguments.split_tiles, blockIdx.x, d);
          return;
        }
        if (out.c != nullptr) {
          store_correlation<Product, Pieces::kColumnTiles>(d, out, tile_row, tile_column, 0);
          return;
        }
        unsigned char* shared = dynamic_shared<unsigned char>();
        const double squares = reduce_correlation<Product, TF32, Pieces::kColumnTiles>(
            d, out, {tile_row, tile_column, 0}, reinterpret_cast<float*>(shared));
        if (arguments.sums.counter == nullptr) return;
        const auto sync = [] { Product::sync_workers(); };
        double* sums = reinterpret_cast<double*>(shared);
        finish_terms(arguments.sums, block_sum(squares, sums, Product::kWorkers, sync), sums, Product::kWorkers, sync);
      });
}

}  // namespace bt::cuda

// backward, Gram form, more samples than a cluster holds: T for a panel of features.
//
//     product[v][i][n]       T^T = y_own^T (K_other - shift I) / unit, float32
//     column_sums[v][t][i]   sum of T y_own over the samples of the t-th tile: what q is made of
//
// No block sees all samples of a feature, and q needs them, so T goes through memory, a panel at a time that stays in
// L2; gram_apply does the rest. Grid: views x tiles of the panel; on Hopper pairs of blocks share the features.
#pragma once

#include "cuda/instructions/grid.cuh"
#include "cuda/product/backward_epilogue.cuh"
#include "cuda/schedule/tiles.h"

namespace bt::cuda {

template <typename Product>
struct GramProductArguments {
  typename Product::Operand y, k;
  Matrix y_matrix;     // (2, N, D)
  float* product;      // (views, width, ldt)
  float* column_sums;  // (views, sample_tiles, width)
  int64_t n, ldt;
  int width, first_column;  // features of the panel, a multiple of kRows
  int sample_tiles;         // a multiple of the cluster's blocks
  int first_view;
};

template <typename Product>
__global__ void __launch_bounds__(Product::kThreads, Product::kBlocksPerMultiprocessor)
    gram_product_kernel(const __grid_constant__ GramProductArguments<Product> arguments) {
  using Pieces = Fragment<Product>;
  start_next_grid();  // Product::run waits for the previous one
  const int feature_tiles = arguments.width / Product::kRows, tiles = arguments.sample_tiles * feature_tiles;
  const int slot = static_cast<int>(blockIdx.x) / tiles, tile_index = static_cast<int>(blockIdx.x) % tiles;
  const int sample_tile = tile_index % arguments.sample_tiles, feature_tile = tile_index / arguments.sample_tiles;
  const int view = arguments.first_view + slot;
  const int within = feature_tile * Product::kRows, first_sample = sample_tile * Product::kColumns;
  const int first_feature = arguments.first_column + within;
  const ProductTile product{view, first_feature, 1 - view, first_sample, 0, static_cast<int>(arguments.n)};
  Product::template run<Product::kClusterShares ? Shared::a : Shared::none, 0>(
      arguments.y, arguments.k, product, [&](const float (&d)[Pieces::kValues]) {
        unsigned char* shared = dynamic_shared<unsigned char>();
        float* sums = reinterpret_cast<float*>(shared + BackwardTile<Product>::kSharedBytes);
        BackwardTile<Product> tile({arguments.y_matrix, nullptr, view, first_feature, first_sample}, shared);
        tile.template fetch<false>();
        float* out = arguments.product + (static_cast<int64_t>(slot) * arguments.width + within) * arguments.ldt;
#pragma unroll
        for (int i = 0; i < 2 * Pieces::kRowTiles; ++i) {
          float* row = out + (Pieces::first_row() + 8 * i) * arguments.ldt;
#pragma unroll
          for (int j = 0; j < Pieces::kColumnTiles; ++j) {
            const int64_t sample = first_sample + Pieces::first_column() + 8 * j;
            const float* t = d + Pieces::index(i / 2, j, 2 * (i % 2));
            // ldt is even and so is the first of the pair: the second may be in the padding.
            const Pair two{t[0], t[1]};
            if (sample < arguments.n) *reinterpret_cast<Pair*>(row + sample) = two;
          }
        }
        tile.ready();
        row_sums<Product>(d, tile, sums);
        Product::sync_workers();
        const int row = static_cast<int>(threadIdx.x);
        if (row < Product::kRows) {
          arguments.column_sums[(static_cast<int64_t>(slot) * arguments.sample_tiles + sample_tile) * arguments.width +
                                within + row] = add_row_sums<Product>(sums, row);
        }
      });
}

}  // namespace bt::cuda

// backward, correlation form: the product with C, and all of dz behind it.
//
//     dy^T = (2 w_off / N) C_off y_other^T + 2 w_on (C_ii - 1) y_other^T / N          C_off: c_off_diagonal
//     q    = 2 w_off sum_j C_off[i,j]^2 + 2 w_on (C_ii - 1) C_ii
//     dz   = rstd (dy - y_own q / M)
//
// for view a; for view b with C's columns in place of its rows. q is known before the product, from the forward's
// norms, so the product's epilogue finishes the gradient. The diagonal weighs in float32: C_off alone is rounded to the
// operands' type.
//
// Grid: tiles of features x samples, eight rows at a time; on Hopper two tiles above each other are a cluster and fetch
// their samples once.
#pragma once

#include "cuda/correlation/correlation_backward.h"
#include "cuda/correlation/correlation_tiles.cuh"
#include "cuda/product/backward_epilogue.cuh"

namespace bt::cuda {

template <typename Product>
struct CorrelationBackwardArguments {
  typename Product::Operand c_off_diagonal, y;  // c_off_diagonal: (width, D), or (D, width) for Major::mn; y (2, N, D)
  Matrix y_matrix;
  CorrelationBackward backward;
  int feature_tiles, sample_tiles;  // feature_tiles a multiple of the cluster's blocks
};

template <typename Product>
__global__ void __launch_bounds__(Product::kThreads, Product::kBlocksPerMultiprocessor)
    correlation_backward_kernel(const __grid_constant__ CorrelationBackwardArguments<Product> arguments) {
  start_next_grid();  // Product::run waits for the previous one
  const TileIndex index = grouped_tile(blockIdx.x, arguments.feature_tiles, arguments.sample_tiles, kTileGroup);
  const int within = index.row * Product::kRows, first_sample = index.column * Product::kColumns;
  const CorrelationBackward& backward = arguments.backward;
  const int view = backward.view;
  const ProductTile product{0, within, 1 - view, first_sample, 0, static_cast<int>(arguments.y_matrix.columns)};
  Product::template run<Product::kClusterShares ? Shared::b : Shared::none, 0>(
      arguments.c_off_diagonal, arguments.y, product, [&](const float (&d)[Fragment<Product>::kValues]) {
        unsigned char* shared = dynamic_shared<unsigned char>();
        FeatureGradient* factors = reinterpret_cast<FeatureGradient*>(shared + BackwardTile<Product>::kSharedBytes);
        const int first_feature = backward.first_column + within;
        BackwardTile<Product> tile({arguments.y_matrix, backward.dz, view, first_feature, first_sample}, shared);
        tile.template fetch<true>();
        const int row = static_cast<int>(threadIdx.x);
        if (row < Product::kRows && within + row < backward.width) {
          float squares = 0;
          for (int share = 0; share < backward.shares; ++share) {
            squares += backward.squares[static_cast<int64_t>(share) * backward.width + within + row];
          }
          const int64_t feature = first_feature + row;
          const TermWeights weights = term_weights(backward.gradients.loss, backward.gradients.on_diagonal,
                                                   backward.gradients.off_diagonal, backward.lambd, backward.scale);
          factors[row] = correlation_feature(squares, backward.c_diagonal[feature],
                                             backward.rstd[view * arguments.y_matrix.columns + feature], weights,
                                             backward.samples, backward.variance_divisor, backward.standardized);
        }
        tile.ready();
        Product::sync_workers();
        write_gradient<Product>(d, tile, factors);
      });
}

}  // namespace bt::cuda

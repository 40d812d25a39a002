// gradient, correlation form: the product with C, and the whole of dz behind it.
//
//     dy^T = (2 w_off / N) C_off y_other^T + 2 w_on (C_ii - 1) y_other^T / N          C_off: C without its diagonal
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

#include "cuda/correlation/correlation_tiles.cuh"
#include "cuda/gram/gram_backward.cuh"

namespace bt::cuda {

template <typename Product>
struct CorrelationGradientArguments {
  typename Product::Operand c, y;  // c: (width, D), or (D, width) for Major::mn; y (2, N, D)
  Matrix y_matrix;
  Upstream upstream;
  const float *c_diagonal, *rstd;  // (D,), (2, D)
  const float* squares;            // (shares, width): shares of sum_j C_off[i,j]^2
  void* dz;                        // (N, D)
  int shares;
  int width, first_column;          // features of the panel: a multiple of feature_tiles' numbers unless it ends at D
  int feature_tiles, sample_tiles;  // feature_tiles a multiple of the cluster's blocks
  int view;
  int64_t samples, d;  // samples: N, of which y may have a part
  float lambd, scale, variance_divisor;
  bool standardized;
};

template <typename Product>
__global__ void __launch_bounds__(Product::kThreads, Product::kBlocksPerMultiprocessor)
    correlation_gradient_kernel(const __grid_constant__ CorrelationGradientArguments<Product> arguments) {
  start_next_grid();  // Product::run waits for the previous one
  const TileIndex index = grouped_tile(blockIdx.x, arguments.feature_tiles, arguments.sample_tiles, kTileGroup);
  const int within = index.row * Product::kRows, first_sample = index.column * Product::kColumns;
  const int view = arguments.view;
  const ProductTile product{0, within, 1 - view, first_sample, 0, static_cast<int>(arguments.d)};
  Product::template run<Product::kClusterShares ? Shared::b : Shared::none, 0>(
      arguments.c, arguments.y, product, [&](const float (&d)[Fragment<Product>::kValues]) {
        unsigned char* shared = dynamic_shared<unsigned char>();
        FeatureGradient* factors = reinterpret_cast<FeatureGradient*>(shared + GradientTile<Product>::kSharedBytes);
        const int first_feature = arguments.first_column + within;
        GradientTile<Product> tile({arguments.y_matrix, arguments.dz, view, first_feature, first_sample}, shared);
        tile.template fetch<true>();
        const int row = static_cast<int>(threadIdx.x);
        if (row < Product::kRows && within + row < arguments.width) {
          float squares = 0;
          for (int share = 0; share < arguments.shares; ++share) {
            squares += arguments.squares[static_cast<int64_t>(share) * arguments.width + within + row];
          }
          const int64_t feature = first_feature + row;
          const TermWeights weights = term_weights(arguments.upstream.loss, arguments.upstream.on_diagonal,
                                                   arguments.upstream.off_diagonal, arguments.lambd, arguments.scale);
          factors[row] =
              correlation_feature(squares, arguments.c_diagonal[feature], arguments.rstd[view * arguments.d + feature],
                                  weights, arguments.samples, arguments.variance_divisor, arguments.standardized);
        }
        tile.ready();
        Product::sync_workers();
        write_gradient<Product>(d, tile, factors);
      });
}

}  // namespace bt::cuda

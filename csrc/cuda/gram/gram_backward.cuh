// backward, Gram form, up to as many samples as a cluster's blocks hold: nothing but dz leaves the multiprocessors.
//
//     T^T  = y_own^T (K_other - shift I) / unit        the matrix product: features x samples, float32 accumulators
//     q    = alpha unit sum_n T y_own + d C_ii         alpha = 2 w_off / N^2
//     dz   = rstd (alpha unit T + y_other d / N - y_own (q / M - alpha shift eps rstd^2))
//
// with d = 2 (w_on (C_ii - 1) - w_off C_ii): docs/mathematics.md, numeric.h. Incoming gradients are in w_on and w_off,
// in float32, before the one rounding to the embeddings' type.
//
// A cluster owns kRows features and all samples, each of its blocks kColumns samples: the sum over the batch is added
// up in the block and then, in the blocks' order, through distributed shared memory. On Hopper y_own is multicast: the
// cluster reads it once. Grid: features x views x the cluster's blocks; the two views of a feature run next to each
// other.
#pragma once

#include "cuda/gram/gram_backward.h"
#include "cuda/instructions/cluster.cuh"
#include "cuda/instructions/grid.cuh"
#include "cuda/product/backward_epilogue.cuh"

namespace bt::cuda {

template <typename Product>
struct GramBackwardArguments {
  typename Product::Operand y, k;
  GramBackward backward;
};

template <typename Product>
__global__ void __launch_bounds__(Product::kThreads, Product::kBlocksPerMultiprocessor)
    gram_backward_kernel(const __grid_constant__ GramBackwardArguments<Product> arguments) {
  start_next_grid();  // Product::run waits for the previous one
  const GramBackward& g = arguments.backward;
  const int size = cluster_size(), cluster = static_cast<int>(blockIdx.x) / size;
  const int view = g.first_view + cluster % g.views;
  const int first_feature = cluster / g.views * Product::kRows, first_sample = cluster_rank() * Product::kColumns;
  const ProductTile product{view, first_feature, 1 - view, first_sample, 0, static_cast<int>(g.n)};
  Product::template run<Product::kClusterShares ? Shared::a : Shared::none, 1>(
      arguments.y, arguments.k, product, [&](const float (&d)[Fragment<Product>::kValues]) {
        unsigned char* shared = dynamic_shared<unsigned char>();
        float* sums = reinterpret_cast<float*>(shared + BackwardTile<Product>::kSharedBytes);
        FeatureGradient* factors =
            reinterpret_cast<FeatureGradient*>(sums + Fragment<Product>::kWarpsAcross * Product::kRows);
        BackwardTile<Product> tile({g.y, view == 0 ? g.dz_a : g.dz_b, view, first_feature, first_sample}, shared);
        tile.template fetch<true>();
        const int row = static_cast<int>(threadIdx.x);
        const bool has_feature = row < Product::kRows && first_feature + row < g.d;
        GramFeature feature{};
        if (has_feature) feature = load_feature(g, view, first_feature + row);  // beside the tiles
        tile.ready();
        row_sums<Product>(d, tile, sums);
        Product::sync_workers();
        if (size > 1) {
          if (row < Product::kRows) sums[row] = add_row_sums<Product>(sums, row);
          cluster_sync();
        }
        if (has_feature) {
          float sum = 0;
          if (size > 1) {
            for (int rank = 0; rank < size; ++rank) sum += load_cluster(sums + row, rank);
          } else {
            sum = add_row_sums<Product>(sums, row);
          }
          factors[row] = feature_factors(g, feature, sum);
        }
        Product::sync_workers();
        write_gradient<Product>(d, tile, factors);
      });
}

}  // namespace bt::cuda

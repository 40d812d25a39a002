// standardize and gram_tiles in one kernel, for batches whose K fits into a block's registers: the
// standardized features are multiplied where they lie in shared memory, and a launch and a pass over y are saved.
//
//     y, rstd, C_ii, sums   as standardize/standardize.cuh leaves them
//     split_tiles[s][v]     sum over the s-th block's features of y_v y_v^T, as gram_tiles leaves a tile
//
// Accumulators are float32 in registers, both views', 128 x 128 numbers each; warps without a sample, or all below the
// diagonal, have none to add. A tile of y is an operand of the product as it is: rows are samples, 128 bytes of
// features.
//
// Grid: blocks, each with every gridDim-th block of 128 bytes of features. One block has a multiprocessor for itself
// and does one thing after the other, so this is for embeddings that are launched more than computed
// (schedule/fusion.h).
#pragma once

#include "cuda/product/split_tiles.cuh"
#include "cuda/standardize/standardize.cuh"

namespace bt::cuda {

template <typename T>
struct StandardizeGramArguments {
  StandardizeArguments<T> standardize;
  float* split_tiles;  // (blocks, 2) tiles of Product
};

template <typename Product, typename Multiply, bool TF32>
__global__ void __launch_bounds__(Product::kThreads, 1)
    standardize_gram_kernel(const __grid_constant__ StandardizeGramArguments<typename Product::Element> arguments) {
  using T = typename Product::Element;
  using Tile = SharedTile<T, Product::kRows, Product::kStep>;
  constexpr int kColumns = kBlockColumns<T>;
  static_assert(kColumns == Product::kStep && Product::kThreads == kStandardizeThreads);
  start_next_grid();
  wait_for_previous_grid();
  const StandardizeArguments<T>& a = arguments.standardize;
  if (blockIdx.x == 0 && threadIdx.x == 0) *a.counter = 0;
  const int rows = static_cast<int>(a.n);
  const BatchRows batch{a.n, a.n, 1, a.samples, a.variance_divisor};
  unsigned char* memory = dynamic_shared<unsigned char>();
  unsigned char* const tiles[2] = {memory, memory + Tile::kBytes};
  auto& shared = *reinterpret_cast<StandardizeShared<kColumns>*>(memory + 2 * Tile::kBytes);
  constexpr int kWarpsAcross = Fragment<Product>::kWarpsAcross;
  const int row = warp_id() / kWarpsAcross * Product::kWarpRows,
            column = warp_id() % kWarpsAcross * Product::kWarpColumns;
  const bool multiplies = row < rows && column < rows && row < column + Product::kWarpColumns;
  float k[2][Fragment<Product>::kValues];
#pragma unroll
  for (int view = 0; view < 2; ++view) {
#pragma unroll
    for (float& x : k[view]) x = 0.0f;
  }

#pragma unroll 1
  for (int64_t block = blockIdx.x; block < a.column_blocks; block += gridDim.x) {
    const int64_t first_column = block * kColumns, there = a.d - first_column;
    const int columns = there < kColumns ? static_cast<int>(there) : kColumns;
#pragma unroll 1
    for (int view = 0; view < 2; ++view) {
      const auto [z, stride_n, stride_d] = a.views[view];
      load_rows(memory + view * Tile::kBytes, z + first_column * stride_d, stride_n, stride_d, rows, columns);
    }
    copy_async_commit();
    copy_async_wait<0>();
    sync_warp();
    add_moments<T, true>(tiles, rows, rows_of_warp(0, warp_id()), shared.warps.moments[warp_id()]);
    sync_block();
    combine_warps(shared, rows);
    sync_block();
    combine_blocks(shared, batch, a.eps, columns, a.rstd + first_column, a.d);
    sync_block();
    const ColumnStatistics<T> statistics[2] = {column_statistics<T>(shared, 0), column_statistics<T>(shared, 1)};
    ProductSums<T> sums{};
    standardize_rows<T, TF32>(tiles, rows, statistics, sums);
    share_sums<T>(shared, sums);
    sync_block();
    combine_sums(shared);
    sync_block();
    write_sums(shared, batch, columns, a.c_diagonal + first_column, a.sums + block, a.column_blocks);
#pragma unroll 1
    for (int view = 0; view < 2; ++view) {
      store_rows(memory + view * Tile::kBytes, a.y + view * a.n * a.ld + first_column, a.ld, rows);
    }
    if (multiplies) {
#pragma unroll
      for (int view = 0; view < 2; ++view) {
#pragma unroll 1
        for (int depth = 0; depth < Product::kStep; depth += Multiply::kDepth) {
          Multiply::template step<Major::k, Major::k, Tile, Tile, Product::kWarpRows, Product::kWarpColumns>(
              k[view], tiles[view], tiles[view], row, column, depth);
        }
      }
    }
    sync_block();  // the tiles and the sums are free
  }
  if (!multiplies) return;
#pragma unroll
  for (int view = 0; view < 2; ++view) store_split_tile<Product>(arguments.split_tiles, 2 * blockIdx.x + view, k[view]);
}

}  // namespace bt::cuda

// gram, second half: K_a and K_b from their partial tiles, <K_a, K_b>, and in the last block the loss.
//
//     inner   sum_ij K_a[i,j] K_b[i,j] in float64; numbers above the diagonal count twice, those below are not looked at
//     K       (K - shift I) / unit, shift = trace(K) / N, with its mirror image, as the backward's operand
//
// The shift keeps what the standardization's backward takes out again from costing digits (docs/mathematics.md). unit is the
// power of two below the shift and keeps K in float16's range: |K_ij| <= trace(K) = N shift.
//
// Grid: tiles x slices of kSlice pieces of a tile; threads as those that computed the tile, so they find its numbers in the
// order of their own registers.
#pragma once

#include "cuda/instructions/grid.cuh"
#include "cuda/instructions/numbers.cuh"
#include "cuda/last_block.cuh"
#include "cuda/partial.cuh"
#include "cuda/schedule/tiles.h"

namespace bt::cuda {

struct GramCombineArguments {
  float* partial;  // (splits, 2, tiles) tiles
  int splits, tiles;
  void* k;  // (2, N, ldk) operands; null: no gradient is needed
  int64_t n, ldk;
  TermSums sums;
};

// Pieces of a thread that one block adds up: enough blocks for the GPU, and loads in flight for each.
constexpr int kSlice = 4;

template <typename T, bool TF32>
__device__ __forceinline__ T as_operand(float x) {
  return from_float<T>(TF32 ? round_to_tf32(x) : x);
}

template <typename Product, bool TF32>
__global__ void __launch_bounds__(Product::kWorkers) gram_combine_kernel(const __grid_constant__ GramCombineArguments arguments) {
  using T = typename Product::Element;
  using Pieces = Fragment<Product>;
  constexpr int kSlices = Pieces::kValues / 4 / kSlice;
  start_next_grid();
  wait_for_previous_grid();
  double* shared = dynamic_shared<double>();
  const auto sync = [] { sync_block(); };
  const int tile = static_cast<int>(blockIdx.x) / kSlices, slice = static_cast<int>(blockIdx.x) % kSlices;
  const int64_t n = arguments.n, ldk = arguments.ldk;

  float shift[2] = {0, 0}, unit[2] = {1, 1};
  if (arguments.k != nullptr) {
    for (int view = 0; view < 2; ++view) {
      const double* trace = arguments.sums.sums + (2 + view) * arguments.sums.columns;
      const double sum = sum_in_order(trace, arguments.sums.columns, shared, Product::kWorkers, sync);
      shift[view] = static_cast<float>(sum / static_cast<double>(n));
      unit[view] = power_of_two_below(shift[view]);
    }
  }

  const TileIndex origin = GramTiles{Product::kRows, Product::kColumns}.origin(tile);
  double inner = 0;
#pragma unroll
  for (int i = 0; i < kSlice; ++i) {
    const int piece = slice * kSlice + i;
    const int64_t first_row = origin.row + Pieces::first_row() + 16 * (piece / Pieces::kColumnTiles);
    const int64_t first_column = origin.column + Pieces::first_column() + 8 * (piece % Pieces::kColumnTiles);
    if (first_row > first_column + 1 || first_column >= n) continue;  // nothing to look at
    PartialPiece k[2];
#pragma unroll
    for (int view = 0; view < 2; ++view) {
      k[view] = add_partial<Product>(arguments.partial, arguments.splits, 2 * arguments.tiles,
                                     view * arguments.tiles + tile, piece);
    }
#pragma unroll
    for (int v = 0; v < 4; ++v) {
      const int64_t row = first_row + 8 * (v / 2), column = first_column + v % 2;
      if (row > column || column >= n) continue;
      const double product = static_cast<double>(k[0].x[v]) * static_cast<double>(k[1].x[v]);
      inner += row == column ? product : 2 * product;
      if (arguments.k == nullptr) continue;
#pragma unroll
      for (int view = 0; view < 2; ++view) {
        T* out = static_cast<T*>(arguments.k) + view * n * ldk;
        const float shifted = row == column ? k[view].x[v] - shift[view] : k[view].x[v];
        const T operand = as_operand<T, TF32>(shifted / unit[view]);
        out[row * ldk + column] = operand;
        out[column * ldk + row] = operand;
      }
    }
  }
  finish_in_last_block(arguments.sums, block_sum(inner, shared, Product::kWorkers, sync), shared, Product::kWorkers, sync);
}

}  // namespace bt::cuda

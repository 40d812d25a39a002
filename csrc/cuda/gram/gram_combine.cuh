// gram, behind the product: K_a and K_b from their split tiles, <K_a, K_b>, and in the last block the loss.
//
//     inner   sum_ij K_a[i,j] K_b[i,j] in float64; above the diagonal numbers count twice, below it they are not read
//     K       (K - shift I) / unit, shift = trace(K) / N, with its mirror image, as the backward's operand
//
// The shift keeps what the standardization's backward takes out again from costing digits (docs/mathematics.md). unit
// is the power of two below the shift and keeps K in float16's range: |K_ij| <= trace(K) = N shift.
//
// Work is cut in pieces: 16 x 8 numbers, in the order of the registers of the warp that computed them. A piece is added
// up by one warp, or by several that take the splits in turn where pieces are few; their sums meet in shared memory.
// Float32 sums over at most 128 splits, in a fixed order. Grid: blocks of kCombineWarps warps.
//
// Forward::partial stops at K - shift I, which leaves as packed triangles, and the sums for the terms. Forward::total
// goes on from the sums of such triangles: there the shift has to be put back for <K_a, K_b>, in float64.
#pragma once

#include "cuda/finish_terms.cuh"
#include "cuda/instructions/grid.cuh"
#include "cuda/instructions/matrix.cuh"
#include "cuda/instructions/numbers.cuh"
#include "cuda/product/split_tiles.cuh"
#include "cuda/product/store_pieces.cuh"
#include "cuda/schedule/tiles.h"

namespace bt::cuda {

constexpr int kCombineWarps = 8;

struct GramCombineArguments {
  float* split_tiles;   // (splits, 2, tiles) tiles; not for Forward::total
  GramPartial partial;  // Forward::partial's outputs, of which Forward::total takes the triangles
  int splits, tiles;
  int warps;      // that add one piece together
  void* k;        // (2, N, ldk) operands; null: no gradient is needed
  float* shifts;  // (2,), for the same gradient, or null
  int64_t n, ldk;
  TermSums sums;
};

// A piece above the diagonal and its mirror image, in 16 bits: (row, column) is where the lane's first number goes.
// movmatrix makes of the neighbours in a row those in a column; the mirror image's rows are 16 numbers long.
template <typename T>
__device__ __forceinline__ void store_both(T* k, int64_t ldk, int row, int column, const float (&x)[4]) {
  const uint32_t upper = pack<T>(x[0], x[1]), lower = pack<T>(x[2], x[3]);
  *reinterpret_cast<uint32_t*>(k + row * ldk + column) = upper;
  *reinterpret_cast<uint32_t*>(k + (row + 8) * ldk + column) = lower;
  const int g = lane_id() / 4, t = lane_id() % 4;
  PiecePairs<T, false>(k, ldk, column - 2 * t + g, row - g + 2 * t)
      .template put_words<true>(0, 0, transpose_matrix(upper), transpose_matrix(lower));
}

// Both views' numbers of one piece, of the calling lane.
struct GramPiece {
  ThreadPiece k[2];
};

constexpr int kCombineSharedBytes = 32 * kCombineWarps * static_cast<int>(sizeof(GramPiece));

// Five blocks on a multiprocessor of Hopper are one round up to N = 1024; with 32-bit operands, and on sm_100, the
// registers of four are needed.
template <typename Product>
constexpr int kCombineBlocks = Product::kClusterShares && sizeof(typename Product::Element) == 2 ? 5 : 4;

template <typename Product, bool TF32, Forward FORWARD>
__global__ void __launch_bounds__(32 * kCombineWarps, kCombineBlocks<Product>)
    gram_combine_kernel(const __grid_constant__ GramCombineArguments arguments) {
  using T = typename Product::Element;
  using Pieces = Fragment<Product>;
  constexpr int kPieces = Pieces::kValues / 4, kWarps = Product::kWorkers / 32, kThreads = 32 * kCombineWarps;
  constexpr bool kTotal = FORWARD == Forward::total;
  start_next_grid();
  wait_for_previous_grid();
  unsigned char* memory = dynamic_shared<unsigned char>();
  double* shared = reinterpret_cast<double*>(memory);
  const auto sync = [] { sync_block(); };
  const int n = static_cast<int>(arguments.n);
  const int64_t ldk = arguments.ldk, columns = arguments.sums.columns;

  const double* const values = arguments.sums.sums;
  const Doubles for_terms[2] = {{values, columns}, {values + columns, columns}};
  const Doubles for_shifts[2] = {{values + 2 * columns, columns}, {values + 3 * columns, columns}};
  const bool shifts = FORWARD != Forward::both || arguments.k != nullptr;
  double summed[2] = {0, 0};  // trace(K) / N
  if (shifts) begin_sums(for_shifts, summed);

  const int part = warp_id() % arguments.warps;
  const int item = static_cast<int>(blockIdx.x) * (kCombineWarps / arguments.warps) + warp_id() / arguments.warps;
  const int warp = item % kWarps, piece = item / kWarps % kPieces, tile = item / kWarps / kPieces;
  const TileIndex origin = GramTiles{Product::kRows, Product::kColumns}.origin(tile);
  const int first_row = origin.row + Pieces::first_row(warp) + 16 * (piece / Pieces::kColumnTiles);
  const int first_column = origin.column + Pieces::first_column(warp) + 8 * (piece % Pieces::kColumnTiles);
  const bool counts = tile < arguments.tiles && first_row <= first_column + 1 && first_column < n;
  // Of each view's packed triangle; row <= column < n.
  const auto packed = [&](int view, int64_t row, int64_t column) -> float& {
    return arguments.partial.triangles[view * triangle_size(n) + packed_offset(row, column, n)];
  };
  GramPiece sum{};
  if (kTotal && counts) {
#pragma unroll
    for (int v = 0; v < 8; ++v) {
      const int row = first_row + 8 * (v % 4 / 2), column = first_column + v % 2;
      if (row <= column && column < n) sum.k[v / 4].x[v % 4] = packed(v / 4, row, column);
    }
  } else if (counts) {
#pragma unroll
    for (int view = 0; view < 2; ++view) {
      sum.k[view] =
          add_split_tiles<Product>(arguments.split_tiles, {part, arguments.warps, arguments.splits},
                                   2 * arguments.tiles, view * arguments.tiles + tile, 32 * warp + lane_id(), piece);
    }
  }
  if (!kTotal && arguments.warps > 1) {
    ThreadPiece(*parts)[kThreads] = reinterpret_cast<ThreadPiece(*)[kThreads]>(memory);  // by view
#pragma unroll
    for (int view = 0; view < 2; ++view) parts[view][threadIdx.x] = sum.k[view];
    sync_block();
    if (part == 0) {
#pragma unroll 1
      for (int other = 1; other < arguments.warps; ++other) {
#pragma unroll
        for (int view = 0; view < 2; ++view) {
          const ThreadPiece next = parts[view][threadIdx.x + 32 * other];
#pragma unroll
          for (int v = 0; v < 4; ++v) sum.k[view].x[v] += next.x[v];
        }
      }
    }
    sync_block();
  }

  float shift[2] = {0, 0}, per_unit[2] = {1, 1};
  if (shifts) {
    end_sums(for_shifts, summed, shared, kThreads, sync);
#pragma unroll
    for (int view = 0; view < 2; ++view) {
      shift[view] = static_cast<float>(summed[view]);
      per_unit[view] = 1.0f / power_of_two_below(shift[view]);
      if (arguments.shifts != nullptr && blockIdx.x == 0 && threadIdx.x == 0) arguments.shifts[view] = shift[view];
    }
  }
  if (FORWARD == Forward::partial && blockIdx.x == 0) {
    double sums[2];
    begin_sums(for_terms, sums);
    end_sums(for_terms, sums, shared, kThreads, sync);
    if (threadIdx.x == 0) {
#pragma unroll
      for (int i = 0; i < 2; ++i) arguments.partial.sums[i] = sums[i], arguments.partial.sums[2 + i] = shift[i];
    }
  }

  // All of the piece is in K, above its diagonal.
  const bool above = sizeof(T) == 2 && arguments.k != nullptr && tile < arguments.tiles && part == 0 &&
                     first_row - lane_id() / 4 + 15 < first_column - 2 * (lane_id() % 4) &&
                     first_column - 2 * (lane_id() % 4) + 8 <= n;
  T* const k[2] = {static_cast<T*>(arguments.k), static_cast<T*>(arguments.k) + arguments.n * ldk};
  double inner = 0;
  if (counts && part == 0 && !above) {
#pragma unroll
    for (int v = 0; v < 4; ++v) {
      const int row = first_row + 8 * (v / 2), column = first_column + v % 2;
      if (row > column || column >= n) continue;
      const bool diagonal = row == column;
      double unshifted[2];
      float shifted[2];
#pragma unroll
      for (int view = 0; view < 2; ++view) {
        const float x = sum.k[view].x[v];
        unshifted[view] = kTotal && diagonal ? static_cast<double>(x) + summed[view] : static_cast<double>(x);
        shifted[view] = !kTotal && diagonal ? x - shift[view] : x;
      }
      if constexpr (FORWARD == Forward::partial) {
        packed(0, row, column) = shifted[0], packed(1, row, column) = shifted[1];
      } else {
        const double product = unshifted[0] * unshifted[1];
        inner += diagonal ? product : 2 * product;
        if (arguments.k == nullptr) continue;
#pragma unroll
        for (int view = 0; view < 2; ++view) {
          const T operand = as_operand<T, TF32>(shifted[view] * per_unit[view]);
          k[view][row * ldk + column] = operand;
          k[view][column * ldk + row] = operand;
        }
      }
    }
  }
  if constexpr (sizeof(T) == 2 && FORWARD != Forward::partial) {
    if (above) {
#pragma unroll
      for (int v = 0; v < 4; ++v) inner += 2 * static_cast<double>(sum.k[0].x[v]) * static_cast<double>(sum.k[1].x[v]);
#pragma unroll
      for (int view = 0; view < 2; ++view) {
        float x[4];
#pragma unroll
        for (int v = 0; v < 4; ++v) x[v] = sum.k[view].x[v] * per_unit[view];
        store_both<T>(k[view], ldk, first_row, first_column, x);
      }
    }
  }
  if constexpr (FORWARD != Forward::partial) {
    finish_terms(arguments.sums, block_sum(inner, shared, kThreads, sync), shared, kThreads, sync);
  }
}

}  // namespace bt::cuda

// What is done with a finished tile of C = y_own^T y_other / N, wherever it was finished.
//
//     squares          sum of C_ij^2 over the block's part of the tile without the diagonal, float64
//     row_squares      the same per row, over shares of kSquaresShare columns
//     column_squares   per column, over shares of as many rows: with C_ii^2 the two make the q of the backward
//     C                without its diagonal, which the backward has in float32, as the backward's operand
//
// The off-diagonal numbers themselves are summed, so there is no difference of sums here. Sums of at most 64 squares
// are float32, whole blocks' are float64.
//
// In two halves (Forward) the first one leaves the tile as it is, with the diagonal of y before it was rounded, and the
// second one begins with the sum of such tiles.
#pragma once

#include "cuda/last_block.cuh"
#include "cuda/product.cuh"
#include "cuda/store_pieces.cuh"

namespace bt::cuda {

struct CorrelationOutputs {
  float* row_squares;     // (shares of D, height) or null
  float* column_squares;  // (shares of height, D) or null
  void* c;                // (height, ldc) operands or null
  int64_t ldc;
  int64_t samples, d;       // samples: what the product is divided by
  int first_row, height;    // of C: a panel's, or 0 and D
  float* whole;             // (D, D) between the halves, or null
  const float* c_diagonal;  // (D,) its diagonal, in the first half
};

// A lane's numbers of two pieces next to each other in a row, (row, column) being the first one's place. Those at
// column D may lie in the padding of the row: rows are a multiple of two long.
template <typename T, bool TF32>
__device__ __forceinline__ void store_operands(const CorrelationOutputs& out, int row, int column,
                                               const float (&values)[2][2]) {
  T* c = static_cast<T*>(out.c);
  if constexpr (sizeof(T) == 2) {
    store_next_to_each_other(c, out.ldc, row, column, pack<T>(values[0][0], values[0][1]),
                             pack<T>(values[1][0], values[1][1]), out.height, out.d);
  } else {
#pragma unroll
    for (int piece = 0; piece < 2; ++piece) {
      const Pair pair{as_operand<T, TF32>(values[piece][0]), as_operand<T, TF32>(values[piece][1])};
      const int first = column + 8 * piece;
      if (row < out.height && first < out.d) *reinterpret_cast<Pair*>(c + row * out.ldc + first) = pair;
    }
  }
}

// The first half's end: pieces [first_piece, first_piece + COLUMN_TILES) of each row of pieces as they are.
template <typename Product, int COLUMN_TILES>
__device__ __forceinline__ void store_correlation(const float (&d)[4 * Fragment<Product>::kRowTiles * COLUMN_TILES],
                                                  const CorrelationOutputs& out, int tile_row, int tile_column,
                                                  int first_piece) {
  using Pieces = Fragment<Product>;
  const float per_sample = 1.0f / static_cast<float>(out.samples);
  const int size = static_cast<int>(out.d), first_column = tile_column + Pieces::first_column() + 8 * first_piece;
  const bool even = size % 2 == 0;  // rows begin at pairs
#pragma unroll
  for (int i = 0; i < 2 * Pieces::kRowTiles; ++i) {
    const int row = tile_row + Pieces::first_row() + 8 * i;
    if (row >= size) continue;
    const float c_ii = out.c_diagonal[row];
    float* target = out.whole + row * out.d + first_column;
#pragma unroll
    for (int tile = 0; tile < COLUMN_TILES; ++tile) {
      const int column = first_column + 8 * tile;
      const float* product = d + 4 * (i / 2 * COLUMN_TILES + tile) + 2 * (i % 2);
      const float low = row == column ? c_ii : product[0] * per_sample,
                  high = row == column + 1 ? c_ii : product[1] * per_sample;
      if (even && column < size) *reinterpret_cast<Pair*>(target + 8 * tile) = {low, high};
      if (!even && column < size) target[8 * tile] = low;
      if (!even && column + 1 < size) target[8 * tile + 1] = high;
    }
  }
}

// The second half's beginning: the same pieces, zero beyond D.
template <typename Product, int COLUMN_TILES>
__device__ __forceinline__ void load_correlation(float (&d)[4 * Fragment<Product>::kRowTiles * COLUMN_TILES],
                                                 const CorrelationOutputs& out, int tile_row, int tile_column,
                                                 int first_piece) {
  using Pieces = Fragment<Product>;
  const int size = static_cast<int>(out.d), first_column = tile_column + Pieces::first_column() + 8 * first_piece;
#pragma unroll
  for (int i = 0; i < 2 * Pieces::kRowTiles; ++i) {
    const int row = tile_row + Pieces::first_row() + 8 * i;
    const float* source = out.whole + row * out.d + first_column;
#pragma unroll
    for (int tile = 0; tile < COLUMN_TILES; ++tile) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const bool exists = row < size && first_column + 8 * tile + e < size;
        d[4 * (i / 2 * COLUMN_TILES + tile) + 2 * (i % 2) + e] = exists ? source[8 * tile + e] : 0.0f;
      }
    }
  }
}

// Of pieces [first, first + COLUMN_TILES) of each row of pieces; 8 of them are a share of the columns. Returns the
// thread's sum of squares. shared: kWarps * kColumns floats. All workers.
template <typename Product, bool TF32, int COLUMN_TILES>
__device__ __forceinline__ double reduce_correlation(const float (&d)[4 * Fragment<Product>::kRowTiles * COLUMN_TILES],
                                                     const CorrelationOutputs& out, int tile_row, int tile_column,
                                                     int first_piece, float* shared) {
  using T = typename Product::Element;
  using Pieces = Fragment<Product>;
  constexpr int kShareTiles = kSquaresShare / 8, kWarpsPerShare = kSquaresShare / Product::kWarpRows;
  static_assert(COLUMN_TILES % kShareTiles == 0 && kSquaresShare % Product::kWarpRows == 0);
  const int within_row = tile_row + Pieces::first_row(),
            first_column = tile_column + Pieces::first_column() + 8 * first_piece;
  const float per_sample = 1.0f / static_cast<float>(out.samples);
  double squares = 0;
#pragma unroll
  for (int share = 0; share < COLUMN_TILES / kShareTiles; ++share) {
    float columns[kShareTiles][2] = {};
    const int64_t columns_share = (first_column + 8 * share * kShareTiles) / kSquaresShare;
#pragma unroll
    for (int i = 0; i < 2 * Pieces::kRowTiles; ++i) {
      const int within = within_row + 8 * i, row = out.first_row + within;
      float sum = 0, both[2][2];
#pragma unroll
      for (int tile = 0; tile < kShareTiles; ++tile) {
        const int column = first_column + 8 * (share * kShareTiles + tile);
        float (&values)[2] = both[tile % 2];
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          const bool kept = within < out.height && column + e < out.d && row != column + e;
          const float product = d[4 * (i / 2 * COLUMN_TILES + share * kShareTiles + tile) + 2 * (i % 2) + e];
          values[e] = kept ? product * per_sample : 0.0f;
          sum += values[e] * values[e];
          columns[tile][e] += values[e] * values[e];
        }
        if (out.c != nullptr && tile % 2 == 1) store_operands<T, TF32>(out, within, column - 8, both);
      }
      squares += static_cast<double>(sum);
      const float total = sum_over_row(sum);
      if (out.row_squares != nullptr && within < out.height && columns_share * kSquaresShare < out.d &&
          lane_id() % 4 == 0) {
        out.row_squares[columns_share * out.height + within] = total;
      }
    }
    if (out.column_squares == nullptr) continue;
#pragma unroll
    for (int tile = 0; tile < kShareTiles; ++tile) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const float total = sum_over_column(columns[tile][e]);
        const int within = Pieces::first_column() + 8 * (first_piece + share * kShareTiles + tile) + e;
        if (lane_id() < 4) shared[warp_id() / Pieces::kWarpsAcross * Product::kColumns + within] = total;
      }
    }
  }
  if (out.column_squares != nullptr) {
    Product::sync_workers();
    // Warps above each other, in their order, down to a share's end.
    constexpr int kShares = Product::kRows / kSquaresShare;
    for (int x = static_cast<int>(threadIdx.x); x < kShares * Product::kColumns; x += Product::kWorkers) {
      const int share = x / Product::kColumns, within = x % Product::kColumns,
                piece = within % Product::kWarpColumns / 8;
      const int64_t column = tile_column + within, rows_share = tile_row / kSquaresShare + share;
      if (piece < first_piece || piece >= first_piece + COLUMN_TILES || column >= out.d ||
          rows_share * kSquaresShare >= out.height) {
        continue;
      }
      float sum = 0;
      for (int w = 0; w < kWarpsPerShare; ++w) sum += shared[(share * kWarpsPerShare + w) * Product::kColumns + within];
      out.column_squares[rows_share * out.d + column] = sum;
    }
    Product::sync_workers();
  }
  return squares;
}

}  // namespace bt::cuda

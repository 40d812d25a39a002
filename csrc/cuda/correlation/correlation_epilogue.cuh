// What is done with a finished tile of C = y_own^T y_other / N, wherever it was finished.
//
//     squares          sum of C_ij^2 over the block's part of the tile without the diagonal, float64
//     row_squares      the same per row, over shares of kSquaresShare columns
//     column_squares   per column, over shares of as many rows: with C_ii^2 the two make the q of the backward
//     c_off_diagonal   C without its diagonal, which the backward has in float32, as the backward's operand
//
// The off-diagonal numbers themselves are summed, so there is no difference of sums here. Sums of at most 64 squares
// are float32, whole blocks' are float64.
//
// In two halves (Forward) the first one leaves the tile as it is, with the diagonal of y before it was rounded, and the
// second one begins with the sum of such tiles.
#pragma once

#include "cuda/finish_terms.cuh"
#include "cuda/product/store_pieces.cuh"
#include "cuda/product/tile.cuh"

namespace bt::cuda {

struct CorrelationOutputs {
  float* row_squares;     // (shares of D, height) or null
  float* column_squares;  // (shares of height, D) or null
  void* c_off_diagonal;   // (height, ld) operands or null
  int64_t ld;
  int64_t samples, d;       // samples: what the product is divided by
  int first_row, height;    // of C: a panel's, or 0 and D
  float* c;                 // (D, D) between the halves, or null
  const float* c_diagonal;  // (D,) its diagonal, in the first half
};

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
    float* target = out.c + row * out.d + first_column;
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
    const float* source = out.c + row * out.d + first_column;
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

// The tile and what of it is reduced: pieces [first_piece, first_piece + COLUMN_TILES) of each row of pieces; 8 of them
// are a share of the columns.
struct CorrelationTile {
  int row, column;  // in `out`, its first ones
  int first_piece;
};

// Adds lanes of different mask: of 2 HALF numbers each is left with HALF, the upper lanes with the second half.
template <int HALF>
__device__ __forceinline__ void add_halves(float (&sums)[16], int mask) {
  const bool upper = (lane_id() & mask) != 0;
#pragma unroll
  for (int i = 0; i < HALF; ++i) {
    const float sent = upper ? sums[i] : sums[i + HALF], kept = upper ? sums[i + HALF] : sums[i];
    sums[i] = kept + shuffle_xor(sent, mask);
  }
}

// Sums over the 8 rows of a share's pieces, of every lane's numbers in x[piece][column]: halves are exchanged until a
// lane is left with the two columns 2 (l % 4) and 2 (l % 4) + 1 of piece l / 4. 14 shuffles, where sums of each column
// by itself take 48.
__device__ __forceinline__ Pair sum_columns(const float (&x)[8][2]) {
  float sums[16];
#pragma unroll
  for (int i = 0; i < 16; ++i) sums[i] = x[i / 2][i % 2];
  add_halves<8>(sums, 16);
  add_halves<4>(sums, 8);
  add_halves<2>(sums, 4);
  return {sums[0], sums[1]};
}

// Stores C without its diagonal and the row sums, leaves the warps' column sums in shared memory and returns the
// thread's sum of squares. WHOLE: all of the tile exists and is off C's diagonal, so no number has to be asked.
template <typename Product, bool TF32, int COLUMN_TILES, bool WHOLE>
__device__ __forceinline__ double reduce_warp(const float (&d)[4 * Fragment<Product>::kRowTiles * COLUMN_TILES],
                                              const CorrelationOutputs& out, const CorrelationTile& tile,
                                              float* shared) {
  using T = typename Product::Element;
  using Pieces = Fragment<Product>;
  constexpr int kPieces = kSquaresShare / 8;
  const int within_row = tile.row + Pieces::first_row(),
            first_column = tile.column + Pieces::first_column() + 8 * tile.first_piece;
  const float per_sample = 1.0f / static_cast<float>(out.samples);
  const PiecePairs<T, TF32> pairs(static_cast<T*>(out.c_off_diagonal), out.ld, within_row, first_column);
  double squares = 0;
#pragma unroll
  for (int share = 0; share < COLUMN_TILES / kPieces; ++share) {
    float columns[kPieces][2] = {};
    const int64_t columns_share = (first_column + 8 * share * kPieces) / kSquaresShare;
#pragma unroll
    for (int i = 0; i < 2 * Pieces::kRowTiles; ++i) {
      const int within = within_row + 8 * i, row = out.first_row + within;
      float sum = 0, both[2][2];
#pragma unroll
      for (int piece = 0; piece < kPieces; ++piece) {
        const int column = first_column + 8 * (share * kPieces + piece);
        float (&values)[2] = both[piece % 2];
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          const bool kept = WHOLE || (within < out.height && column + e < out.d && row != column + e);
          const float product = d[4 * (i / 2 * COLUMN_TILES + share * kPieces + piece) + 2 * (i % 2) + e];
          values[e] = kept ? product * per_sample : 0.0f;
          sum += values[e] * values[e];
          columns[piece][e] += values[e] * values[e];
        }
        if (out.c_off_diagonal != nullptr && piece % 2 == 1) {
          // At column D there is a row's padding.
          pairs.template put<WHOLE>(8 * i, 8 * (share * kPieces + piece - 1), both[0], both[1], out.height, out.d);
        }
      }
      squares += static_cast<double>(sum);
      const float total = sum_over_row(sum);
      if (out.row_squares != nullptr && (WHOLE || (within < out.height && columns_share * kSquaresShare < out.d)) &&
          lane_id() % 4 == 0) {
        out.row_squares[columns_share * out.height + within] = total;
      }
    }
    if (out.column_squares == nullptr) continue;
    const int piece = tile.first_piece + share * kPieces + lane_id() / 4;
    const Pair sums = sum_columns(columns);
    *reinterpret_cast<Pair*>(shared + warp_id() / Pieces::kWarpsAcross * Product::kColumns + Pieces::first_column() +
                             8 * piece) = sums;
  }
  return squares;
}

// The same for all workers, and the column sums. shared: kWarps * kColumns floats.
template <typename Product, bool TF32, int COLUMN_TILES>
__device__ __forceinline__ double reduce_correlation(const float (&d)[4 * Fragment<Product>::kRowTiles * COLUMN_TILES],
                                                     const CorrelationOutputs& out, const CorrelationTile& tile,
                                                     float* shared) {
  constexpr int kWarpsPerShare = kSquaresShare / Product::kWarpRows;
  static_assert(COLUMN_TILES % (kSquaresShare / 8) == 0 && kSquaresShare % Product::kWarpRows == 0);
  const int row = out.first_row + tile.row;
  const bool whole = tile.row + Product::kRows <= out.height && tile.column + Product::kColumns <= out.d &&
                     (row + Product::kRows <= tile.column || tile.column + Product::kColumns <= row);
  const double squares = whole ? reduce_warp<Product, TF32, COLUMN_TILES, true>(d, out, tile, shared)
                               : reduce_warp<Product, TF32, COLUMN_TILES, false>(d, out, tile, shared);
  if (out.column_squares != nullptr) {
    Product::sync_workers();
    // Warps above each other, in their order, down to a share's end.
    constexpr int kShares = Product::kRows / kSquaresShare;
    for (int x = static_cast<int>(threadIdx.x); x < kShares * Product::kColumns; x += Product::kWorkers) {
      const int share = x / Product::kColumns, within = x % Product::kColumns,
                piece = within % Product::kWarpColumns / 8;
      const int64_t column = tile.column + within, rows_share = tile.row / kSquaresShare + share;
      if (piece < tile.first_piece || piece >= tile.first_piece + COLUMN_TILES || column >= out.d ||
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

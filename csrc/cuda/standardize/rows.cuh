// standardize, what a warp does with its rows of a column block: load, moments, y in place, store.
//
// A tile is the rows of one view in shared memory, as a box of 128-byte rows (shared_tile.h). Rows are the warps' own,
// four to each in turn, and nothing here waits for another warp. A lane owns a 4-byte word of every row, two 16-bit
// columns or one of float32: sums over the batch need no shuffles and little state, and a row is one access of the warp
// without conflicts. Global memory is moved 16 bytes a lane, four rows at once.
//
// Moments are those of Chan, Golub and LeVeque's corrected two passes: about the mean as the first pass has it, with
// what rounding left of it, `rest`, taken out again:
//
//     shift = sum x / n        u = (x - shift) / unit        mean = shift + unit sum u / n
//     m2    = sum (x - mean)^2 = unit^2 (sum u^2 - (sum u)^2 / n)
//
// unit is the power of two below the largest |x|, or the squares would overflow beyond 1e19 and vanish below 1e-19. The
// sums of one thread, of a hundred rows at most, are float32, everything that follows from them float64.
#pragma once

#include <type_traits>

#include "cuda/instructions/copy_async.cuh"
#include "cuda/instructions/numbers.cuh"
#include "cuda/numeric.h"
#include "cuda/schedule/standardize.h"

namespace bt::cuda {

template <typename T>
constexpr int kWordColumns = 4 / static_cast<int>(sizeof(T));  // of a lane

template <typename T>
constexpr int kBlockColumns = column_block(static_cast<int>(sizeof(T)));

struct alignas(16) SixteenBytes {
  uint32_t words[4];
};

// A number for each column of a lane, in one access.
template <typename T, typename Number>
struct alignas(kWordColumns<T> * sizeof(Number)) OfColumns {
  Number x[kWordColumns<T>];

  __device__ __forceinline__ Number& operator[](int column) { return x[column]; }
  __device__ __forceinline__ Number operator[](int column) const { return x[column]; }
};

// The numbers of a word.
template <typename T>
using Columns = OfColumns<T, float>;

// The calling lane's of an array over the columns of a block.
template <typename T, typename Number>
__device__ __forceinline__ OfColumns<T, Number>& own_columns(Number* columns) {
  return *reinterpret_cast<OfColumns<T, Number>*>(columns + lane_id() * kWordColumns<T>);
}
template <typename T, typename Number>
__device__ __forceinline__ const OfColumns<T, Number>& own_columns(const Number* columns) {
  return *reinterpret_cast<const OfColumns<T, Number>*>(columns + lane_id() * kWordColumns<T>);
}

template <typename T>
__device__ __forceinline__ Columns<T> columns_of(uint32_t word) {
  if constexpr (kWordColumns<T> == 2) {
    const Pair pair = unpack<T>(word);
    return {{pair.low, pair.high}};
  } else {
    return {{float_of(word)}};
  }
}

template <typename T, bool TF32>
__device__ __forceinline__ uint32_t word_of(const Columns<T>& y) {
  if constexpr (kWordColumns<T> == 2) {
    return pack<T>(y[0], y[1]);
  } else {
    return bits_of(TF32 ? round_to_tf32(y[0]) : y[0]);
  }
}

__device__ __forceinline__ int piece_row() { return kRowsAtOnce * warp_id() + lane_id() / 8; }
__device__ __forceinline__ int piece_byte() { return lane_id() % 8 * 16; }

// f(places) for the warp's rows among `rows`, four or one at a time: of the lane's words in a tile.
template <typename F>
__device__ __forceinline__ void for_each_word(int rows, F&& f) {
  const int first = kRowsAtOnce * warp_id(), byte = 4 * lane_id(), full = rows / kRoundRows * kRoundRows;
  int place = swizzled(first, byte);
#pragma unroll 1
  for (int round = 0; round < full; round += kRoundRows) {  // that all warps have in full
    int places[kRowsAtOnce];  // swizzled(first + round + i, byte): the first of them is a multiple of 4
#pragma unroll
    for (int i = 0; i < kRowsAtOnce; ++i) places[i] = (place ^ (i << 4)) + i * kBoxBytes;
    f(places);
    place += kRoundRows * kBoxBytes;
  }
#pragma unroll 1
  for (int row = full + first; row < rows && row < full + first + kRowsAtOnce; ++row) {
    const int places[1] = {swizzled(row, byte)};
    f(places);
  }
}

__device__ __forceinline__ uint32_t& word_at(unsigned char* tile, int place) {
  return *reinterpret_cast<uint32_t*>(tile + place);
}

// z: its first row and column of the tile; columns (at least 1) exist, beyond them the tile is zero. Where rows are
// aligned to 16 bytes the copies are asynchronous: the caller commits and waits.
template <typename T>
__device__ __forceinline__ void load_rows(unsigned char* tile, const T* z, int64_t stride_n, int64_t stride_d, int rows,
                                          int columns) {
  constexpr int kBytes = static_cast<int>(sizeof(T));
  if (stride_d == 1 && stride_n % (16 / kBytes) == 0 && reinterpret_cast<uintptr_t>(z) % 16 == 0) {
    const int there = columns * kBytes - piece_byte(), bytes = there < 0 ? 0 : there < 16 ? there : 16;
    const T* source = z + piece_row() * stride_n + (there > 0 ? piece_byte() / kBytes : 0);
    unsigned char* target = tile + swizzled(piece_row(), piece_byte());
#pragma unroll 1  // the copies do not wait for each other, and there are few of them
    for (int row = piece_row(); row < rows; row += kRoundRows) {
      copy_async_16(target, source, bytes);
      target += kRoundRows * kBoxBytes, source += kRoundRows * stride_n;
    }
  } else {
    using Bits = std::conditional_t<kBytes == 2, uint16_t, uint32_t>;
    const int first_column = lane_id() * kWordColumns<T>;
    const Bits* source =
        reinterpret_cast<const Bits*>(z) + kRowsAtOnce * warp_id() * stride_n + first_column * stride_d;
    int64_t offset = 0;
    for_each_word(rows, [&](const auto& places) {
      constexpr int kRows = sizeof(places) / sizeof(int);
      uint32_t words[kRows]{};
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
#pragma unroll
        for (int column = 0; column < kWordColumns<T>; ++column) {
          const int64_t at = offset + i * stride_n + column * stride_d;
          if (first_column + column < columns) words[i] |= static_cast<uint32_t>(source[at]) << (16 * column);
        }
      }
#pragma unroll
      for (int i = 0; i < kRows; ++i) word_at(tile, places[i]) = words[i];
      offset += (kRows == 1 ? 1 : kRoundRows) * stride_n;
    });
  }
}

// 1 / x of a power of two within 2^-126 .. 2^126.
__device__ __forceinline__ float inverse_power(float x) { return float_of(0x7F000000u - bits_of(x)); }

// Of both views' columns, over some of the rows.
template <int COLUMNS>
struct ColumnMoments {
  alignas(16) double mean[2 * COLUMNS], m2[2 * COLUMNS];
};

// Merges those of the warp's rows of the tiles into its own, in shared memory, which are of `before` rows so far.
// FIRST: of none.
template <typename T, bool FIRST>
__device__ __forceinline__ void add_moments(unsigned char* const (&tiles)[2], int rows, int before,
                                            ColumnMoments<kBlockColumns<T>>& moments) {
  constexpr int kColumns = kWordColumns<T>;
  const int count = rows_of_warp(rows, warp_id());
  const auto for_each_number = [&](auto&& f) {  // f(view, column, number), row by row
    for_each_word(rows, [&](const auto& places) {
      constexpr int kRows = sizeof(places) / sizeof(int);
#pragma unroll
      for (int i = 0; i < 2 * kRows; ++i) {
        const Columns<T> x = columns_of<T>(word_at(tiles[i % 2], places[i / 2]));
#pragma unroll
        for (int column = 0; column < kColumns; ++column) f(i % 2, column, x[column]);
      }
    });
  };
  const float part = 1.0f / static_cast<float>(count);  // not used if there are none
  float shift[2][kColumns]{}, largest[2][kColumns]{};
  for_each_number([&](int view, int column, float x) {
    shift[view][column] += x * part;  // of the parts: the sum of the numbers themselves could overflow
    largest[view][column] = fmaxf(largest[view][column], fabsf(x));
  });
  float per_unit[2][kColumns], start[2][kColumns], sum[2][kColumns]{}, square[2][kColumns]{};
#pragma unroll
  for (int i = 0; i < 2 * kColumns; ++i) {
    const int view = i % 2, column = i / 2;
    per_unit[view][column] = inverse_power(power_of_two_below(largest[view][column]));
    start[view][column] = shift[view][column] * per_unit[view][column];
  }
  for_each_number([&](int view, int column, float x) {
    const float u = x * per_unit[view][column] - start[view][column];  // the product is exact
    sum[view][column] += u;
    square[view][column] += u * u;
  });
  const double n = count, per_n = count == 0 ? 0 : 1.0 / n, n_before = static_cast<double>(before);
  const double share = FIRST ? 1 : count == 0 ? 0 : n / (n_before + n);
#pragma unroll
  for (int view = 0; view < 2; ++view) {
    auto& own_mean = own_columns<T>(moments.mean + view * kBlockColumns<T>);
    auto& own_m2 = own_columns<T>(moments.m2 + view * kBlockColumns<T>);
    OfColumns<T, double> mean{}, m2{};
    if (!FIRST && before != 0) mean = own_mean, m2 = own_m2;
#pragma unroll
    for (int column = 0; column < kColumns; ++column) {
      const double rest = sum[view][column] * per_n, unit = inverse_power(per_unit[view][column]);
      const double within = square[view][column] - sum[view][column] * rest, there = shift[view][column] + rest * unit;
      const double m2_there = (within < 0 ? 0 : within) * unit * unit, delta = there - mean[column];
      mean[column] = FIRST ? there : mean[column] + delta * share;
      m2[column] = FIRST ? m2_there : m2[column] + m2_there + delta * delta * share * n_before;
    }
    own_mean = mean, own_m2 = m2;
  }
}

// Of the columns of a lane: y = (x - mean) rstd - rest, rest = rstd times what rounding left of the mean.
template <typename T>
struct ColumnStatistics {
  Columns<T> mean, rstd, rest;
};

// Over rows of a warp: of y_a y_b per column, before and after the rounding, and of the rounded y_a^2 and y_b^2.
template <typename T>
struct ProductSums {
  Columns<T> products, rounded_products;
  float traces[2];
};

// y in place of z; adds to sums.
template <typename T, bool TF32>
__device__ __forceinline__ void standardize_rows(unsigned char* const (&tiles)[2], int rows,
                                                 const ColumnStatistics<T> (&columns)[2], ProductSums<T>& sums) {
  for_each_word(rows, [&](const auto& places) {
    constexpr int kRows = sizeof(places) / sizeof(int);
    uint32_t words[2][kRows];  // all read before any is written
#pragma unroll
    for (int i = 0; i < 2 * kRows; ++i) words[i % 2][i / 2] = word_at(tiles[i % 2], places[i / 2]);
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      Columns<T> y[2], rounded[2];
#pragma unroll
      for (int view = 0; view < 2; ++view) {
        const ColumnStatistics<T>& s = columns[view];
        y[view] = columns_of<T>(words[view][i]);
#pragma unroll
        for (int column = 0; column < kWordColumns<T>; ++column)
          y[view][column] = (y[view][column] - s.mean[column]) * s.rstd[column] - s.rest[column];
        words[view][i] = word_of<T, TF32>(y[view]);
        rounded[view] = columns_of<T>(words[view][i]);
        word_at(tiles[view], places[i]) = words[view][i];
      }
#pragma unroll
      for (int column = 0; column < kWordColumns<T>; ++column) {
        sums.products[column] += y[0][column] * y[1][column];
        sums.rounded_products[column] += rounded[0][column] * rounded[1][column];
        sums.traces[0] += rounded[0][column] * rounded[0][column];
        sums.traces[1] += rounded[1][column] * rounded[1][column];
      }
    }
  });
}

// y: the tile's first row and column in global memory, aligned to 16 bytes as its rows are.
template <typename T>
__device__ __forceinline__ void store_rows(const unsigned char* tile, T* y, int64_t ld, int rows) {
  constexpr int kAtOnce = 4;
  T* target = y + piece_row() * ld + piece_byte() / static_cast<int>(sizeof(T));
  const unsigned char* source = tile + swizzled(piece_row(), piece_byte());
#pragma unroll 1
  for (int row = piece_row(); row < rows; row += kAtOnce * kRoundRows) {
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if (row + i * kRoundRows < rows) {
        *reinterpret_cast<SixteenBytes*>(target) =
            *reinterpret_cast<const SixteenBytes*>(source + i * kRoundRows * kBoxBytes);
      }
      target += kRoundRows * ld;
    }
    source += kAtOnce * kRoundRows * kBoxBytes;
  }
}

}  // namespace bt::cuda

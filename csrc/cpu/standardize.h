// Stage 1: y = (z - mean - residual_mean) * rstd per feature, rstd = 1 / sqrt(variance + eps), for one panel at a time.
//
// One read of z from memory: the panel is loaded into cache once, and the mean, the variance (two passes) and y are
// computed there. Statistics and C_ii are double; y is in the accumulation type and feeds the matrix products. Where
// the rows are a share of the batch, its statistics are given.
//
// residual_mean is what rounding left of the mean: the mean of z - mean, whose sum has few digits to lose. It costs
// double embeddings one more pass in cache. Without it a feature that stands still would have y = (z - mean) * rstd
// beside its true 0, and the backward takes for granted that the columns of y sum to zero. The others have it 0: a mean
// in double leaves nothing that their y could hold.
#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "cpu/columns.h"
#include "cpu/embeddings.h"

namespace bt::cpu {

// M, what the sum of squares is divided by to give the variance.
inline double variance_divisor(int64_t samples, bool unbiased) {
  return static_cast<double>(unbiased ? samples - 1 : samples);
}

// The statistics are of the rows at hand, which are the whole batch, unless they are given.
struct StandardizeOptions {
  double eps, variance_divisor;
  bool given;
};

// What the rows of a backward belong to.
struct Batch {
  double samples;  // N, which divides C
  double variance_divisor;
  bool standardized;  // z came standardized: the gradient of y is the gradient of z
};

// One view's statistics, (D) each.
struct ViewStatistics {
  double *mean, *residual_mean, *rstd;

  Centre centre(int64_t first) const { return {mean + first, residual_mean + first}; }
};

// Of the (2, 3, D) statistics: mean, residual_mean and rstd of view a, then those of view b.
struct Statistics {
  ViewStatistics a, b;

  Statistics(double* data, int64_t d) : a{data, data + d, data + 2 * d}, b{data + 3 * d, data + 4 * d, data + 5 * d} {}
};

// Columns [first, first + w) of one view, standardized into y (n, w); that part of its statistics is written, unless
// they are given.
template <typename scalar_t>
void standardize(const ViewEmbeddings<scalar_t>& z, int64_t first, int64_t w, const StandardizeOptions& options,
                 const ViewStatistics& statistics, accumulation_t<scalar_t>* y) {
  const Centre centre = statistics.centre(first);
  double *mean = statistics.mean + first, *residual_mean = statistics.residual_mean + first,
         *rstd = statistics.rstd + first;
  load(z, first, w, y);
  if (!options.given) {
    const double samples = static_cast<double>(z.n);
    column_sums(y, z.n, w, mean);
    for (int64_t column = 0; column < w; ++column) mean[column] /= samples, residual_mean[column] = 0;
    if constexpr (std::is_same_v<scalar_t, double>) {
      column_centred_sums(y, z.n, w, mean, residual_mean);
      for (int64_t column = 0; column < w; ++column) residual_mean[column] /= samples;
    }
    column_centred_squares(y, z.n, w, centre, rstd);
    for (int64_t column = 0; column < w; ++column)
      rstd[column] = 1 / std::sqrt(rstd[column] / options.variance_divisor + options.eps);
  }
  standardize_columns(y, z.n, w, centre, rstd);
}

// The same y, bit for bit, from the statistics: the backward computes it again instead of keeping it.
template <typename scalar_t>
void standardize_again(const ViewEmbeddings<scalar_t>& z, int64_t first, int64_t w, const ViewStatistics& statistics,
                       accumulation_t<scalar_t>* y) {
  load(z, first, w, y);
  standardize_columns(y, z.n, w, statistics.centre(first), statistics.rstd + first);
}

// C_ii = sum_n y_a[n, i] y_b[n, i] / N for the panel's columns, of the n rows at hand.
template <typename T>
void correlate_diagonal(const T* y_a, const T* y_b, int64_t n, int64_t w, double samples, double* c_diagonal) {
  column_products(y_a, y_b, n, w, c_diagonal);
  for (int64_t column = 0; column < w; ++column) c_diagonal[column] /= samples;
}

}  // namespace bt::cpu

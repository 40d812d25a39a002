// Stage 1: y = (z - mean) * rstd per feature, rstd = 1 / sqrt(variance + eps), for one panel at a time.
//
// One read of z from memory: the panel is loaded into cache once, and the mean, the variance (two passes) and y are
// computed there. Statistics and C_ii are double; y is in the accumulation type and feeds the matrix products. Where
// the rows are a share of the batch, its statistics are given.
#pragma once

#include <cmath>
#include <cstdint>

#include "cpu/columns.h"
#include "cpu/embeddings.h"

namespace bt::cpu {

// Where the statistics come from: the rows at hand, which are the whole batch, or they are there already.
struct Standardization {
  double eps;
  bool unbiased, given;
};

// What the rows that a backward is given are of.
struct Batch {
  double samples;  // N, which divides C
  double divisor;  // of the variance; infinity where y came standardized: its gradient is then dy itself
};

// Rows of the (4, D) statistics: mean_a, rstd_a, mean_b, rstd_b.
struct Statistics {
  double *mean_a, *rstd_a, *mean_b, *rstd_b;

  Statistics(double* data, int64_t d) : mean_a(data), rstd_a(data + d), mean_b(data + 2 * d), rstd_b(data + 3 * d) {}
};

// Columns [first, first + w) of one view, standardized into y (n, w); that part of mean and rstd (D) is written, unless
// it is given.
template <typename scalar_t>
void standardize(const Embeddings<scalar_t>& z, int64_t first, int64_t w, const Standardization& how, double* mean,
                 double* rstd, accumulation_t<scalar_t>* y) {
  mean += first, rstd += first;
  load(z, first, w, y);
  if (!how.given) {
    column_sums(y, z.n, w, mean);
    for (int64_t c = 0; c < w; ++c) mean[c] /= static_cast<double>(z.n);
    column_centred_squares(y, z.n, w, mean, rstd);
    const double divisor = static_cast<double>(how.unbiased ? z.n - 1 : z.n);
    for (int64_t c = 0; c < w; ++c) rstd[c] = 1 / std::sqrt(rstd[c] / divisor + how.eps);
  }
  standardize_columns(y, z.n, w, mean, rstd);
}

// The same y, bit for bit, from the statistics: the backward computes it again instead of keeping it.
template <typename scalar_t>
void standardize_again(const Embeddings<scalar_t>& z, int64_t first, int64_t w, const double* mean, const double* rstd,
                       accumulation_t<scalar_t>* y) {
  load(z, first, w, y);
  standardize_columns(y, z.n, w, mean + first, rstd + first);
}

// C_ii = sum_n y_a[n, i] y_b[n, i] / N for the panel's columns, of the n rows at hand.
template <typename T>
void correlate_diagonal(const T* y_a, const T* y_b, int64_t n, int64_t w, double samples, double* c_diagonal) {
  column_products(y_a, y_b, n, w, c_diagonal);
  for (int64_t c = 0; c < w; ++c) c_diagonal[c] /= samples;
}

}  // namespace bt::cpu

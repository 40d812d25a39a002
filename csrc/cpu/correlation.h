// Correlation formulation: C = y_a^T y_b / N, (D, D). With w_on, w_off the gradients that arrive for the two terms,
// d_i = 2 [w_on (C_ii - 1) - w_off C_ii], M = N or N - 1, for view a (view b with a and b, C and C^T exchanged):
//
//     dy_a = (2 w_off / N) y_b C^T + y_b d / N
//     dz_a = rstd_a (dy_a - y_a q_a / M),   q_a[i] = 2 w_off |C_i,:|^2 + d_i C_ii
//
// Here N >= D as a rule and the products dominate: each is one call that all threads share inside the BLAS.
#pragma once

#include <cstdint>

#include "cpu/embeddings.h"
#include "cpu/terms.h"

namespace bt::cpu {

// What the forward may keep for the backward: C (D, D) and both standardized views (N, D), or nothing (null), in which
// case no D x D matrix is held and the backward computes them again, C by blocks of rows.
template <typename T>
struct Kept {
  T *c, *y_a, *y_b;
};

// Fills statistics (4, D), c_diagonal (D) and what is to be kept.
template <typename scalar_t>
Terms correlation_forward(const Embeddings<scalar_t>& z_a, const Embeddings<scalar_t>& z_b, const Options& options,
                          double* c_diagonal, Statistics statistics, Kept<accumulation_t<scalar_t>> kept);

// dz_a, dz_b (N, D) contiguous; either may be null.
template <typename scalar_t>
void correlation_backward(const Embeddings<scalar_t>& z_a, const Embeddings<scalar_t>& z_b, const Options& options,
                          const TermWeights& weights, const double* c_diagonal, Statistics statistics,
                          Kept<accumulation_t<scalar_t>> kept, scalar_t* dz_a, scalar_t* dz_b);

// out[r, j] = sum_n y_left[n, r] y_right[n, j] / N for r < rows, out (rows, D) contiguous; both y have leading
// dimension D. Rows of C where left is view a, rows of C^T where it is view b.
template <typename T>
void correlate(const T* y_left, int64_t rows, const T* y_right, int64_t n, int64_t d, T* out);

}  // namespace bt::cpu

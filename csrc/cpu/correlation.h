// Correlation formulation: C = y_a^T y_b / N, (D, D). With C_off the same without its diagonal, w_on, w_off the
// gradients that arrive for the two terms, d_i = 2 w_on (C_ii - 1), M = N or N - 1, for view a (view b with a and b, C
// and C^T exchanged):
//
//     dy_a = (2 w_off / N) y_b C_off^T + y_b d / N
//     dz_a = rstd_a (dy_a - y_a q_a / M),   q_a[i] = 2 w_off |C_off[i,:]|^2 + d_i C_ii
//
// The diagonal is set to 0 before anything is made of C: neither the off-diagonal term nor its gradient has it in one
// sum and takes it out again in another, and so neither has the rounding of it.
//
// Here N >= D as a rule and the products dominate: each is one call that all threads share inside the BLAS.
//
// C is a sum over rows: the forward is two halves, between which shares of the rows can be added up. q_a follows from
// C, so that the backward of some rows needs nothing of the others.
#pragma once

#include <cstdint>

#include "cpu/embeddings.h"
#include "cpu/standardize.h"
#include "cpu/terms.h"

namespace bt::cpu {

// What the backward takes if it was kept: C_off (D, D) and the standardized views (rows at hand, D). Or nothing (null):
// then no D x D matrix is held, and the backward computes them again from all rows, C_off by blocks.
template <typename T>
struct CorrelationResiduals {
  T *c_off_diagonal, *y_a, *y_b;
};

// Both halves, for all rows. Fills statistics (2, 3, D), c_diagonal (D) and what is to be kept.
template <typename scalar_t>
Terms correlation_forward(const ViewEmbeddings<scalar_t>& z_a, const ViewEmbeddings<scalar_t>& z_b,
                          const StandardizeOptions& options, double* c_diagonal, Statistics statistics,
                          CorrelationResiduals<accumulation_t<scalar_t>> residuals);

// The first half, for some of N = samples rows, with statistics that are given. Fills c (D, D), and y_a, y_b unless
// null.
template <typename scalar_t>
void correlation_partial(const ViewEmbeddings<scalar_t>& z_a, const ViewEmbeddings<scalar_t>& z_b,
                         Statistics statistics, double samples, accumulation_t<scalar_t>* c,
                         accumulation_t<scalar_t>* y_a, accumulation_t<scalar_t>* y_b);

// The second half, from the sum over all rows. Moves the diagonal of c to c_diagonal (D), which leaves C_off.
template <typename T>
Terms correlation_total(T* c, int64_t d, double* c_diagonal);

// dz_a, dz_b (rows at hand, D) contiguous; either may be null.
template <typename scalar_t>
void correlation_backward(const ViewEmbeddings<scalar_t>& z_a, const ViewEmbeddings<scalar_t>& z_b, const Batch& batch,
                          const TermWeights& weights, const double* c_diagonal, Statistics statistics,
                          CorrelationResiduals<accumulation_t<scalar_t>> residuals, scalar_t* dz_a, scalar_t* dz_b);

// Rows [first, first + rows) of C_off where left is view a, of C_off^T where it is view b, into out (rows, D)
// contiguous; both y are n rows of D numbers.
template <typename T>
void correlate(const T* y_left, int64_t first, int64_t rows, const T* y_right, int64_t n, int64_t d, double samples,
               T* out);

}  // namespace bt::cpu

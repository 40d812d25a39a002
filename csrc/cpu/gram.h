// Gram formulation. With K_a = y_a y_a^T and K_b = y_b y_b^T:
//
//     sum_ij C_ij^2 = <K_a, K_b> / N^2        C_ii = sum_n y_a[n, i] y_b[n, i] / N
//
// and with w_on, w_off the gradients that arrive for the two terms, d_i = 2 [w_on (C_ii - 1) - w_off C_ii], M = N or
// N - 1, for view a (view b with a and b exchanged):
//
//     dy_a = (2 w_off / N^2) K_b y_a + y_b d / N
//     dz_a = rstd_a (dy_a - y_a q_a / M),   q_a = sum_n dy_a y_a
//
// K's diagonal is a sum of D squares, far above its other entries. Its mean, times I, times y_a is a multiple of y_a,
// which the standardize backward takes out again, all but a part eps rstd_a^2 of it. So with shift = trace(K) / N,
// K - shift I is what is kept and multiplied: that loses no digits to the cancellation, and the part that stays is
// added to q_a:
//
//     dy_a = (2 w_off / N^2) (K_b - shift_b I) y_a + y_b d / N
//     dz_a = rstd_a (dy_a - y_a (q_a / M - (2 w_off / N^2) shift_b eps rstd_a^2))
//
// K, its shift and the sums over C_ii are sums over features: the forward is two halves, between which shares of the
// features can be added up. With k_ii what is kept of the diagonal,
//
//     <K_a, K_b> = 2 sum_{i<j} K_a,ij K_b,ij + sum_i (k_a,ii + shift_a) (k_b,ii + shift_b)
#pragma once

#include <cstdint>

#include "cpu/embeddings.h"
#include "cpu/standardize.h"
#include "cpu/terms.h"

namespace bt::cpu {

// trace(K_a) / N and trace(K_b) / N.
struct Shifts {
  double a, b;
};

// What the second half needs of some features beside K.
struct GramSums {
  double on_diagonal, diagonal_squares;  // sum_i (1 - C_ii)^2, sum_i C_ii^2
  Shifts shifts;
};

// The first half, for all rows of some features. Fills statistics (2, 3, D), unless they are given, c_diagonal (D) and
// the upper triangles of k_a, k_b (N, N) with K - shift I.
template <typename scalar_t>
GramSums gram_partial(const ViewEmbeddings<scalar_t>& z_a, const ViewEmbeddings<scalar_t>& z_b,
                      const StandardizeOptions& options, double* c_diagonal, Statistics statistics,
                      accumulation_t<scalar_t>* k_a, accumulation_t<scalar_t>* k_b);

// The second half, from the sums over all features. With needs_backward the lower triangles are filled too.
template <typename T>
Terms gram_total(const GramSums& sums, int64_t n, bool needs_backward, T* k_a, T* k_b);

// dz_a, dz_b (N, D) contiguous; either may be null.
template <typename scalar_t>
void gram_backward(const ViewEmbeddings<scalar_t>& z_a, const ViewEmbeddings<scalar_t>& z_b, double eps,
                   const Batch& batch, const TermWeights& weights, const double* c_diagonal, Statistics statistics,
                   Shifts shifts, const accumulation_t<scalar_t>* k_a, const accumulation_t<scalar_t>* k_b,
                   scalar_t* dz_a, scalar_t* dz_b);

}  // namespace bt::cpu

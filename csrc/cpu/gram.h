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
#pragma once

#include <cstdint>

#include "cpu/embeddings.h"
#include "cpu/terms.h"

namespace bt::cpu {

// trace(K_a) / N and trace(K_b) / N.
struct Shifts {
  double *a, *b;

  explicit Shifts(double* data) : a(data), b(data + 1) {}
};

// Fills statistics (4, D), c_diagonal (D), shifts, and k_a, k_b (N, N) with K - shift I: whole if needs_backward, else
// the upper triangles.
template <typename scalar_t>
Terms gram_forward(const Embeddings<scalar_t>& z_a, const Embeddings<scalar_t>& z_b, const Options& options,
                   bool needs_backward, double* c_diagonal, Statistics statistics, Shifts shifts,
                   accumulation_t<scalar_t>* k_a, accumulation_t<scalar_t>* k_b);

// dz_a, dz_b (N, D) contiguous; either may be null.
template <typename scalar_t>
void gram_backward(const Embeddings<scalar_t>& z_a, const Embeddings<scalar_t>& z_b, const Options& options,
                   const TermWeights& weights, const double* c_diagonal, Statistics statistics, Shifts shifts,
                   const accumulation_t<scalar_t>* k_a, const accumulation_t<scalar_t>* k_b, scalar_t* dz_a,
                   scalar_t* dz_b);

}  // namespace bt::cpu

// Stage 3: the gradient with respect to z_a and z_b. With w_off, w_on the weights of the two terms and
// d_i = 2 [w_on (C_ii - 1) - w_off C_ii], for view a (view b with a and b exchanged):
//
//     gram          dy_a = (2 w_off / N^2) K_b y_a    + y_b d / N
//     correlation   dy_a = (2 w_off / N)   y_b C^T    + y_b d / N
//     both          dz_a = rstd_a (dy_a - y_a q_a / M),   q_a = sum_n dy_a y_a,   M = N or N - 1
//
// A panel holds all N rows, so q is complete before the panel leaves the cache: d, q, the standardize backward, the
// incoming gradient and the rounding are one pass behind the matrix product.
#pragma once

#include <cstdint>

#include "cpu/embeddings.h"
#include "cpu/terms.h"

namespace bt::cpu {

// dz_a, dz_b (N, D) contiguous; either may be null.
template <typename scalar_t>
void gram_backward(const Embeddings<scalar_t>& z_a, const Embeddings<scalar_t>& z_b, const Options& options,
                   const TermWeights& weights, const double* c_diagonal, Statistics statistics,
                   const accumulation_t<scalar_t>* k_a, const accumulation_t<scalar_t>* k_b, scalar_t* dz_a,
                   scalar_t* dz_b);

// c (D, D) from the forward, or null: its panels are computed again.
template <typename scalar_t>
void correlation_backward(const Embeddings<scalar_t>& z_a, const Embeddings<scalar_t>& z_b, const Options& options,
                          const TermWeights& weights, const double* c_diagonal, Statistics statistics,
                          const accumulation_t<scalar_t>* c, scalar_t* dz_a, scalar_t* dz_b);

}  // namespace bt::cpu

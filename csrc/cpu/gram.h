// Gram formulation, forward: with K_a = y_a y_a^T and K_b = y_b y_b^T,
//     sum_ij C_ij^2 = <K_a, K_b> / N^2        C_ii = sum_n y_a[n, i] y_b[n, i] / N
#pragma once

#include <cstdint>

#include "cpu/embeddings.h"
#include "cpu/terms.h"

namespace bt::cpu {

// Fills statistics (4, D), c_diagonal (D), and k_a, k_b (N, N): whole if needs_backward, else the upper triangles.
template <typename scalar_t>
Terms gram_forward(const Embeddings<scalar_t>& z_a, const Embeddings<scalar_t>& z_b, const Options& options,
                   bool needs_backward, double* c_diagonal, Statistics statistics, accumulation_t<scalar_t>* k_a,
                   accumulation_t<scalar_t>* k_b);

}  // namespace bt::cpu

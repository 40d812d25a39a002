// Correlation formulation, forward: C = y_a^T y_b / N, reduced to sum_ij C_ij^2.
#pragma once

#include <cstdint>

#include "cpu/embeddings.h"
#include "cpu/terms.h"

namespace bt::cpu {

// Fills statistics (4, D), c_diagonal (D) and, unless it is null, c (D, D). Without c no D x D matrix is held.
template <typename scalar_t>
Terms correlation_forward(const Embeddings<scalar_t>& z_a, const Embeddings<scalar_t>& z_b, const Options& options,
                          double* c_diagonal, Statistics statistics, accumulation_t<scalar_t>* c);

// out[r, j] = sum_n y_left[n, r] y_right[n, j] / N for r < rows, out (rows, D) contiguous; both y have leading
// dimension D. Rows of C where left is view a, rows of C^T where it is view b.
template <typename T>
void correlate(const T* y_left, int64_t rows, const T* y_right, int64_t n, int64_t d, T* out);

}  // namespace bt::cpu

// Correlation formulation, forward: C = y_a^T y_b / N by panels of rows, each reduced to sum_ij C_ij^2 while in cache.
#pragma once

#include <cstdint>

#include "cpu/embeddings.h"
#include "cpu/terms.h"

namespace bt::cpu {

// Fills statistics (4, D), c_diagonal (D) and, unless it is null, c (D, D). Without c no D x D matrix is held.
template <typename scalar_t>
Terms correlation_forward(const Embeddings<scalar_t>& z_a, const Embeddings<scalar_t>& z_b, const Options& options,
                          double* c_diagonal, Statistics statistics, accumulation_t<scalar_t>* c);

// out[r, j] = C[first + r, j] for r < rows, (rows, D) contiguous, from the panel y_left (N, rows) and all of y_right
// (N, D) of the other view. With the views exchanged it gives rows of C^T.
template <typename T>
void correlation_rows(const T* y_left, int64_t rows, const T* y_right, int64_t n, int64_t d, T* out);

}  // namespace bt::cpu

// Gradient, Gram form, more samples than one cluster holds, second half: dz of a panel of features.
#pragma once

#include "cuda/loss.h"

namespace bt::cuda {

// T and its column sums for the views [first_view, first_view + views) and the features [first_column, first_column +
// width).
struct GramApply {
  const float* product;                // (views, width, ldt): T^T, features by samples
  const float* column_sums;            // (views, count, width): shares of sum_n T y, by samples
  int64_t count, width, first_column;  // the last a multiple of 16 bytes of operands
  int64_t ldt;                         // a multiple of 4
  Upstream upstream;
  const float *c_diagonal, *rstd, *shifts;  // (D,), (2, D), (2,)
  const void* y;                            // (2, N, row_stride(D)) operands
  void *dz_a, *dz_b;                        // (N, D)
  int64_t n, d;
  double lambd, scale, eps, variance_divisor;
  bool standardized;
  int first_view, views;
};

// After gram_product.
cudaError_t gram_apply(Operands, const GramApply&, const Gpu&, cudaStream_t);

}  // namespace bt::cuda

// Backward, Gram form, more samples than one cluster holds, behind gram_product: dz of a panel of features.
#pragma once

#include "cuda/gram/gram_backward.h"

namespace bt::cuda {

// T and its column sums for the features [first_column, first_column + width).
struct GramApply {
  GramBackward backward;
  const float* product;      // (views, width, ldt): T^T, features by samples
  const float* column_sums;  // (views, sample_tiles, width): shares of sum_n T y, by samples
  int sample_tiles;
  int64_t width, first_column;  // the last a multiple of 16 bytes of operands
  int64_t ldt;                  // a multiple of 4
};

// After gram_product.
cudaError_t gram_apply(Operands, const GramApply&, const Gpu&, cudaStream_t);

}  // namespace bt::cuda

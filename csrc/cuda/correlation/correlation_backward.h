// What the correlation form's dz needs behind the product.
#pragma once

#include "cuda/loss.h"

namespace bt::cuda {

// For one view, and a panel of features.
struct CorrelationBackward {
  OutputGradients gradients;
  const float *c_diagonal, *rstd;  // (D,), (2, D)
  const float* squares;            // (shares, width): shares of sum_j C_off[i,j]^2
  void* dz;                        // (N, D)
  int shares;
  int width, first_column;  // the panel: a multiple of feature_tiles' numbers unless it ends at D
  int view;
  int64_t samples;  // N, of which y may have a part
  float lambd, scale, variance_divisor;
  bool standardized;
};

}  // namespace bt::cuda

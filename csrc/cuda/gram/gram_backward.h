// What both ways to the Gram form's dz need behind the product: gram_backward, and gram_apply by panels.
#pragma once

#include "cuda/loss.h"
#include "cuda/numeric.h"
#include "cuda/product/matrix.h"

namespace bt::cuda {

// For the views [first_view, first_view + views).
struct GramBackward {
  OutputGradients gradients;
  const float *c_diagonal, *rstd, *shifts;  // (D,), (2, D), (2,)
  Matrix y;                                 // (2, N, D)
  void *dz_a, *dz_b;                        // (N, D), null where not needed
  int64_t n, d;
  float lambd, scale, eps, variance_divisor;
  int first_view, views;
  bool standardized;
};

// What a feature's factors are made of beside its sum.
struct GramFeature {
  float c_ii, rstd, shift;
  TermWeights weights;
};

BT_HOST_DEVICE GramFeature load_feature(const GramBackward& g, int view, int64_t feature) {
  return {g.c_diagonal[feature], g.rstd[view * g.d + feature], g.shifts[1 - view],
          term_weights(g.gradients.loss, g.gradients.on_diagonal, g.gradients.off_diagonal, g.lambd, g.scale)};
}

BT_HOST_DEVICE FeatureGradient feature_factors(const GramBackward& g, const GramFeature& feature, float sum) {
  return gram_feature(sum, feature.c_ii, feature.rstd, feature.shift, feature.weights, g.eps, g.n, g.variance_divisor,
                      g.standardized);
}

}  // namespace bt::cuda

// Arithmetic of the epilogues, on host and device: each function is one line of docs/mathematics.md.
#pragma once

#include <cstring>

#include "cuda/host_device.h"

namespace bt::cuda {

BT_HOST_DEVICE uint32_t bits_of(float x) {
#ifdef __CUDA_ARCH__
  return __float_as_uint(x);
#else
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
#endif
}

BT_HOST_DEVICE float float_of(uint32_t bits) {
#ifdef __CUDA_ARCH__
  return __uint_as_float(bits);
#else
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
#endif
}

// x rounded to tf32's 10 bits of mantissa, to nearest: the tensor cores cut the others off, which leans towards zero.
// The addition would turn some NaN into a number.
BT_HOST_DEVICE float round_to_tf32(float x) { return x == x ? float_of((bits_of(x) + 0x1000u) & 0xFFFFE000u) : x; }

// The power of two at or below x > 0, within 2^-100 .. 2^100, so that it can be divided by exactly.
BT_HOST_DEVICE float power_of_two_below(float x) {
  uint32_t exponent = (bits_of(x) >> 23) & 0xFFu;
  exponent = exponent < 27 ? 27 : exponent > 227 ? 227 : exponent;
  return float_of(exponent << 23);
}

// What the gradients of the three outputs amount to for the two terms.
struct TermWeights {
  float on_diagonal, off_diagonal;
};

BT_HOST_DEVICE TermWeights term_weights(const float* loss, const float* on_diagonal, const float* off_diagonal,
                                        float lambd, float scale) {
  TermWeights weights{0.0f, 0.0f};
  if (loss != nullptr) weights = {scale * *loss, scale * lambd * *loss};
  if (on_diagonal != nullptr) weights.on_diagonal += *on_diagonal;
  if (off_diagonal != nullptr) weights.off_diagonal += *off_diagonal;
  return weights;
}

// The Gram form's d_i: what the diagonal of dloss/dC has beyond 2 * off_diagonal * C_ii.
BT_HOST_DEVICE float diagonal_weight(float c_ii, TermWeights weights) {
  return 2.0f * (weights.on_diagonal * (c_ii - 1.0f) - weights.off_diagonal * c_ii);
}

// The factors of one feature's dz = r (product T + other y_other - own y_own), T the matrix product as it was
// accumulated.
struct FeatureGradient {
  float product, other, own;
};

// What the standardization takes out of dy, times M: nothing where z came standardized. NaN stays.
BT_HOST_DEVICE float taken_out(float q, bool standardized) { return standardized ? 0.0f * q : q; }

// Gram form. sum: sum_n T y over the whole batch, T and K divided by unit = power_of_two_below(shift), shift that of
// the other view's K. Where z came standardized rstd is 1, and all of the shift is put back into K.
BT_HOST_DEVICE FeatureGradient gram_feature(float sum, float c_ii, float rstd, float shift, TermWeights weights,
                                            float eps, int64_t n, float variance_divisor, bool standardized) {
  const float samples = static_cast<float>(n);
  const float alpha = 2.0f * weights.off_diagonal / samples / samples;
  const float beta = alpha * power_of_two_below(shift);
  const float d = diagonal_weight(c_ii, weights);
  const float q = beta * sum + d * c_ii;
  const float kept_of_shift = standardized ? 1.0f : eps;
  const float own = taken_out(q, standardized) / variance_divisor - alpha * shift * kept_of_shift * rstd * rstd;
  return {rstd * beta, rstd * d / samples, rstd * own};
}

// Correlation form. squares: sum_j C_ij^2, j != i; the product is with C without its diagonal.
BT_HOST_DEVICE FeatureGradient correlation_feature(float squares, float c_ii, float rstd, TermWeights weights,
                                                   int64_t n, float variance_divisor, bool standardized) {
  const float samples = static_cast<float>(n);
  const float diagonal = 2.0f * weights.on_diagonal * (c_ii - 1.0f);
  const float q = 2.0f * weights.off_diagonal * squares + diagonal * c_ii;
  return {rstd * 2.0f * weights.off_diagonal / samples, rstd * diagonal / samples,
          rstd * taken_out(q, standardized) / variance_divisor};
}

BT_HOST_DEVICE float feature_gradient(FeatureGradient factors, float product, float y_own, float y_other) {
  return factors.product * product + factors.other * y_other - factors.own * y_own;
}

struct LossTerms {
  double loss, on_diagonal, off_diagonal;
};

// Gram form: inner = <K_a, K_b>, squares = sum_i C_ii^2. A sum of squares: where rounding in the difference leaves less
// than nothing, it was nothing. NaN stays.
BT_HOST_DEVICE double gram_off_diagonal(double inner, double squares, int64_t n) {
  const double samples = static_cast<double>(n), off_diagonal = inner / samples / samples - squares;
  return off_diagonal < 0 ? 0 : off_diagonal;
}

BT_HOST_DEVICE LossTerms loss_terms(double on_diagonal, double off_diagonal, double lambd, double scale) {
  return {scale * (on_diagonal + lambd * off_diagonal), on_diagonal, off_diagonal};
}

}  // namespace bt::cuda

// Passes over the columns of a panel: x is (n, w), row-major with leading dimension ld, in the accumulation type T
// (float or double). Sums over the rows are kept in double: the panel is in cache, so this costs no memory traffic.
#pragma once

#include <cstdint>

namespace bt::cpu {

// sum[c] = sum_n x[n, c]
template <typename T>
void column_sums(const T* x, int64_t ld, int64_t n, int64_t w, double* sum);

// sum[c] = sum_n (x[n, c] - mean[c])^2
template <typename T>
void column_centred_squares(const T* x, int64_t ld, int64_t n, int64_t w, const double* mean, double* sum);

// x[n, c] = (x[n, c] - mean[c]) * rstd[c]
template <typename T>
void standardize_columns(T* x, int64_t ld, int64_t n, int64_t w, const double* mean, const double* rstd);

// sum[c] = sum_n x[n, c] * y[n, c]
template <typename T>
void column_products(const T* x, int64_t ldx, const T* y, int64_t ldy, int64_t n, int64_t w, double* sum);

// t[n, c] = alpha * t[n, c] + weight[c] * other[n, c]; q[c] = sum_n t[n, c] * y[n, c] afterwards
template <typename T>
void blend_columns(T* t, int64_t ldt, double alpha, const T* other, int64_t ldo, const T* weight, const T* y, int64_t ldy,
                   int64_t n, int64_t w, double* q);

// t[n, c] = rstd[c] * (t[n, c] - y[n, c] * q[c])
template <typename T>
void standardize_columns_backward(T* t, int64_t ldt, const T* y, int64_t ldy, const T* rstd, const T* q, int64_t n,
                                  int64_t w);

}  // namespace bt::cpu

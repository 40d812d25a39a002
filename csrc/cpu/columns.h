// Passes over the columns of a panel: x is (n, w) contiguous in the accumulation type T (float or double), all in
// cache. Sums over the rows are kept in double, which costs no memory traffic there.
#pragma once

#include <cstdint>

namespace bt::cpu {

// What columns are centred by: x - mean - residual_mean in double, x - mean in float, which has no digits of the rest.
struct Centre {
  const double *mean, *residual_mean;
};

// sum[column] = sum_n x[n, column]
template <typename T>
void column_sums(const T* x, int64_t n, int64_t w, double* sum);

// sum[column] = sum_n (x[n, column] - mean[column])
void column_centred_sums(const double* x, int64_t n, int64_t w, const double* mean, double* sum);

// sum[column] = sum_n centred[n, column]^2
template <typename T>
void column_centred_squares(const T* x, int64_t n, int64_t w, const Centre& centre, double* sum);

// sum[column] = sum_n x[n, column]^2; here x has leading dimension ld
template <typename T>
void column_squares(const T* x, int64_t ld, int64_t n, int64_t w, double* sum);

// sum[column] = sum_n x[n, column] * y[n, column]
template <typename T>
void column_products(const T* x, const T* y, int64_t n, int64_t w, double* sum);

// x[n, column] = centred[n, column] * rstd[column]
template <typename T>
void standardize_columns(T* x, int64_t n, int64_t w, const Centre& centre, const double* rstd);

// t[n, column] = alpha * t[n, column] + weight[column] * other[n, column]; q[column] = sum_n t[n, column] * y[n,
// column] afterwards
template <typename T>
void blend_columns(T* t, double alpha, const T* other, const T* weight, const T* y, int64_t n, int64_t w, double* q);

// t[n, column] = rstd[column] * (t[n, column] - y[n, column] * q[column])
template <typename T>
void standardize_columns_backward(T* t, const T* y, const T* rstd, const T* q, int64_t n, int64_t w);

// t[n, column] = alpha[column] * t[n, column] + beta[column] * other[n, column] - gamma[column] * y[n, column]
template <typename T>
void combine_columns(T* t, const T* alpha, const T* other, const T* beta, const T* y, const T* gamma, int64_t n,
                     int64_t w);

}  // namespace bt::cpu

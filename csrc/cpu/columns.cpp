#include "cpu/columns.h"

#include <type_traits>

#include "cpu/multiversion.h"

namespace bt::cpu {
namespace {

template <typename T>
inline double centred(T x, double mean, double residual_mean) {
  const double once = static_cast<double>(x) - mean;
  return std::is_same_v<T, double> ? once - residual_mean : once;
}

}  // namespace

template <typename T>
BT_MULTIVERSION void column_sums(const T* x, int64_t n, int64_t w, double* sum) {
  for (int64_t column = 0; column < w; ++column) sum[column] = 0;
  for (int64_t i = 0; i < n; ++i) {
    const T* row = x + i * w;
    for (int64_t column = 0; column < w; ++column) sum[column] += static_cast<double>(row[column]);
  }
}

BT_MULTIVERSION void column_centred_sums(const double* x, int64_t n, int64_t w, const double* mean, double* sum) {
  for (int64_t column = 0; column < w; ++column) sum[column] = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double* row = x + i * w;
    for (int64_t column = 0; column < w; ++column) sum[column] += row[column] - mean[column];
  }
}

template <typename T>
BT_MULTIVERSION void column_centred_squares(const T* x, int64_t n, int64_t w, const Centre& centre, double* sum) {
  const double *mean = centre.mean, *residual_mean = centre.residual_mean;
  for (int64_t column = 0; column < w; ++column) sum[column] = 0;
  for (int64_t i = 0; i < n; ++i) {
    const T* row = x + i * w;
    for (int64_t column = 0; column < w; ++column) {
      const double deviation = centred(row[column], mean[column], residual_mean[column]);
      sum[column] += deviation * deviation;
    }
  }
}

template <typename T>
BT_MULTIVERSION void column_squares(const T* x, int64_t ld, int64_t n, int64_t w, double* sum) {
  for (int64_t column = 0; column < w; ++column) sum[column] = 0;
  for (int64_t i = 0; i < n; ++i) {
    const T* row = x + i * ld;
    for (int64_t column = 0; column < w; ++column)
      sum[column] += static_cast<double>(row[column]) * static_cast<double>(row[column]);
  }
}

template <typename T>
BT_MULTIVERSION void column_products(const T* x, const T* y, int64_t n, int64_t w, double* sum) {
  for (int64_t column = 0; column < w; ++column) sum[column] = 0;
  for (int64_t i = 0; i < n; ++i) {
    const T *x_row = x + i * w, *y_row = y + i * w;
    for (int64_t column = 0; column < w; ++column)
      sum[column] += static_cast<double>(x_row[column]) * static_cast<double>(y_row[column]);
  }
}

template <typename T>
BT_MULTIVERSION void standardize_columns(T* x, int64_t n, int64_t w, const Centre& centre, const double* rstd) {
  const double *mean = centre.mean, *residual_mean = centre.residual_mean;
  for (int64_t i = 0; i < n; ++i) {
    T* row = x + i * w;
    for (int64_t column = 0; column < w; ++column)
      row[column] = static_cast<T>(centred(row[column], mean[column], residual_mean[column]) * rstd[column]);
  }
}

template <typename T>
BT_MULTIVERSION void blend_columns(T* __restrict t, double alpha, const T* __restrict other, const T* __restrict weight,
                                   const T* __restrict y, int64_t n, int64_t w, double* __restrict q) {
  const T factor = static_cast<T>(alpha);
  for (int64_t column = 0; column < w; ++column) q[column] = 0;
  for (int64_t i = 0; i < n; ++i) {
    T* t_row = t + i * w;
    const T *other_row = other + i * w, *y_row = y + i * w;
    for (int64_t column = 0; column < w; ++column) {
      const T value = factor * t_row[column] + weight[column] * other_row[column];
      t_row[column] = value;
      q[column] += static_cast<double>(value) * static_cast<double>(y_row[column]);
    }
  }
}

template <typename T>
BT_MULTIVERSION void standardize_columns_backward(T* __restrict t, const T* __restrict y, const T* __restrict rstd,
                                                  const T* __restrict q, int64_t n, int64_t w) {
  for (int64_t i = 0; i < n; ++i) {
    T* t_row = t + i * w;
    const T* y_row = y + i * w;
    for (int64_t column = 0; column < w; ++column)
      t_row[column] = rstd[column] * (t_row[column] - y_row[column] * q[column]);
  }
}

template <typename T>
BT_MULTIVERSION void combine_columns(T* __restrict t, const T* __restrict alpha, const T* __restrict other,
                                     const T* __restrict beta, const T* __restrict y, const T* __restrict gamma,
                                     int64_t n, int64_t w) {
  for (int64_t i = 0; i < n; ++i) {
    T* t_row = t + i * w;
    const T *other_row = other + i * w, *y_row = y + i * w;
    for (int64_t column = 0; column < w; ++column)
      t_row[column] = alpha[column] * t_row[column] + beta[column] * other_row[column] - gamma[column] * y_row[column];
  }
}

#define BT_INSTANTIATE(T)                                                                              \
  template void column_sums<T>(const T*, int64_t, int64_t, double*);                                   \
  template void column_centred_squares<T>(const T*, int64_t, int64_t, const Centre&, double*);         \
  template void column_squares<T>(const T*, int64_t, int64_t, int64_t, double*);                       \
  template void column_products<T>(const T*, const T*, int64_t, int64_t, double*);                     \
  template void standardize_columns<T>(T*, int64_t, int64_t, const Centre&, const double*);            \
  template void blend_columns<T>(T*, double, const T*, const T*, const T*, int64_t, int64_t, double*); \
  template void standardize_columns_backward<T>(T*, const T*, const T*, const T*, int64_t, int64_t);   \
  template void combine_columns<T>(T*, const T*, const T*, const T*, const T*, const T*, int64_t, int64_t);

BT_INSTANTIATE(float)
BT_INSTANTIATE(double)

}  // namespace bt::cpu

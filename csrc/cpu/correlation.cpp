// Here N >= D as a rule and the products dominate: both views are standardized whole, (N, D), and each product is one
// call that all threads share inside the BLAS. C is in the accumulation type and its squares are summed in double.
#include "cpu/correlation.h"

#include "cpu/matmul.h"
#include "cpu/multiversion.h"
#include "cpu/threads.h"
#include "cpu/workspace.h"

namespace bt::cpu {
namespace {

template <typename T>
BT_MULTIVERSION double sum_of_squares(const T* x, int64_t count) {
  constexpr int64_t kLanes = 16;  // a fixed order of summation that vectorises
  double lanes[kLanes] = {}, sum = 0;
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int64_t l = 0; l < kLanes; ++l) lanes[l] += static_cast<double>(x[i + l]) * static_cast<double>(x[i + l]);
  }
  for (; i < count; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  for (double lane : lanes) sum += lane;
  return sum;
}

}  // namespace

template <typename T>
void correlate(const T* y_left, int64_t rows, const T* y_right, int64_t n, int64_t d, T* out) {
  multiply(row_major(out, rows, d, d), row_major(y_left, n, rows, d).transposed(), row_major(y_right, n, d, d),
           1.0 / static_cast<double>(n), false);
}

template <typename scalar_t>
Terms correlation_forward(const Embeddings<scalar_t>& z_a, const Embeddings<scalar_t>& z_b, const Options& options,
                          double* c_diagonal, Statistics statistics, accumulation_t<scalar_t>* c) {
  using acc_t = accumulation_t<scalar_t>;
  const int64_t n = z_a.n, d = z_a.d, threads = torch::stable::get_num_threads();
  const int64_t width = panel_width(n, d, threads, sizeof(acc_t));
  const Workspace<acc_t> y_a(n * d), y_b(n * d);

  for_each_share(ceil_div(d, width), threads, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t first = begin * width; first < std::min(d, end * width); first += width) {
      const int64_t w = std::min(width, d - first);
      acc_t *panel_a = y_a.data() + first, *panel_b = y_b.data() + first;
      standardize(z_a, first, w, options, statistics.mean_a, statistics.rstd_a, panel_a, d);
      standardize(z_b, first, w, options, statistics.mean_b, statistics.rstd_b, panel_b, d);
      correlate_diagonal(panel_a, d, panel_b, d, n, w, c_diagonal + first);
    }
  });

  const int64_t rows_at_a_time = c ? d : correlation_rows(n, d);
  const Workspace<acc_t> c_rows(c ? 0 : rows_at_a_time * d);
  const Workspace<double> row_sums(d);
  for (int64_t first = 0; first < d; first += rows_at_a_time) {
    const int64_t rows = std::min(rows_at_a_time, d - first);
    acc_t* out = c ? c : c_rows.data();
    correlate(y_a.data() + first, rows, y_b.data(), n, d, out);
    for_each_share(rows, threads, [&](int64_t, int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) row_sums.data()[first + i] = sum_of_squares(out + i * d, d);
    });
  }
  double sum_c_squared = 0;
  for (int64_t i = 0; i < d; ++i) sum_c_squared += row_sums.data()[i];
  return finish_terms(c_diagonal, d, sum_c_squared, options);
}

#define BT_INSTANTIATE(T)                                                                                             \
  template Terms correlation_forward<T>(const Embeddings<T>&, const Embeddings<T>&, const Options&, double*,          \
                                        Statistics, accumulation_t<T>*);

BT_INSTANTIATE(double)
BT_INSTANTIATE(float)
BT_INSTANTIATE(c10::BFloat16)
BT_INSTANTIATE(c10::Half)
template void correlate<float>(const float*, int64_t, const float*, int64_t, int64_t, float*);
template void correlate<double>(const double*, int64_t, const double*, int64_t, int64_t, double*);

}  // namespace bt::cpu

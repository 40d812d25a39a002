// The statistics come from contiguous panels in cache, which are then written into the whole y_a and y_b. C is in the
// accumulation type, and its squares off the diagonal are summed in double, row by row. Its diagonal, which the terms
// and d depend on most, is a sum in double of its own.
#include <numeric>
#include <utility>

#include "cpu/correlation.h"
#include "cpu/matmul.h"
#include "cpu/sums.h"
#include "cpu/threads.h"
#include "cpu/workspace.h"

namespace bt::cpu {
namespace {

// Both views, (n, D) contiguous, and their C_ii.
template <typename scalar_t>
void standardize_views(const ViewEmbeddings<scalar_t>& z_a, const ViewEmbeddings<scalar_t>& z_b,
                       const StandardizeOptions& options, double samples, double* c_diagonal, Statistics statistics,
                       accumulation_t<scalar_t>* y_a, accumulation_t<scalar_t>* y_b) {
  using acc_t = accumulation_t<scalar_t>;
  const int64_t n = z_a.n, d = z_a.d, threads = threads_for(n * d);
  const int64_t width = panel_width(n, d, threads, sizeof(acc_t)), panels = ceil_div(d, width);
  const Workspace<acc_t> scratch(2 * n * width * std::min(threads, panels));
  for_each_share(panels, threads, [&](int64_t slot, int64_t begin, int64_t end) {
    acc_t *panel_a = scratch.data() + slot * 2 * n * width, *panel_b = panel_a + n * width;
    for (int64_t first = begin * width; first < std::min(d, end * width); first += width) {
      const int64_t w = std::min(width, d - first);
      standardize(z_a, first, w, options, statistics.a, panel_a);
      standardize(z_b, first, w, options, statistics.b, panel_b);
      correlate_diagonal(panel_a, panel_b, n, w, samples, c_diagonal + first);
      store(panel_a, n, w, y_a + first, d);
      store(panel_b, n, w, y_b + first, d);
    }
  });
}

// sums[r] = sum_j c[r, j]^2, c (rows, D).
template <typename T>
void row_squares(const T* c, int64_t rows, int64_t d, double* sums) {
  for_each_share(rows, threads_for(rows * d), [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) sums[r] = dot(c + r * d, c + r * d, d);
  });
}

Terms add_up(const double* c_diagonal, const double* row_sums, int64_t d) {
  return {DiagonalSums(c_diagonal, d).on_diagonal, std::accumulate(row_sums, row_sums + d, 0.0)};
}

}  // namespace

template <typename T>
void correlate(const T* y_left, int64_t first, int64_t rows, const T* y_right, int64_t n, int64_t d, double samples,
               T* out) {
  multiply(row_major(out, rows, d, d), row_major(y_left + first, n, rows, d).transposed(), row_major(y_right, n, d, d),
           1.0 / samples, false);
  for (int64_t r = 0; r < rows; ++r) out[r * d + first + r] = 0;
}

template <typename scalar_t>
Terms correlation_forward(const ViewEmbeddings<scalar_t>& z_a, const ViewEmbeddings<scalar_t>& z_b,
                          const StandardizeOptions& options, double* c_diagonal, Statistics statistics,
                          CorrelationResiduals<accumulation_t<scalar_t>> residuals) {
  using acc_t = accumulation_t<scalar_t>;
  const int64_t n = z_a.n, d = z_a.d, rows_at_a_time = residuals.c_off_diagonal ? d : correlation_rows(n, d);
  const double samples = static_cast<double>(n);
  const Workspace<acc_t> y(residuals.c_off_diagonal ? 0 : 2 * n * d);
  acc_t* const y_a = residuals.c_off_diagonal ? residuals.y_a : y.data();
  acc_t* const y_b = residuals.c_off_diagonal ? residuals.y_b : y.data() + n * d;
  standardize_views(z_a, z_b, options, samples, c_diagonal, statistics, y_a, y_b);

  const Workspace<acc_t> c_rows(residuals.c_off_diagonal ? 0 : rows_at_a_time * d);
  const Workspace<double> row_sums(d);
  acc_t* const c_off_diagonal = residuals.c_off_diagonal ? residuals.c_off_diagonal : c_rows.data();
  for (int64_t first = 0; first < d; first += rows_at_a_time) {
    const int64_t rows = std::min(rows_at_a_time, d - first);
    correlate(y_a, first, rows, y_b, n, d, samples, c_off_diagonal);
    row_squares(c_off_diagonal, rows, d, row_sums.data() + first);
  }
  return add_up(c_diagonal, row_sums.data(), d);
}

template <typename scalar_t>
void correlation_partial(const ViewEmbeddings<scalar_t>& z_a, const ViewEmbeddings<scalar_t>& z_b,
                         Statistics statistics, double samples, accumulation_t<scalar_t>* c,
                         accumulation_t<scalar_t>* y_a, accumulation_t<scalar_t>* y_b) {
  using acc_t = accumulation_t<scalar_t>;
  const int64_t n = z_a.n, d = z_a.d;
  const Workspace<acc_t> y(y_a ? 0 : 2 * n * d);
  if (!y_a) y_a = y.data(), y_b = y_a + n * d;
  const Workspace<double> c_diagonal(d);
  StandardizeOptions options{};
  options.given = true;
  standardize_views(z_a, z_b, options, samples, c_diagonal.data(), statistics, y_a, y_b);
  correlate(y_a, 0, d, y_b, n, d, samples, c);
  for (int64_t i = 0; i < d; ++i) c[i * d + i] = static_cast<acc_t>(c_diagonal.data()[i]);
}

template <typename T>
Terms correlation_total(T* c, int64_t d, double* c_diagonal) {
  const Workspace<double> row_sums(d);
  for (int64_t i = 0; i < d; ++i) c_diagonal[i] = static_cast<double>(std::exchange(c[i * d + i], T{0}));
  row_squares(c, d, d, row_sums.data());
  return add_up(c_diagonal, row_sums.data(), d);
}

#define BT_INSTANTIATE(T)                                                                                              \
  template Terms correlation_forward<T>(const ViewEmbeddings<T>&, const ViewEmbeddings<T>&, const StandardizeOptions&, \
                                        double*, Statistics, CorrelationResiduals<accumulation_t<T>>);                 \
  template void correlation_partial<T>(const ViewEmbeddings<T>&, const ViewEmbeddings<T>&, Statistics, double,         \
                                       accumulation_t<T>*, accumulation_t<T>*, accumulation_t<T>*);

BT_INSTANTIATE(double)
BT_INSTANTIATE(float)
BT_INSTANTIATE(c10::BFloat16)
BT_INSTANTIATE(c10::Half)
template Terms correlation_total<float>(float*, int64_t, double*);
template Terms correlation_total<double>(double*, int64_t, double*);
template void correlate<float>(const float*, int64_t, int64_t, const float*, int64_t, int64_t, double, float*);
template void correlate<double>(const double*, int64_t, int64_t, const double*, int64_t, int64_t, double, double*);

}  // namespace bt::cpu

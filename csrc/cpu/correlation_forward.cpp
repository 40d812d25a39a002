// The statistics come from contiguous panels in cache, which are then written into the whole y_a and y_b. C is in the
// accumulation type and its squares are summed in double, row by row.
#include <numeric>

#include "cpu/correlation.h"
#include "cpu/matmul.h"
#include "cpu/sums.h"
#include "cpu/threads.h"
#include "cpu/workspace.h"

namespace bt::cpu {

template <typename T>
void correlate(const T* y_left, int64_t rows, const T* y_right, int64_t n, int64_t d, T* out) {
  multiply(row_major(out, rows, d, d), row_major(y_left, n, rows, d).transposed(), row_major(y_right, n, d, d),
           1.0 / static_cast<double>(n), false);
}

template <typename scalar_t>
Terms correlation_forward(const Embeddings<scalar_t>& z_a, const Embeddings<scalar_t>& z_b, const Options& options,
                          double* c_diagonal, Statistics statistics, Kept<accumulation_t<scalar_t>> kept) {
  using acc_t = accumulation_t<scalar_t>;
  const int64_t n = z_a.n, d = z_a.d, threads = threads_for(n * d);
  const int64_t width = panel_width(n, d, threads, sizeof(acc_t)), panels = ceil_div(d, width);
  const Workspace<acc_t> scratch(2 * n * width * std::min(threads, panels)), whole(kept.c ? 0 : 2 * n * d);
  acc_t* const y_a = kept.c ? kept.y_a : whole.data();
  acc_t* const y_b = kept.c ? kept.y_b : whole.data() + n * d;

  for_each_share(panels, threads, [&](int64_t slot, int64_t begin, int64_t end) {
    acc_t *panel_a = scratch.data() + slot * 2 * n * width, *panel_b = panel_a + n * width;
    for (int64_t first = begin * width; first < std::min(d, end * width); first += width) {
      const int64_t w = std::min(width, d - first);
      standardize(z_a, first, w, options, statistics.mean_a, statistics.rstd_a, panel_a);
      standardize(z_b, first, w, options, statistics.mean_b, statistics.rstd_b, panel_b);
      correlate_diagonal(panel_a, panel_b, n, w, c_diagonal + first);
      store(panel_a, n, w, y_a + first, d);
      store(panel_b, n, w, y_b + first, d);
    }
  });

  const int64_t rows_at_a_time = kept.c ? d : correlation_rows(n, d);
  const Workspace<acc_t> c_rows(kept.c ? 0 : rows_at_a_time * d);
  const Workspace<double> row_sums(d);
  acc_t* const c = kept.c ? kept.c : c_rows.data();
  for (int64_t first = 0; first < d; first += rows_at_a_time) {
    const int64_t rows = std::min(rows_at_a_time, d - first);
    correlate(y_a + first, rows, y_b, n, d, c);
    for_each_share(rows, threads, [&](int64_t, int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const acc_t *row = c + i * d, *beyond = row + first + i + 1;  // without the diagonal element before beyond
        row_sums.data()[first + i] = dot(row, row, first + i) + dot(beyond, beyond, d - first - i - 1);
      }
    });
  }
  return finish_terms(c_diagonal, d, std::accumulate(row_sums.data(), row_sums.data() + d, 0.0), options);
}

#define BT_INSTANTIATE(T)                                                                                             \
  template Terms correlation_forward<T>(const Embeddings<T>&, const Embeddings<T>&, const Options&, double*,          \
                                        Statistics, Kept<accumulation_t<T>>);

BT_INSTANTIATE(double)
BT_INSTANTIATE(float)
BT_INSTANTIATE(c10::BFloat16)
BT_INSTANTIATE(c10::Half)
template void correlate<float>(const float*, int64_t, const float*, int64_t, int64_t, float*);
template void correlate<double>(const double*, int64_t, const double*, int64_t, int64_t, double*);

}  // namespace bt::cpu

// One view is standardized whole, (N, D); the other panel by panel, so the scratch is one embedding and a panel of C
// per thread. C is in the accumulation type and its squares are summed in double.
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
void correlation_rows(const T* y_left, int64_t rows, const T* y_right, int64_t n, int64_t d, T* out) {
  multiply(row_major(out, rows, d, d), row_major(y_left, n, rows, rows).transposed(), row_major(y_right, n, d, d),
           1.0 / static_cast<double>(n), false);
}

template <typename scalar_t>
Terms correlation_forward(const Embeddings<scalar_t>& z_a, const Embeddings<scalar_t>& z_b, const Options& options,
                          double* c_diagonal, Statistics statistics, accumulation_t<scalar_t>* c) {
  using acc_t = accumulation_t<scalar_t>;
  const int64_t n = z_a.n, d = z_a.d, threads = torch::stable::get_num_threads();
  const int64_t width = panel_width(n, d, threads, sizeof(acc_t)), panels = ceil_div(d, width);
  const int64_t slots = std::min(threads, panels);
  const Workspace<acc_t> y_b(n * d), y_a_panels(n * width * slots), c_panels(c ? 0 : width * d * slots);

  for_each_share(panels, threads, [&](int64_t slot, int64_t begin, int64_t end) {
    acc_t* y_a = y_a_panels.data() + slot * n * width;
    for (int64_t panel = begin; panel < end; ++panel) {
      const int64_t first = panel * width, w = std::min(width, d - first);
      standardize(z_b, first, w, options, statistics.mean_b, statistics.rstd_b, y_b.data() + first, d);
      standardize(z_a, first, w, options, statistics.mean_a, statistics.rstd_a, y_a, w);
      correlate_diagonal(y_a, w, y_b.data() + first, d, n, w, c_diagonal + first);
    }
  });

  const Workspace<double> panel_sums(panels);
  for_each_share(panels, threads, [&](int64_t slot, int64_t begin, int64_t end) {
    acc_t* y_a = y_a_panels.data() + slot * n * width;
    for (int64_t panel = begin; panel < end; ++panel) {
      const int64_t first = panel * width, w = std::min(width, d - first);
      standardize_again(z_a, first, w, statistics.mean_a, statistics.rstd_a, y_a, w);
      acc_t* rows = c ? c + first * d : c_panels.data() + slot * width * d;
      correlation_rows(y_a, w, y_b.data(), n, d, rows);
      panel_sums.data()[panel] = sum_of_squares(rows, w * d);
    }
  });
  double sum_c_squared = 0;
  for (int64_t panel = 0; panel < panels; ++panel) sum_c_squared += panel_sums.data()[panel];
  return finish_terms(c_diagonal, d, sum_c_squared, options);
}

#define BT_INSTANTIATE(T)                                                                                             \
  template Terms correlation_forward<T>(const Embeddings<T>&, const Embeddings<T>&, const Options&, double*,          \
                                        Statistics, accumulation_t<T>*);

BT_INSTANTIATE(double)
BT_INSTANTIATE(float)
BT_INSTANTIATE(c10::BFloat16)
BT_INSTANTIATE(c10::Half)
template void correlation_rows<float>(const float*, int64_t, const float*, int64_t, int64_t, float*);
template void correlation_rows<double>(const double*, int64_t, const double*, int64_t, int64_t, double*);

}  // namespace bt::cpu

// Scratch, gram: three panels per thread (y_a, y_b and the product). Scratch, correlation: both views standardized
// whole, rows of C where it was not kept, and for 16-bit embeddings the product, which otherwise is formed in dz itself.
#include "cpu/gradient.h"

#include <type_traits>

#include "cpu/correlation.h"
#include "cpu/matmul.h"
#include "cpu/threads.h"
#include "cpu/workspace.h"

namespace bt::cpu {
namespace {

// A view's standardized panel or matrix: (n, w) with leading dimension ld.
template <typename T>
struct Panel {
  T* data;
  int64_t ld;
};

// The pass behind the matrix product, for one panel: from the product t to the gradient, in place.
template <typename T>
class PanelFinisher {
 public:
  PanelFinisher(int64_t n, int64_t width, int64_t slots, const Options& options, const TermWeights& weights,
                const double* c_diagonal)
      : n_(n), width_(width), divisor_(options.variance_divisor(n)), weights_(weights), c_diagonal_(c_diagonal),
        q_sums_(width * slots), columns_(3 * width * slots) {}

  // Columns [first, first + w); alpha multiplies t. rstd is the view's, all D of it.
  void finish(int64_t slot, int64_t first, int64_t w, Panel<T> t, double alpha, Panel<const T> y,
              Panel<const T> y_other, const double* rstd) const {
    double* q_sum = q_sums_.data() + slot * width_;
    T *diagonal = columns_.data() + slot * 3 * width_, *q = diagonal + width_, *rstd_rounded = q + width_;
    for (int64_t c = 0; c < w; ++c) {
      diagonal[c] = static_cast<T>(weights_.diagonal(c_diagonal_[first + c]) / static_cast<double>(n_));
    }
    blend_columns(t.data, t.ld, alpha, y_other.data, y_other.ld, diagonal, y.data, y.ld, n_, w, q_sum);
    for (int64_t c = 0; c < w; ++c) {
      q[c] = static_cast<T>(q_sum[c] / divisor_);
      rstd_rounded[c] = static_cast<T>(rstd[first + c]);
    }
    standardize_columns_backward(t.data, t.ld, y.data, y.ld, rstd_rounded, q, n_, w);
  }

 private:
  int64_t n_, width_;
  double divisor_;
  TermWeights weights_;
  const double* c_diagonal_;
  Workspace<double> q_sums_;
  Workspace<T> columns_;
};

}  // namespace

template <typename scalar_t>
void gram_backward(const Embeddings<scalar_t>& z_a, const Embeddings<scalar_t>& z_b, const Options& options,
                   const TermWeights& weights, const double* c_diagonal, Statistics statistics,
                   const accumulation_t<scalar_t>* k_a, const accumulation_t<scalar_t>* k_b, scalar_t* dz_a,
                   scalar_t* dz_b) {
  using acc_t = accumulation_t<scalar_t>;
  const int64_t n = z_a.n, d = z_a.d, threads = torch::stable::get_num_threads();
  const int64_t width = panel_width(n, d, threads, sizeof(acc_t)), panels = ceil_div(d, width);
  const int64_t slots = std::min(threads, panels);
  const double alpha = 2 * weights.off_diagonal / (static_cast<double>(n) * static_cast<double>(n));
  const PanelFinisher<acc_t> finisher(n, width, slots, options, weights, c_diagonal);
  const Workspace<acc_t> scratch(3 * n * width * slots);

  for_each_share(panels, threads, [&](int64_t slot, int64_t begin, int64_t end) {
    acc_t *y_a = scratch.data() + slot * 3 * n * width, *y_b = y_a + n * width, *t = y_b + n * width;
    for (int64_t panel = begin; panel < end; ++panel) {
      const int64_t first = panel * width, w = std::min(width, d - first);
      standardize_again(z_a, first, w, statistics.mean_a, statistics.rstd_a, y_a, w);
      standardize_again(z_b, first, w, statistics.mean_b, statistics.rstd_b, y_b, w);
      const auto one_view = [&](const acc_t* k_other, const acc_t* y, const acc_t* y_other, const double* rstd,
                                scalar_t* dz) {
        multiply(row_major(t, n, w, w), row_major(k_other, n, n, n), row_major(y, n, w, w), 1.0, false);
        finisher.finish(slot, first, w, {t, w}, alpha, {y, w}, {y_other, w}, rstd);
        store(t, w, n, w, dz + first, d);
      };
      if (dz_a) one_view(k_b, y_a, y_b, statistics.rstd_a, dz_a);
      if (dz_b) one_view(k_a, y_b, y_a, statistics.rstd_b, dz_b);
    }
  });
}

template <typename scalar_t>
void correlation_backward(const Embeddings<scalar_t>& z_a, const Embeddings<scalar_t>& z_b, const Options& options,
                          const TermWeights& weights, const double* c_diagonal, Statistics statistics,
                          const accumulation_t<scalar_t>* c, scalar_t* dz_a, scalar_t* dz_b) {
  using acc_t = accumulation_t<scalar_t>;
  constexpr bool kInPlace = std::is_same_v<scalar_t, acc_t>;
  const int64_t n = z_a.n, d = z_a.d, threads = torch::stable::get_num_threads();
  const int64_t width = panel_width(n, d, threads, sizeof(acc_t)), panels = ceil_div(d, width);
  const int64_t slots = std::min(threads, panels);
  const double alpha = 2 * weights.off_diagonal / static_cast<double>(n);
  const PanelFinisher<acc_t> finisher(n, width, slots, options, weights, c_diagonal);
  const int64_t rows_at_a_time = c ? d : correlation_rows(n, d);
  const Workspace<acc_t> y_a(n * d), y_b(n * d), products(kInPlace ? 0 : n * d), c_rows(c ? 0 : rows_at_a_time * d);

  const auto for_each_panel = [&](const auto& body) {
    for_each_share(panels, threads, [&](int64_t slot, int64_t begin, int64_t end) {
      for (int64_t panel = begin; panel < end; ++panel) {
        body(slot, panel * width, std::min(width, d - panel * width));
      }
    });
  };
  for_each_panel([&](int64_t, int64_t first, int64_t w) {
    standardize_again(z_a, first, w, statistics.mean_a, statistics.rstd_a, y_a.data() + first, d);
    standardize_again(z_b, first, w, statistics.mean_b, statistics.rstd_b, y_b.data() + first, d);
  });

  const auto one_view = [&](const acc_t* y, const acc_t* y_other, const double* rstd, bool transpose, scalar_t* dz) {
    acc_t* t;  // the product, (N, D)
    if constexpr (kInPlace) {
      t = dz;
    } else {
      t = products.data();
    }
    for (int64_t first = 0; first < d; first += rows_at_a_time) {
      const int64_t rows = std::min(rows_at_a_time, d - first);
      auto c_part = row_major<const acc_t>(c ? c : c_rows.data(), rows, d, d);  // rows of C for view a, of C^T for b
      if (!c) correlate(y + first, rows, y_other, n, d, c_rows.data());
      if (c && transpose) c_part = c_part.transposed();
      multiply(row_major(t + first, n, rows, d), row_major(y_other, n, d, d), c_part.transposed(), 1.0, false);
    }
    for_each_panel([&](int64_t slot, int64_t first, int64_t w) {
      finisher.finish(slot, first, w, {t + first, d}, alpha, {y + first, d}, {y_other + first, d}, rstd);
      if constexpr (!kInPlace) store(t + first, d, n, w, dz + first, d);
    });
  };
  if (dz_a) one_view(y_a.data(), y_b.data(), statistics.rstd_a, false, dz_a);
  if (dz_b) one_view(y_b.data(), y_a.data(), statistics.rstd_b, true, dz_b);
}

#define BT_INSTANTIATE(T)                                                                                             \
  template void gram_backward<T>(const Embeddings<T>&, const Embeddings<T>&, const Options&, const TermWeights&,      \
                                 const double*, Statistics, const accumulation_t<T>*, const accumulation_t<T>*, T*,   \
                                 T*);                                                                                 \
  template void correlation_backward<T>(const Embeddings<T>&, const Embeddings<T>&, const Options&,                   \
                                        const TermWeights&, const double*, Statistics, const accumulation_t<T>*, T*,  \
                                        T*);

BT_INSTANTIATE(double)
BT_INSTANTIATE(float)
BT_INSTANTIATE(c10::BFloat16)
BT_INSTANTIATE(c10::Half)

}  // namespace bt::cpu

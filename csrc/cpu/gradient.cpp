#include "cpu/gradient.h"

#include "cpu/correlation.h"
#include "cpu/matmul.h"
#include "cpu/threads.h"
#include "cpu/workspace.h"

namespace bt::cpu {
namespace {

// The pass behind the matrix product: from the product's panel t (n, w), contiguous, to dz. See the header.
template <typename scalar_t>
class PanelFinisher {
  using acc_t = accumulation_t<scalar_t>;

 public:
  PanelFinisher(int64_t n, int64_t width, int64_t slots, const Options& options, const TermWeights& weights,
                const double* c_diagonal)
      : n_(n), width_(width), divisor_(options.variance_divisor(n)), weights_(weights), c_diagonal_(c_diagonal),
        doubles_(width * slots), columns_(3 * width * slots) {}

  void finish(int64_t slot, int64_t first, int64_t w, acc_t* t, double alpha, const acc_t* y, int64_t ldy,
              const acc_t* y_other, int64_t ld_other, const double* rstd, scalar_t* dz, int64_t d) const {
    double* q_sum = doubles_.data() + slot * width_;
    acc_t *diagonal = columns_.data() + slot * 3 * width_, *q = diagonal + width_, *rstd_rounded = q + width_;
    for (int64_t c = 0; c < w; ++c) {
      diagonal[c] = static_cast<acc_t>(weights_.diagonal(c_diagonal_[first + c]) / static_cast<double>(n_));
    }
    blend_columns(t, w, alpha, y_other, ld_other, diagonal, y, ldy, n_, w, q_sum);
    for (int64_t c = 0; c < w; ++c) {
      q[c] = static_cast<acc_t>(q_sum[c] / divisor_);
      rstd_rounded[c] = static_cast<acc_t>(rstd[first + c]);
    }
    standardize_columns_backward(t, w, y, ldy, rstd_rounded, q, n_, w);
    store(t, n_, w, dz + first, d);
  }

 private:
  int64_t n_, width_;
  double divisor_;
  TermWeights weights_;
  const double* c_diagonal_;
  Workspace<double> doubles_;
  Workspace<acc_t> columns_;
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
  const PanelFinisher<scalar_t> finisher(n, width, slots, options, weights, c_diagonal);
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
        finisher.finish(slot, first, w, t, alpha, y, w, y_other, w, rstd, dz, d);
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
  const int64_t n = z_a.n, d = z_a.d, threads = torch::stable::get_num_threads();
  const int64_t width = panel_width(n, d, threads, sizeof(acc_t)), panels = ceil_div(d, width);
  const int64_t slots = std::min(threads, panels);
  const double alpha = 2 * weights.off_diagonal / static_cast<double>(n);
  const PanelFinisher<scalar_t> finisher(n, width, slots, options, weights, c_diagonal);
  const Workspace<acc_t> whole(n * d), scratch(2 * n * width * slots), c_panels(c ? 0 : width * d * slots);

  // The other view is standardized whole, this one panel by panel. own_rows: rows of C belong to this view's features.
  const auto one_view = [&](const Embeddings<scalar_t>& z, const double* mean, const double* rstd,
                            const Embeddings<scalar_t>& z_other, const double* mean_other, const double* rstd_other,
                            bool own_rows, scalar_t* dz) {
    for_each_share(panels, threads, [&](int64_t, int64_t begin, int64_t end) {
      for (int64_t first = begin * width; first < std::min(d, end * width); first += width) {
        standardize_again(z_other, first, std::min(width, d - first), mean_other, rstd_other, whole.data() + first, d);
      }
    });
    for_each_share(panels, threads, [&](int64_t slot, int64_t begin, int64_t end) {
      acc_t *y = scratch.data() + slot * 2 * n * width, *t = y + n * width;
      for (int64_t panel = begin; panel < end; ++panel) {
        const int64_t first = panel * width, w = std::min(width, d - first);
        standardize_again(z, first, w, mean, rstd, y, w);
        Matrix<const acc_t> c_rows;  // (w, D): rows of C for view a, of C^T for view b
        if (c) {
          c_rows = own_rows ? row_major(c + first * d, w, d, d) : row_major(c + first, d, w, d).transposed();
        } else {
          acc_t* rows = c_panels.data() + slot * width * d;
          correlation_rows(y, w, whole.data(), n, d, rows);
          c_rows = row_major<const acc_t>(rows, w, d, d);
        }
        multiply(row_major(t, n, w, w), row_major<const acc_t>(whole.data(), n, d, d), c_rows.transposed(), 1.0, false);
        finisher.finish(slot, first, w, t, alpha, y, w, whole.data() + first, d, rstd, dz, d);
      }
    });
  };
  const Statistics& s = statistics;
  if (dz_a) one_view(z_a, s.mean_a, s.rstd_a, z_b, s.mean_b, s.rstd_b, true, dz_a);
  if (dz_b) one_view(z_b, s.mean_b, s.rstd_b, z_a, s.mean_a, s.rstd_a, false, dz_b);
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

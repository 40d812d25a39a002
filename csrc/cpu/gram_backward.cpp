// A panel holds all N rows, so q is complete before the panel leaves the cache: d, q, the standardize backward, the
// incoming gradient and the rounding are two passes in cache behind the matrix product, and z is read and dz written
// once. Scratch: three panels per thread (y_a, y_b and the product). q is summed in double.
#include "cpu/gram.h"
#include "cpu/matmul.h"
#include "cpu/threads.h"
#include "cpu/workspace.h"

namespace bt::cpu {
namespace {

// The passes behind the matrix product, for one panel: from the product t (n, w) to the gradient, in place.
template <typename T>
class PanelFinisher {
 public:
  PanelFinisher(int64_t n, int64_t width, int64_t slots, double eps, const Batch& batch, const TermWeights& weights,
                const double* c_diagonal)
      : n_(n), width_(width), batch_(batch), alpha_(2 * weights.off_diagonal / (batch.samples * batch.samples)),
        alpha_eps_(alpha_ * eps), weights_(weights), c_diagonal_(c_diagonal), q_sums_(width * slots),
        columns_(3 * width * slots) {}

  // Columns [first, first + w) of a view; rstd is all D of it. The panels are contiguous.
  void finish(int64_t slot, int64_t first, int64_t w, T* t, const T* y, const T* y_other, const double* rstd,
              double shift_other) const {
    double* q_sum = q_sums_.data() + slot * width_;
    T *diagonal = columns_.data() + slot * 3 * width_, *q = diagonal + width_, *rstd_rounded = q + width_;
    for (int64_t column = 0; column < w; ++column) {
      diagonal[column] = static_cast<T>(weights_.diagonal(c_diagonal_[first + column]) / batch_.samples);
    }
    blend_columns(t, alpha_, y_other, diagonal, y, n_, w, q_sum);
    for (int64_t column = 0; column < w; ++column) {
      const double r = rstd[first + column];
      q[column] = static_cast<T>(batch_.standardized
                                     ? -alpha_ * shift_other
                                     : q_sum[column] / batch_.variance_divisor - alpha_eps_ * shift_other * r * r);
      rstd_rounded[column] = static_cast<T>(r);
    }
    standardize_columns_backward(t, y, rstd_rounded, q, n_, w);
  }

 private:
  int64_t n_, width_;
  Batch batch_;
  double alpha_, alpha_eps_;
  TermWeights weights_;
  const double* c_diagonal_;
  Workspace<double> q_sums_;
  Workspace<T> columns_;
};

}  // namespace

template <typename scalar_t>
void gram_backward(const ViewEmbeddings<scalar_t>& z_a, const ViewEmbeddings<scalar_t>& z_b, double eps,
                   const Batch& batch, const TermWeights& weights, const double* c_diagonal, Statistics statistics,
                   Shifts shifts, const accumulation_t<scalar_t>* k_a, const accumulation_t<scalar_t>* k_b,
                   scalar_t* dz_a, scalar_t* dz_b) {
  using acc_t = accumulation_t<scalar_t>;
  const int64_t n = z_a.n, d = z_a.d, threads = threads_for(n * d);
  const int64_t width = panel_width(n, d, threads, sizeof(acc_t)), panels = ceil_div(d, width);
  const int64_t slots = std::min(threads, panels);
  const PanelFinisher<acc_t> finisher(n, width, slots, eps, batch, weights, c_diagonal);
  const Workspace<acc_t> scratch(3 * n * width * slots);

  for_each_share(panels, threads, [&](int64_t slot, int64_t begin, int64_t end) {
    acc_t *y_a = scratch.data() + slot * 3 * n * width, *y_b = y_a + n * width, *t = y_b + n * width;
    for (int64_t panel = begin; panel < end; ++panel) {
      const int64_t first = panel * width, w = std::min(width, d - first);
      standardize_again(z_a, first, w, statistics.a, y_a);
      standardize_again(z_b, first, w, statistics.b, y_b);
      const auto one_view = [&](const acc_t* k_other, double shift_other, const acc_t* y, const acc_t* y_other,
                                const double* rstd, scalar_t* dz) {
        multiply(row_major(t, n, w, w), row_major(k_other, n, n, n), row_major(y, n, w, w), 1.0, false);
        finisher.finish(slot, first, w, t, y, y_other, rstd, shift_other);
        store(t, n, w, dz + first, d);
      };
      if (dz_a) one_view(k_b, shifts.b, y_a, y_b, statistics.a.rstd, dz_a);
      if (dz_b) one_view(k_a, shifts.a, y_b, y_a, statistics.b.rstd, dz_b);
    }
  });
}

#define BT_INSTANTIATE(T)                                                                                         \
  template void gram_backward<T>(const ViewEmbeddings<T>&, const ViewEmbeddings<T>&, double, const Batch&,        \
                                 const TermWeights&, const double*, Statistics, Shifts, const accumulation_t<T>*, \
                                 const accumulation_t<T>*, T*, T*);

BT_INSTANTIATE(double)
BT_INSTANTIATE(float)
BT_INSTANTIATE(c10::BFloat16)
BT_INSTANTIATE(c10::Half)

}  // namespace bt::cpu

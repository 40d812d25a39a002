// q comes from the norms of C's rows (columns for view b), so the pass behind the product needs no sum over the batch:
// dz = rstd (alpha t + (d / N) y_other - (q / M) y) is one sweep over rows. The product t is formed in dz itself where
// dz has the accumulation type, else in scratch.
#include <type_traits>

#include "cpu/correlation.h"
#include "cpu/matmul.h"
#include "cpu/sums.h"
#include "cpu/threads.h"
#include "cpu/workspace.h"

namespace bt::cpu {
namespace {

// Rows of a sweep over (N, D) that stay in the second-level cache.
int64_t sweep_rows(int64_t n, int64_t d, int64_t itemsize) {
  return std::clamp<int64_t>(kPanelBytes / (d * itemsize), 1, n);
}

// All of a view standardized again, (N, D) contiguous.
template <typename scalar_t>
void standardize_all_again(const ViewEmbeddings<scalar_t>& z, const ViewStatistics& statistics, int64_t threads,
                           accumulation_t<scalar_t>* y) {
  const int64_t rows = sweep_rows(z.n, z.d, sizeof(*y));
  for_each_share(ceil_div(z.n, rows), threads, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t i = begin * rows; i < std::min(z.n, end * rows); i += rows) {
      standardize_again(z.rows(i, std::min(rows, z.n - i)), 0, z.d, statistics, y + i * z.d);
    }
  });
}

// squares[i] = |c_i,:|^2 of the rows of c (rows, D), or |c_:,i|^2 of all its columns.
template <typename T>
void norms_squared(const T* c, int64_t rows, int64_t d, bool of_columns, int64_t threads, double* squares) {
  for_each_share(of_columns ? d : rows, threads, [&](int64_t, int64_t begin, int64_t end) {
    if (of_columns) {
      column_squares(c + begin, d, rows, end - begin, squares + begin);
    } else {
      for (int64_t i = begin; i < end; ++i) squares[i] = dot(c + i * d, c + i * d, d);
    }
  });
}

}  // namespace

template <typename scalar_t>
void correlation_backward(const ViewEmbeddings<scalar_t>& z_a, const ViewEmbeddings<scalar_t>& z_b, const Batch& batch,
                          const TermWeights& weights, const double* c_diagonal, Statistics statistics,
                          CorrelationResiduals<accumulation_t<scalar_t>> residuals, scalar_t* dz_a, scalar_t* dz_b) {
  using acc_t = accumulation_t<scalar_t>;
  constexpr bool kInPlace = std::is_same_v<scalar_t, acc_t>;
  const int64_t n = z_a.n, d = z_a.d, threads = threads_for(n * d);
  const bool again = !residuals.c_off_diagonal;
  const int64_t rows_at_a_time = again ? correlation_rows(n, d) : d, sweep = sweep_rows(n, d, sizeof(acc_t));
  const Workspace<acc_t> y_again(again ? 2 * n * d : 0), c_rows(again ? rows_at_a_time * d : 0),
      products(kInPlace ? 0 : n * d), coefficients(3 * d);
  const Workspace<double> squares(d);
  acc_t *y_a = residuals.y_a, *y_b = residuals.y_b;
  if (again) {
    y_a = y_again.data(), y_b = y_a + n * d;
    standardize_all_again(z_a, statistics.a, threads, y_a);
    standardize_all_again(z_b, statistics.b, threads, y_b);
  }

  const auto one_view = [&](const acc_t* y, const acc_t* y_other, const double* rstd, bool transpose, scalar_t* dz) {
    acc_t* t;
    if constexpr (kInPlace) {
      t = dz;
    } else {
      t = products.data();
    }
    for (int64_t first = 0; first < d; first += rows_at_a_time) {
      const int64_t rows = std::min(rows_at_a_time, d - first);
      // Rows of C_off for view a; for view b rows of C_off^T, which are columns of what was kept.
      const acc_t* c_off_diagonal = again ? c_rows.data() : residuals.c_off_diagonal;
      const bool of_columns = !again && transpose;
      if (again) correlate(y, first, rows, y_other, n, d, batch.samples, c_rows.data());
      const auto c_part = row_major(c_off_diagonal, rows, d, d);
      multiply(row_major(t + first, n, rows, d), row_major(y_other, n, d, d), of_columns ? c_part : c_part.transposed(),
               1.0, false);
      norms_squared(c_off_diagonal, rows, d, of_columns, threads, squares.data() + first);
    }

    acc_t *alpha = coefficients.data(), *beta = alpha + d, *gamma = beta + d;
    for (int64_t i = 0; i < d; ++i) {
      const double diagonal = 2 * weights.on_diagonal * (c_diagonal[i] - 1);
      const double q = 2 * weights.off_diagonal * squares.data()[i] + diagonal * c_diagonal[i];
      alpha[i] = static_cast<acc_t>(rstd[i] * 2 * weights.off_diagonal / batch.samples);
      beta[i] = static_cast<acc_t>(rstd[i] * diagonal / batch.samples);
      gamma[i] = batch.standardized ? acc_t{0} : static_cast<acc_t>(rstd[i] * q / batch.variance_divisor);
    }
    for_each_share(ceil_div(n, sweep), threads, [&](int64_t, int64_t begin, int64_t end) {
      for (int64_t i = begin * sweep; i < std::min(n, end * sweep); i += sweep) {
        const int64_t rows = std::min(sweep, n - i), offset = i * d;
        combine_columns(t + offset, alpha, y_other + offset, beta, y + offset, gamma, rows, d);
        if constexpr (!kInPlace) store(t + offset, rows, d, dz + offset, d);
      }
    });
  };
  if (dz_a) one_view(y_a, y_b, statistics.a.rstd, false, dz_a);
  if (dz_b) one_view(y_b, y_a, statistics.b.rstd, true, dz_b);
}

#define BT_INSTANTIATE(T)                                                                                 \
  template void correlation_backward<T>(const ViewEmbeddings<T>&, const ViewEmbeddings<T>&, const Batch&, \
                                        const TermWeights&, const double*, Statistics,                    \
                                        CorrelationResiduals<accumulation_t<T>>, T*, T*);

BT_INSTANTIATE(double)
BT_INSTANTIATE(float)
BT_INSTANTIATE(c10::BFloat16)
BT_INSTANTIATE(c10::Half)

}  // namespace bt::cpu

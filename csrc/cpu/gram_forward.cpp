// A panel of both views is standardized in cache and multiplied into K at once; y never reaches memory. Only the
// upper triangle's row blocks are multiplied. K is float32 for float32 and 16-bit embeddings: its entries are sums of D
// products, its error is that of one BLAS product; its diagonal and <K_a, K_b> are summed in double.
//
// Two schedules, by whether a K per thread fits beside the embeddings (schedule.h):
//   split  each thread owns a share of the panels and a K of these; the threads' K are added in a fixed order
//   shared all threads standardize one wide panel, then share its products inside the BLAS
#include <algorithm>
#include <numeric>

#include "cpu/gram.h"
#include "cpu/matmul.h"
#include "cpu/multiversion.h"
#include "cpu/sums.h"
#include "cpu/threads.h"
#include "cpu/workspace.h"

namespace bt::cpu {
namespace {

constexpr int64_t kSharedPanels = 8;
constexpr int64_t kMirrorTile = 32;

// K[i:, i:] += y[i:] y[i:]^T by row blocks of the upper triangle; y is (n, w) contiguous.
template <typename T>
void accumulate_triangle(const T* y, int64_t n, int64_t w, T* k, bool accumulate) {
  const int64_t block = triangle_block(n);
  for (int64_t i = 0; i < n; i += block) {
    const auto rows = row_major(y + i * w, std::min(block, n - i), w, w);
    const auto rest = row_major(y + i * w, n - i, w, w);
    multiply(row_major(k + i * n + i, rows.rows, n - i, n), rows, rest.transposed(), 1.0, accumulate);
  }
}

template <typename T>
BT_MULTIVERSION void add(T* __restrict to, const T* __restrict from, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] += from[i];
}

// Copies the upper triangle to the lower one, by tiles, for the tile rows [first, last).
template <typename T>
void mirror(T* k, int64_t n, int64_t first, int64_t last) {
  for (int64_t i0 = first * kMirrorTile; i0 < std::min(n, last * kMirrorTile); i0 += kMirrorTile) {
    for (int64_t j0 = 0; j0 <= i0; j0 += kMirrorTile) {
      for (int64_t i = i0; i < std::min(n, i0 + kMirrorTile); ++i) {
        for (int64_t j = j0; j < std::min(i, j0 + kMirrorTile); ++j) k[i * n + j] = k[j * n + i];
      }
    }
  }
}

}  // namespace

template <typename scalar_t>
GramSums gram_partial(const ViewEmbeddings<scalar_t>& z_a, const ViewEmbeddings<scalar_t>& z_b,
                      const StandardizeOptions& options, double* c_diagonal, Statistics statistics,
                      accumulation_t<scalar_t>* k_a, accumulation_t<scalar_t>* k_b) {
  using acc_t = accumulation_t<scalar_t>;
  const int64_t n = z_a.n, d = z_a.d, threads = threads_for(n * d);
  const int64_t width = panel_width(n, d, threads, sizeof(acc_t)), panels = ceil_div(d, width);
  const int64_t slots = std::min(threads, panels);
  const bool split = slots <= gram_splits(n, d, threads);
  const int64_t shared_width = split ? 0 : std::min(d, kSharedPanels * width);
  const Workspace<acc_t> scratch(2 * n * width * slots), shared(2 * n * shared_width);
  const Workspace<acc_t> thread_sums(split ? 2 * n * n * (slots - 1) : 0);
  // K's diagonal, sums of D squares far larger than the other entries, is summed in double. (2, N) for each slot.
  const Workspace<double> diagonals(2 * n * slots);
  std::fill_n(diagonals.data(), 2 * n * slots, 0.0);

  const auto standardize_panel = [&](int64_t slot, int64_t first, int64_t w, acc_t* y_a, acc_t* y_b) {
    standardize(z_a, first, w, options, statistics.a, y_a);
    standardize(z_b, first, w, options, statistics.b, y_b);
    correlate_diagonal(y_a, y_b, n, w, static_cast<double>(n), c_diagonal + first);
    double *diagonal_a = diagonals.data() + slot * 2 * n, *diagonal_b = diagonal_a + n;
    for (int64_t i = 0; i < n; ++i) diagonal_a[i] += dot(y_a + i * w, y_a + i * w, w);
    for (int64_t i = 0; i < n; ++i) diagonal_b[i] += dot(y_b + i * w, y_b + i * w, w);
  };

  if (split) {
    for_each_share(panels, slots, [&](int64_t slot, int64_t begin, int64_t end) {
      acc_t *y_a = scratch.data() + slot * 2 * n * width, *y_b = y_a + n * width;
      acc_t* sum_a = slot ? thread_sums.data() + (slot - 1) * 2 * n * n : k_a;
      acc_t* sum_b = slot ? sum_a + n * n : k_b;
      for (int64_t panel = begin; panel < end; ++panel) {
        const int64_t first = panel * width, w = std::min(width, d - first);
        standardize_panel(slot, first, w, y_a, y_b);
        accumulate_triangle(y_a, n, w, sum_a, panel > begin);
        accumulate_triangle(y_b, n, w, sum_b, panel > begin);
      }
    });
  } else {
    acc_t *y_a = shared.data(), *y_b = y_a + n * shared_width;
    for (int64_t start = 0; start < d; start += shared_width) {
      const int64_t w_shared = std::min(shared_width, d - start);
      for_each_share(ceil_div(w_shared, width), slots, [&](int64_t slot, int64_t begin, int64_t end) {
        acc_t *panel_a = scratch.data() + slot * 2 * n * width, *panel_b = panel_a + n * width;
        for (int64_t column = begin * width; column < std::min(w_shared, end * width); column += width) {
          const int64_t w = std::min(width, w_shared - column);
          standardize_panel(slot, start + column, w, panel_a, panel_b);
          store(panel_a, n, w, y_a + column, w_shared);
          store(panel_b, n, w, y_b + column, w_shared);
        }
      });
      accumulate_triangle(y_a, n, w_shared, k_a, start > 0);
      accumulate_triangle(y_b, n, w_shared, k_b, start > 0);
    }
  }

  double *diagonal_a = diagonals.data(), *diagonal_b = diagonal_a + n;
  for (int64_t i = 2 * n; i < 2 * n * slots; ++i) diagonals.data()[i % (2 * n)] += diagonals.data()[i];
  const Shifts shifts{std::accumulate(diagonal_a, diagonal_a + n, 0.0) / static_cast<double>(n),
                      std::accumulate(diagonal_b, diagonal_b + n, 0.0) / static_cast<double>(n)};

  // Add the thread_sums, and leave K - shift I.
  const int64_t others = split ? slots - 1 : 0;
  for_each_share(n, others ? threads_for(n * n) : 1, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t beyond = i * n + i + 1, count = n - i - 1;  // the row's part of the strict upper triangle
      for (int64_t s = 0; s < others; ++s) {
        add(k_a + beyond, thread_sums.data() + s * 2 * n * n + beyond, count);
        add(k_b + beyond, thread_sums.data() + (s * 2 + 1) * n * n + beyond, count);
      }
      k_a[i * n + i] = static_cast<acc_t>(diagonal_a[i] - shifts.a);
      k_b[i * n + i] = static_cast<acc_t>(diagonal_b[i] - shifts.b);
    }
  });
  const DiagonalSums of_c(c_diagonal, d);
  return {of_c.on_diagonal, of_c.squares, shifts};
}

// <K_a, K_b> from twice the strict upper triangle and the diagonal.
template <typename T>
Terms gram_total(const GramSums& sums, int64_t n, bool needs_backward, T* k_a, T* k_b) {
  const Workspace<double> row_sums(n);
  for_each_share(ceil_div(n, kMirrorTile), threads_for(n * n), [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t i = begin * kMirrorTile; i < std::min(n, end * kMirrorTile); ++i) {
      const T *row_a = k_a + i * n + i, *row_b = k_b + i * n + i;  // the row's part of the upper triangle
      const double diagonal_a = static_cast<double>(*row_a) + sums.shifts.a;
      const double diagonal_b = static_cast<double>(*row_b) + sums.shifts.b;
      row_sums.data()[i] = 2 * dot(row_a + 1, row_b + 1, n - i - 1) + diagonal_a * diagonal_b;
    }
    if (!needs_backward) return;
    mirror(k_a, n, begin, end);
    mirror(k_b, n, begin, end);
  });
  const double inner_product = std::accumulate(row_sums.data(), row_sums.data() + n, 0.0);
  double off_diagonal = inner_product / (static_cast<double>(n) * static_cast<double>(n)) - sums.diagonal_squares;
  if (off_diagonal < 0) off_diagonal = 0;  // rounding: it is a sum of squares. NaN is not below 0 and stays.
  return {sums.on_diagonal, off_diagonal};
}

#define BT_INSTANTIATE(T)                                                                                          \
  template GramSums gram_partial<T>(const ViewEmbeddings<T>&, const ViewEmbeddings<T>&, const StandardizeOptions&, \
                                    double*, Statistics, accumulation_t<T>*, accumulation_t<T>*);

BT_INSTANTIATE(double)
BT_INSTANTIATE(float)
BT_INSTANTIATE(c10::BFloat16)
BT_INSTANTIATE(c10::Half)
template Terms gram_total<float>(const GramSums&, int64_t, bool, float*, float*);
template Terms gram_total<double>(const GramSums&, int64_t, bool, double*, double*);

}  // namespace bt::cpu

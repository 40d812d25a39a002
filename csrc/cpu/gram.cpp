// A panel of both views is standardized in cache and multiplied into K at once; y never reaches memory. Only the
// upper triangle's row blocks are multiplied. K is float32 for float32 and 16-bit embeddings: its entries are sums of D
// products, its error is that of one BLAS product, and <K_a, K_b> is summed in double.
//
// Two schedules, by whether a partial K per thread fits beside the embeddings (schedule.h):
//   split  each thread owns a share of the panels and a partial K; the partials are added in a fixed order
//   shared all threads standardize one wide panel, then share its products inside the BLAS
#include "cpu/gram.h"

#include "cpu/matmul.h"
#include "cpu/multiversion.h"
#include "cpu/threads.h"
#include "cpu/workspace.h"

namespace bt::cpu {
namespace {

constexpr int64_t kSharedPanelWidth = 1024;
constexpr int64_t kMirrorTile = 32;

// K[i:, i:] += y[i:] y[i:]^T by row blocks of the upper triangle; y is (n, w) with leading dimension ld.
template <typename T>
void accumulate_triangle(const T* y, int64_t ld, int64_t n, int64_t w, T* k, bool accumulate) {
  const int64_t block = triangle_block(n);
  for (int64_t i = 0; i < n; i += block) {
    const auto rows = row_major(y + i * ld, std::min(block, n - i), w, ld);
    const auto rest = row_major(y + i * ld, n - i, w, ld);
    multiply(row_major(k + i * n + i, rows.rows, n - i, n), rows, rest.transposed(), 1.0, accumulate);
  }
}

template <typename T>
BT_MULTIVERSION void add(T* __restrict to, const T* __restrict from, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] += from[i];
}

template <typename T>
BT_MULTIVERSION double dot(const T* x, const T* y, int64_t count) {
  constexpr int64_t kLanes = 16;  // a fixed order of summation that vectorises
  double lanes[kLanes] = {}, sum = 0;
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int64_t l = 0; l < kLanes; ++l) lanes[l] += static_cast<double>(x[i + l]) * static_cast<double>(y[i + l]);
  }
  for (; i < count; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(y[i]);
  for (double lane : lanes) sum += lane;
  return sum;
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
Terms gram_forward(const Embeddings<scalar_t>& z_a, const Embeddings<scalar_t>& z_b, const Options& options,
                   bool needs_backward, double* c_diagonal, Statistics statistics, accumulation_t<scalar_t>* k_a,
                   accumulation_t<scalar_t>* k_b) {
  using acc_t = accumulation_t<scalar_t>;
  const int64_t n = z_a.n, d = z_a.d, threads = torch::stable::get_num_threads();

  const auto standardize_panel = [&](int64_t first, int64_t w, acc_t* y_a, acc_t* y_b, int64_t ld) {
    standardize(z_a, first, w, options, statistics.mean_a, statistics.rstd_a, y_a, ld);
    standardize(z_b, first, w, options, statistics.mean_b, statistics.rstd_b, y_b, ld);
    correlate_diagonal(y_a, ld, y_b, ld, n, w, c_diagonal + first);
  };

  int64_t width = panel_width(n, d, threads, sizeof(acc_t));
  const int64_t splits = std::min(threads, ceil_div(d, width));
  const bool split = splits <= gram_splits(n, d, threads);
  if (!split) width = std::min(d, kSharedPanelWidth);
  const Workspace<acc_t> panels(2 * n * width * (split ? splits : 1));
  const Workspace<acc_t> partials(split ? 2 * n * n * (splits - 1) : 0);

  if (split) {
    for_each_share(ceil_div(d, width), splits, [&](int64_t slot, int64_t begin, int64_t end) {
      acc_t *y_a = panels.data() + slot * 2 * n * width, *y_b = y_a + n * width;
      acc_t* sum_a = slot ? partials.data() + (slot - 1) * 2 * n * n : k_a;
      acc_t* sum_b = slot ? sum_a + n * n : k_b;
      for (int64_t panel = begin; panel < end; ++panel) {
        const int64_t first = panel * width, w = std::min(width, d - first);
        standardize_panel(first, w, y_a, y_b, w);
        accumulate_triangle(y_a, w, n, w, sum_a, panel > begin);
        accumulate_triangle(y_b, w, n, w, sum_b, panel > begin);
      }
    });
  } else {
    acc_t *y_a = panels.data(), *y_b = y_a + n * width;
    for (int64_t first = 0; first < d; first += width) {
      const int64_t w = std::min(width, d - first), strip = panel_width(n, w, threads, sizeof(acc_t));
      for_each_share(ceil_div(w, strip), threads, [&](int64_t, int64_t begin, int64_t end) {
        for (int64_t c = begin * strip; c < std::min(w, end * strip); c += strip) {
          standardize_panel(first + c, std::min(strip, w - c), y_a + c, y_b + c, w);
        }
      });
      accumulate_triangle(y_a, w, n, w, k_a, first > 0);
      accumulate_triangle(y_b, w, n, w, k_b, first > 0);
    }
  }

  // Add the partials, and sum K_a * K_b: twice the strict upper triangle plus the diagonal.
  const Workspace<double> row_sums(n);
  for_each_share(n, threads, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t offset = i * n + i, count = n - i;
      for (int64_t s = 0; split && s < splits - 1; ++s) {
        add(k_a + offset, partials.data() + s * 2 * n * n + offset, count);
        add(k_b + offset, partials.data() + (s * 2 + 1) * n * n + offset, count);
      }
      row_sums.data()[i] = 2 * dot(k_a + offset + 1, k_b + offset + 1, count - 1) +
                           static_cast<double>(k_a[offset]) * static_cast<double>(k_b[offset]);
    }
  });
  double inner_product = 0;
  for (int64_t i = 0; i < n; ++i) inner_product += row_sums.data()[i];

  if (needs_backward) {
    for_each_share(ceil_div(n, kMirrorTile), threads, [&](int64_t, int64_t begin, int64_t end) {
      mirror(k_a, n, begin, end);
      mirror(k_b, n, begin, end);
    });
  }
  return finish_terms(c_diagonal, d, inner_product / (static_cast<double>(n) * static_cast<double>(n)), options);
}

#define BT_INSTANTIATE(T)                                                                                        \
  template Terms gram_forward<T>(const Embeddings<T>&, const Embeddings<T>&, const Options&, bool, double*,      \
                                 Statistics, accumulation_t<T>*, accumulation_t<T>*);

BT_INSTANTIATE(double)
BT_INSTANTIATE(float)
BT_INSTANTIATE(c10::BFloat16)
BT_INSTANTIATE(c10::Half)

}  // namespace bt::cpu

// How the CPU kernels cut their work. Torch-free, so that bt_kernels._host can show it to the tests.
//
// All passes work on panels: all N rows of a few columns, small enough to stay in one core's second-level cache from
// the first read of z to the last use of the standardized values.
#pragma once

#include <algorithm>
#include <cstdint>

namespace bt::cpu {

inline constexpr int64_t kPanelBytes = 512 * 1024;  // half of a 1 MB second-level cache
inline constexpr int64_t kMinPanelWidth = 128;      // narrower ones starve the passes and the matrix product
inline constexpr int64_t kMaxPanelWidth = 512;
inline constexpr int64_t kWidthStep = 16;  // one 64-byte line of float32

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

// Columns of a panel of (n, d) numbers of itemsize bytes: bounded by the cache, and by an even share for each thread.
inline int64_t panel_width(int64_t n, int64_t d, int64_t threads, int64_t itemsize) {
  const int64_t by_cache = kPanelBytes / (n * itemsize) / kWidthStep * kWidthStep;
  const int64_t by_threads = round_up(ceil_div(d, threads), kWidthStep);
  return std::min({std::max(by_cache, kMinPanelWidth), kMaxPanelWidth, by_threads, d});
}

// Rows of a row block of K: products of the upper triangle's row blocks cost (1 + 1/blocks)/2 of the whole.
inline int64_t triangle_block(int64_t n) {
  return n <= 96 ? n : std::clamp<int64_t>(round_up(ceil_div(n, 4), kWidthStep), 64, 256);
}

// Sums of K_a and K_b over shares of the features to keep, one per thread: as many as fit beside the embeddings, 2 S
// N^2 <= 2 N D. Fewer than the threads means that threads have to share a panel and its products instead.
inline int64_t gram_splits(int64_t n, int64_t d, int64_t threads) {
  const int64_t panels = ceil_div(d, kMinPanelWidth);
  return std::max<int64_t>(1, std::min({threads, panels, d / n}));
}

// Rows of C to form at a time when it is not kept: no more numbers than one embedding has.
inline int64_t correlation_rows(int64_t n, int64_t d) { return std::min({n, d, int64_t{512}}); }

// [begin, end) of part `index` when `count` items are cut into `parts` consecutive shares.
inline int64_t share_begin(int64_t count, int64_t parts, int64_t index) { return count * index / parts; }

}  // namespace bt::cpu

// How many features a panel has where an intermediate does not fit: the product of a large batch, C of a forced
// correlation.
#pragma once

#include "cuda/host_device.h"

namespace bt::cuda {

constexpr int64_t kPanelBytes = 24 << 20;        // of T, to stay in a 40 MB L2 beside K and the panel of y
constexpr int64_t kPanelBytesAtLeast = 8 << 20;  // whatever the embeddings' size

// Features of a panel of T (views, width, ldt) in float32: with y, K and dz three times the embeddings at most, where
// that is not tiny; a multiple of `multiple`, and equal panels rather than a narrow last one.
BT_HOST_DEVICE int64_t product_panel(int64_t n, int64_t d, int64_t views, int64_t ldt, int64_t itemsize,
                                     int64_t multiple) {
  const int64_t left = 2 * n * (d - n) * itemsize;
  int64_t budget = left > kPanelBytesAtLeast ? left : kPanelBytesAtLeast;
  budget = budget < kPanelBytes ? budget : kPanelBytes;
  int64_t widest = budget / (4 * views * ldt * multiple);
  if (widest < 1) widest = 1;
  const int64_t pieces = ceil_div(d, multiple), panels = ceil_div(pieces, widest);
  return ceil_div(pieces, panels) * multiple;
}

// Rows of C at a time when correlation is forced with N < D: no more numbers than a few embeddings, wide enough for the
// GPU.
BT_HOST_DEVICE int64_t correlation_panel(int64_t n, int64_t d, int64_t multiple) {
  const int64_t wanted = 2 * n > 512 ? 2 * n : 512;
  const int64_t panel = ceil_div(wanted < d ? wanted : d, multiple) * multiple;
  return panel;
}

}  // namespace bt::cuda

// Into how many shares the sum of a matrix product is split where its tiles alone do not fill the GPU.
#pragma once

#include "cuda/host_device.h"

namespace bt::cuda {

struct Splits {
  int count;
  int64_t share;  // numbers of the summed index per split, a multiple of the step
};

// What a split costs beyond its steps, in steps: filling and draining the pipeline, and writing and reading one split
// tile. Counted from bytes: a step of a 128 x 128 tile moves 32 KB through L2, a split tile 64 KB twice.
constexpr double kSplitFixed = 4, kSplitCombine = 3;
constexpr int kMaxSplits = 128;

// The cheapest, by steps of the busiest of `slots` (blocks that run at a time), with no more than `budget` bytes of
// split tiles, tile_bytes each.
BT_HOST_DEVICE Splits choose_splits(int64_t tiles, int64_t length, int step, int64_t slots, int64_t tile_bytes,
                                    int64_t budget) {
  const int64_t steps = ceil_div(length, step);
  int64_t most = budget / (tiles * tile_bytes);
  most = most < steps ? most : steps;
  most = most < 1 ? 1 : most > kMaxSplits ? kMaxSplits : most;
  int64_t best = 1;
  double least = 0;
  for (int64_t splits = 1; splits <= most; ++splits) {
    const int64_t share = ceil_div(steps, splits);
    if (splits > 1 && ceil_div(steps, share) != splits) continue;  // the same shares with fewer splits
    const double rounds = static_cast<double>(ceil_div(tiles * splits, slots));
    const double combine =
        splits == 1 ? 0 : kSplitCombine * static_cast<double>(tiles * splits) / static_cast<double>(slots);
    const double cost = rounds * (static_cast<double>(share) + kSplitFixed) + combine;
    if (splits == 1 || cost < least) best = splits, least = cost;
  }
  return {static_cast<int>(best), ceil_div(steps, best) * step};
}

// Warps that add the splits of one piece together, a power of two up to `most`: where there are fewer pieces than a GPU
// has warps to read them. A block has `most` warps.
BT_HOST_DEVICE int combining_warps(int64_t pieces, int splits, int multiprocessors, int most) {
  int warps = 1;
  while (2 * warps <= most && 2 * warps <= splits && pieces * warps < int64_t{2} * most * multiprocessors) warps *= 2;
  return warps;
}

}  // namespace bt::cuda

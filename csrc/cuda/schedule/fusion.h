// When standardize and gram_tiles are one kernel, and with how many blocks.
#pragma once

#include "cuda/host_device.h"

namespace bt::cuda {

constexpr int64_t kFusedSamples = 128;  // whose K a block's registers hold, of both views
constexpr int64_t kFusedRounds = 2;  // of a block: with more, standardize's four blocks on a multiprocessor are faster
constexpr int64_t kFusedTileBytes = 2 * 4 * kFusedSamples * kFusedSamples;  // split tiles of a block
constexpr int64_t kFusedBytesAtLeast = 8 << 20;  // of split tiles, whatever the embeddings' size

// Blocks of the fused kernel; 0: two kernels. Split tiles are no larger than the embeddings where those are not tiny.
BT_HOST_DEVICE int64_t fused_blocks(int64_t n, int64_t d, int64_t itemsize, int64_t multiprocessors) {
  if (n > kFusedSamples) return 0;
  const int64_t column_blocks = ceil_div(d * itemsize, 128), embeddings_bytes = 2 * n * d * itemsize;
  const int64_t budget =
      (embeddings_bytes > kFusedBytesAtLeast ? embeddings_bytes : kFusedBytesAtLeast) / kFusedTileBytes;
  int64_t blocks = column_blocks < multiprocessors ? column_blocks : multiprocessors;
  blocks = blocks < budget ? blocks : budget;
  return column_blocks <= kFusedRounds * blocks ? blocks : 0;
}

}  // namespace bt::cuda

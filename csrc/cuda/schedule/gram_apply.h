// Tiles of gram_apply, and where T's numbers wait in shared memory.
#pragma once

#include "cuda/schedule/shared_tile.h"

namespace bt::cuda {

constexpr int kApplyThreads = 256, kApplySamples = 64;

BT_HOST_DEVICE constexpr int gram_apply_features(int itemsize) { return kBoxBytes / itemsize; }

// Column of a feature's row of T at which its sample lies; piece: which 16 bytes of the tile's row of z the feature is
// in. Rows are written 16 bytes at a time and read by lanes with eight pieces and four samples: all 32 banks either
// way.
BT_HOST_DEVICE constexpr int crossed(int sample, int piece) { return sample ^ piece * 4; }

}  // namespace bt::cuda

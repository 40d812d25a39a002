// What tiles, splits and clusters depend on.
#pragma once

namespace bt::cuda {

struct Gpu {
  int capability;  // 90 for 9.0
  int multiprocessors;
  int shared_bytes;  // largest shared memory of a block
  int max_cluster;   // blocks of a cluster; 1: the GPU has none
};

}  // namespace bt::cuda

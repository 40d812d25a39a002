// The emulated GPU's side of csrc/cuda/instructions/cluster.cuh.
#pragma once

#include "cuda/instructions/cuda.cuh"

namespace bt::cuda {

inline int cluster_rank() { return emulated::cluster_rank(); }
inline int cluster_size() { return emulated::cluster_size(); }
inline void cluster_arrive() { emulated::cluster_arrive(); }
inline void cluster_wait() { emulated::cluster_wait(); }

inline void cluster_sync() {
  cluster_arrive();
  cluster_wait();
}
inline void cluster_meet() { cluster_sync(); }

inline float load_cluster(const float* own, int rank) {
  return *static_cast<const float*>(emulated::in_cluster(own, sizeof *own, rank));
}

inline double load_cluster(const double* own, int rank) {
  return *static_cast<const double*>(emulated::in_cluster(own, sizeof *own, rank));
}

}  // namespace bt::cuda

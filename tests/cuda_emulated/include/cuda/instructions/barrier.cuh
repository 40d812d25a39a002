// The emulated GPU's side of csrc/cuda/instructions/barrier.cuh.
#pragma once

#include "cuda/instructions/cuda.cuh"

namespace bt::cuda {

inline void barrier_init(uint64_t* barrier, int count) { emulated::barrier_init(barrier, count); }
inline void barrier_init_fence() { emulated::barrier_init_fence(); }
inline void barrier_expect_bytes(uint64_t* barrier, int bytes) { emulated::barrier_expect_bytes(barrier, bytes); }
inline void barrier_arrive(uint64_t* barrier) { emulated::barrier_arrive(barrier); }
inline void barrier_arrive_at(uint64_t* barrier, int rank) { emulated::barrier_arrive_at(barrier, rank); }
inline void barrier_wait(uint64_t* barrier, int parity) { emulated::barrier_wait(barrier, parity); }

inline void fence_async_shared() { emulated::fence_async_shared(); }

}  // namespace bt::cuda

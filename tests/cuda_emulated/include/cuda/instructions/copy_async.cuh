// The emulated GPU's side of csrc/cuda/instructions/copy_async.cuh.
#pragma once

#include "cuda/instructions/cuda.cuh"

namespace bt::cuda {

inline void copy_async_16(void* shared, const void* global, int bytes) { emulated::copy_async(shared, global, bytes); }

inline void copy_async_commit() { emulated::copy_async_commit(); }

template <int PENDING>
void copy_async_wait() {
  emulated::copy_async_wait(PENDING);
}

}  // namespace bt::cuda

// The emulated GPU's side of csrc/cuda/instructions/gpu.cuh: what bt_emulated_gpu() last said.
#pragma once

#include "cuda/gpu.h"
#include "cuda/instructions/cuda.cuh"

namespace bt::cuda {

inline cudaError_t describe_gpu(int, Gpu* gpu) {
  const emulated::Properties properties = emulated::properties();
  *gpu = {properties.capability, properties.multiprocessors, properties.shared_bytes, properties.max_cluster};
  return cudaSuccess;
}

}  // namespace bt::cuda

// The numbers of gpu.h, asked once per device.
#pragma once

#include <array>
#include <mutex>

#include "cuda/gpu.h"
#include "cuda/instructions/cuda.cuh"

namespace bt::cuda {

inline cudaError_t ask_gpu(int device, Gpu* gpu) {
  int major = 0, minor = 0;
  const std::pair<int*, cudaDeviceAttr> wanted[] = {{&major, cudaDevAttrComputeCapabilityMajor},
                                                    {&minor, cudaDevAttrComputeCapabilityMinor},
                                                    {&gpu->multiprocessors, cudaDevAttrMultiProcessorCount},
                                                    {&gpu->shared_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin}};
  for (const auto& [value, attribute] : wanted) {
    const cudaError_t error = cudaDeviceGetAttribute(value, attribute, device);
    if (error != cudaSuccess) return error;
  }
  gpu->capability = 10 * major + minor;
  // 16 blocks are beyond what every GPU with clusters has, but these two have them.
  gpu->max_cluster = major == 9 || major == 10 ? 16 : major > 8 ? 8 : 1;
  return cudaSuccess;
}

// Thread-safe; devices beyond the first 64 are asked each time.
inline cudaError_t describe_gpu(int device, Gpu* gpu) {
  static std::mutex mutex;
  static std::array<Gpu, 64> known{};
  if (device < 0 || device >= static_cast<int>(known.size())) return ask_gpu(device, gpu);
  const std::lock_guard<std::mutex> lock(mutex);
  Gpu& entry = known[static_cast<size_t>(device)];
  if (entry.capability == 0) {
    const cudaError_t error = ask_gpu(device, &entry);
    if (error != cudaSuccess) {
      entry = {};
      return error;
    }
  }
  *gpu = entry;
  return cudaSuccess;
}

}  // namespace bt::cuda

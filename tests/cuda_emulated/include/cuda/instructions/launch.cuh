// The emulated GPU's side of csrc/cuda/instructions/launch.cuh: the kernel has run when the launch returns.
#pragma once

#include "cuda/instructions/cuda.cuh"

namespace bt::cuda {

struct Launch {
  int64_t blocks;
  int threads;
  int shared_bytes;
  int cluster;
  bool dependent;
  cudaStream_t stream;
  int shared_limit =
      0;  // the most that a launch of this kernel asks for, where launches differ: threads share the limit
};

constexpr int kPortableCluster = 8;

template <typename... Parameters>
cudaError_t launch(void (*kernel)(Parameters...), const Launch& shape, const Parameters&... arguments) {
  const auto run = [&] { kernel(arguments...); };
  const auto result = emulated::launch(
      reinterpret_cast<const void*>(kernel), shape.blocks, shape.threads, shape.shared_bytes, shape.cluster,
      shape.dependent, [](const void* body) { (*static_cast<const decltype(run)*>(body))(); }, &run);
  switch (result) {
    case emulated::Result::success: return cudaSuccess;
    case emulated::Result::invalid_value: return cudaErrorInvalidValue;
    case emulated::Result::invalid_configuration: return cudaErrorInvalidConfiguration;
    case emulated::Result::failed: break;
  }
  return cudaErrorLaunchFailure;
}

inline cudaError_t set_zero(void* memory, size_t bytes, cudaStream_t) {
  std::memset(memory, 0, bytes);
  return cudaSuccess;
}

template <typename... Parameters>
bool cluster_fits(void (*)(Parameters...), const Launch&) {
  return true;
}

}  // namespace bt::cuda

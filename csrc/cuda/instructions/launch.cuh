// The launch of a kernel, with what clusters and programmatic dependent launch need.
#pragma once

#include "cuda/instructions/cuda.cuh"

namespace bt::cuda {

struct Launch {
  int64_t blocks;  // a multiple of cluster
  int threads;
  int shared_bytes;
  int cluster;     // blocks of a cluster; 1 on GPUs that have none
  bool dependent;  // starts beside the kernel before: grid.cuh
  cudaStream_t stream;
};

constexpr int kPortableCluster = 8;  // larger ones only where the kernel asks for them

// Below sm_90 there is no dependent launch, and the attribute is refused.
template <typename... Parameters>
cudaError_t launch(void (*kernel)(Parameters...), const Launch& shape, const Parameters&... arguments) {
  if (shape.blocks > 0x7FFFFFFF) return cudaErrorInvalidConfiguration;
  const void* function = reinterpret_cast<const void*>(kernel);
  if (shape.shared_bytes > 48 * 1024) {  // beyond this a kernel has to be told
    const cudaError_t error =
        cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize, shape.shared_bytes);
    if (error != cudaSuccess) return error;
  }
  if (shape.cluster > kPortableCluster) {
    const cudaError_t error = cudaFuncSetAttribute(function, cudaFuncAttributeNonPortableClusterSizeAllowed, 1);
    if (error != cudaSuccess) return error;
  }
  cudaLaunchAttribute attributes[2];
  unsigned count = 0;
  if (shape.cluster > 1) {
    attributes[count].id = cudaLaunchAttributeClusterDimension;
    attributes[count].val.clusterDim.x = static_cast<unsigned>(shape.cluster);
    attributes[count].val.clusterDim.y = attributes[count].val.clusterDim.z = 1;
    ++count;
  }
  if (shape.dependent) {
    attributes[count].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[count].val.programmaticStreamSerializationAllowed = 1;
    ++count;
  }
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(shape.blocks));
  config.blockDim = dim3(static_cast<unsigned>(shape.threads));
  config.dynamicSmemBytes = static_cast<size_t>(shape.shared_bytes);
  config.stream = shape.stream;
  config.attrs = attributes;
  config.numAttrs = count;
  void* pointers[] = {const_cast<void*>(static_cast<const void*>(&arguments))...};
  return cudaLaunchKernelExC(&config, function, pointers);
}

}  // namespace bt::cuda

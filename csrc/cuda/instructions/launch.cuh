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
  int shared_limit =
      0;  // the most that a launch of this kernel asks for, where launches differ: threads share the limit
};

constexpr int kPortableCluster = 8;  // larger ones only where the kernel asks for them

// What a kernel has to be told before it is launched like this.
inline cudaError_t allow(const void* function, const Launch& shape) {
  const int limit = shape.shared_limit > shape.shared_bytes ? shape.shared_limit : shape.shared_bytes;
  if (limit > 48 * 1024) {
    const cudaError_t error = cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize, limit);
    if (error != cudaSuccess) return error;
  }
  return shape.cluster > kPortableCluster
             ? cudaFuncSetAttribute(function, cudaFuncAttributeNonPortableClusterSizeAllowed, 1)
             : cudaSuccess;
}

// Below sm_90 there is no dependent launch, and the attribute is refused.
template <typename... Parameters>
cudaError_t launch(void (*kernel)(Parameters...), const Launch& shape, const Parameters&... arguments) {
  if (shape.blocks > 0x7FFFFFFF) return cudaErrorInvalidConfiguration;
  const void* function = reinterpret_cast<const void*>(kernel);
  if (const cudaError_t error = allow(function, shape)) return error;
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

// In the stream, before what is launched next; that must not be dependent.
inline cudaError_t set_zero(void* memory, size_t bytes, cudaStream_t stream) {
  return cudaMemsetAsync(memory, 0, bytes, stream);
}

// Whether the GPU has room for one of the launch's clusters: parts of a GPU (MIG, green contexts) and small ones may
// have no group of multiprocessors that is large enough for more than kPortableCluster blocks.
template <typename... Parameters>
bool cluster_fits(void (*kernel)(Parameters...), const Launch& shape) {
  const void* function = reinterpret_cast<const void*>(kernel);
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim.x = static_cast<unsigned>(shape.cluster);
  attribute.val.clusterDim.y = attribute.val.clusterDim.z = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(shape.cluster));
  config.blockDim = dim3(static_cast<unsigned>(shape.threads));
  config.dynamicSmemBytes = static_cast<size_t>(shape.shared_bytes);
  config.attrs = &attribute;
  config.numAttrs = 1;
  int clusters = 0;
  return allow(function, shape) == cudaSuccess &&
         cudaOccupancyMaxActiveClusters(&clusters, function, &config) == cudaSuccess && clusters > 0;
}

}  // namespace bt::cuda

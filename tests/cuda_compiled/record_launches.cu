// The ops' host side on a machine without a GPU: what they launch is written down instead of queued.
//
// Linked with the objects of csrc/cuda in place of CUDA's runtime, of which it has as much as they call. Addresses are
// made up: the host side looks at none. It answers as the runtime and the driver would where their documentation
// refuses something.
#include <cuda.h>
#include <cuda_occupancy.h>

#include <map>
#include <string>

#include "cuda/loss.h"

using namespace bt::cuda;

namespace {

using Launched = void (*)(const char* kernel, int64_t blocks, int threads, int shared_bytes, int cluster,
                          int dependent);

struct Function {
  std::string name;                           // mangled
  int shared_bytes = 48 * 1024, cluster = 8;  // that a launch may have without being asked for more
};

// Filled before main(), when the objects register their kernels.
std::map<const void*, Function>& functions() {
  static std::map<const void*, Function> all;
  return all;
}

Launched launched;

CUresult encode_tensor_map(CUtensorMap*, CUtensorMapDataType type, cuuint32_t rank, void* base, const cuuint64_t* sizes,
                           const cuuint64_t* strides, const cuuint32_t* box, const cuuint32_t*, CUtensorMapInterleave,
                           CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill) {
  const cuuint64_t itemsize = type == CU_TENSOR_MAP_DATA_TYPE_FLOAT32 ? 4 : 2;
  bool valid = reinterpret_cast<uintptr_t>(base) % 16 == 0 && box[0] * itemsize <= 128;  // the swizzle's width
  for (cuuint32_t i = 0; i < rank; ++i) {
    valid = valid && sizes[i] >= 1 && sizes[i] <= uint64_t{1} << 32 && box[i] >= 1 && box[i] <= 256;
    valid = valid && (i == 0 || (strides[i - 1] % 16 == 0 && strides[i - 1] < uint64_t{1} << 40));
  }
  return valid ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

class MadeUp final : public Scratch {
 public:
  void* take(int64_t bytes) override {
    const uintptr_t address = next_;
    next_ += (static_cast<uintptr_t>(bytes) + 255) / 256 * 256;
    return reinterpret_cast<void*>(address);
  }

 private:
  uintptr_t next_ = 1 << 20;
};

}  // namespace

extern "C" {

void** __cudaRegisterFatBinary(void*) {
  static void* handle;
  return &handle;
}
void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaUnregisterFatBinary(void**) {}
void __cudaRegisterFunction(void**, const char* function, char*, const char* name, int, uint3*, uint3*, dim3*, dim3*,
                            int*) {
  functions()[function].name = name;
}

cudaError_t cudaGetDriverEntryPointByVersion(const char*, void** function, unsigned, unsigned long long,
                                             cudaDriverEntryPointQueryResult* found) {
  *function = reinterpret_cast<void*>(&encode_tensor_map);
  *found = cudaDriverEntryPointSuccess;
  return cudaSuccess;
}

cudaError_t cudaOccupancyMaxActiveClusters(int* clusters, const void*, const cudaLaunchConfig_t*) {
  *clusters = 1;
  return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void* function, cudaFuncAttribute attribute, int value) {
  Function& known = functions().at(function);
  if (attribute == cudaFuncAttributeMaxDynamicSharedMemorySize) known.shared_bytes = value;
  if (attribute == cudaFuncAttributeNonPortableClusterSizeAllowed) known.cluster = 16;
  return cudaSuccess;
}

// A header of nvcc's has a function of that name for the device.
cudaError_t set_memory(void*, int, size_t, cudaStream_t) __asm__("cudaMemsetAsync");
cudaError_t set_memory(void*, int, size_t, cudaStream_t) { return cudaSuccess; }

cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* config, const void* function, void**) {
  const Function& known = functions().at(function);
  int cluster = 1, dependent = 0;
  for (unsigned i = 0; i < config->numAttrs; ++i) {
    const cudaLaunchAttribute& attribute = config->attrs[i];
    if (attribute.id == cudaLaunchAttributeClusterDimension) cluster = static_cast<int>(attribute.val.clusterDim.x);
    if (attribute.id == cudaLaunchAttributeProgrammaticStreamSerialization) dependent = 1;
  }
  const int shared_bytes = static_cast<int>(config->dynamicSmemBytes);
  if (shared_bytes > known.shared_bytes || cluster > known.cluster) return cudaErrorInvalidValue;
  const int threads = static_cast<int>(config->blockDim.x);
  launched(known.name.c_str(), config->gridDim.x, threads, shared_bytes, cluster, dependent);
  return cudaSuccess;
}

// One op of bt_kernels/backends/ops.py. n: rows at hand, for correlation_partial and the backward after it one of
// 16 equal shares; views: 1: dz_a, 2: dz_b, 3: both. correlation_backward has C after halves and for N >= D. Returns
// the first error.
__attribute__((visibility("default"))) int record(const char* op, int operands, int64_t n, int64_t d, int views,
                                                  int halves, const Gpu* gpu, Launched callback) {
  launched = callback;
  MadeUp memory;
  const std::string name = op;
  const auto kind = static_cast<Operands>(operands);
  const int64_t itemsize = operand_bytes(kind), squares = (d + kSquaresShare - 1) / kSquaresShare * d;
  const auto numbers = [&](int64_t count) { return memory.take_array<float>(count); };
  const auto doubles = [&](int64_t count) { return memory.take_array<double>(count); };
  const Embeddings z{memory.take(n * d * itemsize), memory.take(n * d * itemsize), n, d, d, 1, d, 1};
  const Options options{0.005, 1.0, 1e-5};
  const Batch all{n, static_cast<double>(n - 1)}, part{16 * n, static_cast<double>(16 * n - 1)};
  const Terms terms{numbers(1), numbers(1), numbers(1)};
  const OutputGradients gradients{numbers(1), nullptr, nullptr};
  const Standardized y{numbers(d), numbers(2 * d), memory.take(2 * n * row_stride(d) * itemsize)};
  void* dz_a = views & 1 ? memory.take(n * d * itemsize) : nullptr;
  void* dz_b = views & 2 ? memory.take(n * d * itemsize) : nullptr;
  if (name.rfind("correlation", 0) == 0) {
    CorrelationResiduals residuals{y, nullptr, nullptr, nullptr};
    if (halves || n >= d) {
      residuals = {y, memory.take(d * row_stride(d) * itemsize), numbers(squares), numbers(squares)};
    }
    if (name == "correlation_forward") {
      return correlation_forward(kind, z, all, options, terms, residuals, memory, *gpu, nullptr);
    }
    if (name == "correlation_backward") {
      return correlation_backward(kind, gradients, n, d, halves ? part : all, options, residuals, dz_a, dz_b, memory,
                                  *gpu, nullptr);
    }
    float* c = numbers(d * d);
    if (name == "correlation_total")
      return correlation_total(kind, c, d, options, terms, residuals, memory, *gpu, nullptr);
    const Statistics given{doubles(2 * d), doubles(2 * d)};
    return correlation_partial(kind, z, part, given, c, y, memory, *gpu, nullptr);
  }
  const GramResiduals residuals{y, numbers(2), memory.take(2 * n * row_stride(n) * itemsize)};
  if (name == "gram_forward") return gram_forward(kind, z, all, options, terms, residuals, memory, *gpu, nullptr);
  if (name == "gram_backward") {
    return gram_backward(kind, gradients, n, d, all, options, residuals, dz_a, dz_b, memory, *gpu, nullptr);
  }
  const GramPartial partial{numbers(n * (n + 1)), doubles(4)};
  if (name == "gram_total") return gram_total(kind, partial, n, options, terms, residuals, memory, *gpu, nullptr);
  return gram_partial(kind, z, all, options, {}, partial, y, memory, *gpu, nullptr);
}

// Blocks that a multiprocessor holds, by NVIDIA's own count; 0 if not even one, negative if the GPU is not known.
__attribute__((visibility("default"))) int resident_blocks(int capability, int threads_of_multiprocessor,
                                                           int shared_of_multiprocessor, int registers, int threads,
                                                           int static_bytes, int dynamic_bytes) {
  cudaOccDeviceProp gpu;
  gpu.computeMajor = capability / 10, gpu.computeMinor = capability % 10;
  gpu.maxThreadsPerBlock = 1024, gpu.maxThreadsPerMultiprocessor = threads_of_multiprocessor;
  gpu.regsPerBlock = gpu.regsPerMultiprocessor = 65536, gpu.warpSize = 32, gpu.numSms = 1;
  gpu.reservedSharedMemPerBlock = 1024, gpu.sharedMemPerBlock = 48 * 1024;
  gpu.sharedMemPerMultiprocessor = shared_of_multiprocessor;
  gpu.sharedMemPerBlockOptin = shared_of_multiprocessor - gpu.reservedSharedMemPerBlock;
  cudaOccFuncAttributes kernel;
  kernel.maxThreadsPerBlock = threads, kernel.numRegs = registers, kernel.sharedSizeBytes = static_bytes;
  kernel.partitionedGCConfig = PARTITIONED_GC_OFF, kernel.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN;
  kernel.maxDynamicSharedSizeBytes = dynamic_bytes;
  cudaOccDeviceState state;
  cudaOccResult result;
  const cudaOccError error =
      cudaOccMaxActiveBlocksPerMultiprocessor(&result, &gpu, &kernel, &state, threads, dynamic_bytes);
  return error == CUDA_OCC_SUCCESS ? result.activeBlocksPerMultiprocessor : -1;
}
}

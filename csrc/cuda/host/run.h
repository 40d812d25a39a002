// One op's run on the ATen side: device and stream, memory, errors. For bindings.cpp.
#pragma once

#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <initializer_list>
#include <vector>

#include "cuda/instructions/gpu.cuh"
#include "cuda/loss.h"
#include "shim.h"

#ifndef BT_EMULATED
// In libtorch_cuda: weak, so that the library also loads beside a torch without it, to say there what is missing.
extern "C" __attribute__((weak)) AOTITorchError aoti_torch_get_current_cuda_stream(int32_t device_index, void** stream);
#endif

namespace bt::cuda {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

#ifdef BT_EMULATED
constexpr int64_t kScratchSlack = 256;  // torch aligns memory of the CPU to 64 bytes alone
#else
constexpr int64_t kScratchSlack = 0;
#endif

// One op's run: the embeddings' device made current, its stream, and memory there.
class Run final : public Scratch {
 public:
  // like: a tensor of the op. dtype: the embeddings'.
  Run(const char* op, const Tensor& like, ScalarType dtype, bool tf32)
      : op_(op), device_(like.get_device_index()), guard_(device_) {
    switch (dtype) {
      case ScalarType::Float:
        operands_ = tf32 ? Operands::tf32 : Operands::ieee, dtype_ = aoti_torch_dtype_float32();
        break;
      case ScalarType::BFloat16: operands_ = Operands::bfloat16, dtype_ = aoti_torch_dtype_bfloat16(); break;
      case ScalarType::Half: operands_ = Operands::float16, dtype_ = aoti_torch_dtype_float16(); break;
      default: STD_TORCH_CHECK(false, "embeddings must be float32, bfloat16 or float16");
    }
#ifdef BT_EMULATED
    check(describe_gpu(0, &gpu_));
#else
    STD_TORCH_CHECK(aoti_torch_get_current_cuda_stream != nullptr, op_, ": this torch was built without CUDA");
    void* stream = nullptr;
    STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(device_, &stream));
    stream_ = static_cast<cudaStream_t>(stream);
    // Torch's guard does nothing where the device is current already, as in a fresh thread of autograd, which has no
    // context then: kernels would get one by themselves, tensor maps are refused without.
    check(cudaSetDevice(device_));
    check(describe_gpu(device_, &gpu_));
#endif
  }

  Operands operands() const { return operands_; }
  const Gpu& gpu() const { return gpu_; }
  cudaStream_t stream() const { return stream_; }

  // Uninitialized and contiguous. The shim's own call: the stable ABI's new_empty looks its op up by name each time.
  Tensor empty(std::initializer_list<int64_t> sizes, int32_t dtype) const {
    std::vector<int64_t> strides(sizes.size(), 1);
    for (size_t i = sizes.size(); i-- > 1;) strides[i - 1] = strides[i] * sizes.begin()[i];
#ifdef BT_EMULATED
    const int32_t type = aoti_torch_device_type_cpu(), index = 0;
#else
    const int32_t type = aoti_torch_device_type_cuda(), index = device_;
#endif
    AtenTensorHandle handle;
    STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(static_cast<int64_t>(sizes.size()), sizes.begin(),
                                                           strides.data(), dtype, type, index, &handle));
    return Tensor(handle);
  }

  Tensor float32(std::initializer_list<int64_t> sizes) const { return empty(sizes, aoti_torch_dtype_float32()); }
  Tensor float64(std::initializer_list<int64_t> sizes) const { return empty(sizes, aoti_torch_dtype_float64()); }
  Tensor like_embeddings(std::initializer_list<int64_t> sizes) const { return empty(sizes, dtype_); }

  // The memory goes back to torch when the op returns, while its kernels may not have run yet. That is safe: torch
  // gives it out again to the stream it was taken on alone, which is the kernels', and what uses it there runs after
  // them. A CUDA graph that captures the op has a pool of its own, which holds it for the graph's replays.
  void* take(int64_t bytes) override {
    scratch_.push_back(empty({bytes + kScratchSlack}, aoti_torch_dtype_uint8()));
    const auto address = reinterpret_cast<uintptr_t>(scratch_.back().mutable_data_ptr());
    return reinterpret_cast<void*>((address + kScratchSlack) / 256 * 256);
  }

  // Throws what went wrong, in one sentence.
  void check(cudaError_t error) const {
    if (error == cudaSuccess) return;
    constexpr int kNoKernelImage = 209;  // cudaErrorNoKernelImageForDevice, which the emulation does not know
    STD_TORCH_CHECK(static_cast<int>(error) != kNoKernelImage, op_,
                    ": the CUDA kernels were not built for compute capability ", gpu_.capability / 10, ".",
                    gpu_.capability % 10, "; python -m bt_kernels.info says for which they were");
    STD_TORCH_CHECK(false, op_, ": ", cudaGetErrorString(error));
  }

 private:
  const char* op_;
  int32_t device_, dtype_ = 0;
#ifdef BT_EMULATED
  struct NoGuard {
    explicit NoGuard(int32_t) {}
  } guard_;
#else
  torch::stable::accelerator::DeviceGuard guard_;
#endif
  Operands operands_ = Operands::ieee;
  Gpu gpu_{};
  cudaStream_t stream_{};
  std::vector<Tensor> scratch_;
};

}  // namespace bt::cuda

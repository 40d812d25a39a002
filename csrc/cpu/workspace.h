// Memory from torch's CPU allocator (64-byte aligned, seen by its memory profilers): tensors to return, and scratch.
#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/tensor.h>

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <vector>

#include "shim.h"

namespace bt::cpu {

// Uninitialized tensor on the CPU. The shim's own call, because the stable ABI's new_empty looks its op up
// by name each time, which shows in the launch-bound sizes.
inline torch::stable::Tensor empty_strided(int64_t dim, const int64_t* sizes, const int64_t* strides, int32_t dtype) {
  AtenTensorHandle handle;
  STABLE_TORCH_ERROR_CODE_CHECK(
      aoti_torch_empty_strided(dim, sizes, strides, dtype, aoti_torch_device_type_cpu(), 0, &handle));
  return torch::stable::Tensor(handle);
}

// The same, contiguous.
inline torch::stable::Tensor empty(std::initializer_list<int64_t> sizes, int32_t dtype) {
  std::vector<int64_t> strides(sizes.size(), 1);
  for (size_t i = sizes.size(); i-- > 1;) strides[i - 1] = strides[i] * sizes.begin()[i];
  return empty_strided(static_cast<int64_t>(sizes.size()), sizes.begin(), strides.data(), dtype);
}

// Scratch of count numbers, freed with the object; none for a count of 0.
template <typename T>
class Workspace {
 public:
  explicit Workspace(int64_t count) {
    if (count == 0) return;
    memory_ = std::make_unique<torch::stable::Tensor>(
        empty({count * static_cast<int64_t>(sizeof(T))}, aoti_torch_dtype_uint8()));
    data_ = static_cast<T*>(memory_->mutable_data_ptr());
  }

  T* data() const { return data_; }

 private:
  std::unique_ptr<torch::stable::Tensor> memory_;
  T* data_ = nullptr;
};

}  // namespace bt::cpu

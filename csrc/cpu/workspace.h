// Scratch memory from torch's CPU allocator (64-byte aligned, seen by its memory profilers), freed with the object.
#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <cstdint>

namespace bt::cpu {

template <typename T>
class Workspace {
 public:
  explicit Workspace(int64_t count)
      : memory_(torch::stable::empty({count * static_cast<int64_t>(sizeof(T))}, torch::headeronly::ScalarType::Byte)),
        data_(static_cast<T*>(memory_.mutable_data_ptr())) {}

  T* data() const { return data_; }

 private:
  torch::stable::Tensor memory_;
  T* data_;
};

}  // namespace bt::cpu

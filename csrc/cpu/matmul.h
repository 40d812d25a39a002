// Matrix products through ATen's BLAS: out = alpha * a @ b (+ out). Inside a parallel region the product runs on the
// calling thread alone, outside it on all of them. float32 follows torch's float32 matmul precision setting.
#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/inductor/aoti_torch/generated/c_shim_cpu.h>
#include <torch/csrc/stable/tensor.h>

#include <cstdint>
#include <type_traits>

#include "shim.h"

namespace bt::cpu {

template <typename T>
struct Matrix {
  T* data;
  int64_t rows, cols, row_stride, col_stride;

  Matrix transposed() const { return {data, cols, rows, col_stride, row_stride}; }
};

// Row-major (rows, cols) matrix with leading dimension ld.
template <typename T>
Matrix<T> row_major(T* data, int64_t rows, int64_t cols, int64_t ld) {
  return {data, rows, cols, ld, 1};
}

namespace detail {

template <typename T>
torch::stable::Tensor borrow(const Matrix<T>& m) {
  using value_t = std::remove_const_t<T>;
  const int64_t sizes[] = {m.rows, m.cols};
  const int64_t strides[] = {m.row_stride, m.col_stride};
  const int32_t dtype = std::is_same_v<value_t, double> ? aoti_torch_dtype_float64() : aoti_torch_dtype_float32();
  AtenTensorHandle handle;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_create_tensor_from_blob(const_cast<value_t*>(m.data), 2, sizes, strides, 0,
                                                                   dtype, aoti_torch_device_type_cpu(), 0, &handle));
  return torch::stable::Tensor(handle);
}

}  // namespace detail

template <typename T>
void multiply(Matrix<T> out, Matrix<const T> a, Matrix<const T> b, double alpha, bool accumulate) {
  const auto out_tensor = detail::borrow(out), a_tensor = detail::borrow(a), b_tensor = detail::borrow(b);
  // beta = 0 ignores what out held, NaN included.
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_cpu_addmm_out(out_tensor.get(), out_tensor.get(), a_tensor.get(),
                                                         b_tensor.get(), accumulate ? 1.0 : 0.0, alpha));
}

}  // namespace bt::cpu

// What the bindings of both formulations share: checks, allocation, dispatch on the dtype, and the gradients that
// come in. The kernels see raw pointers and sizes. Schemas: bt_kernels/backends/ops.py.
#pragma once

#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <array>
#include <optional>
#include <tuple>

#include "cpu/embeddings.h"
#include "cpu/schedule.h"
#include "cpu/standardize.h"
#include "cpu/terms.h"
#include "cpu/workspace.h"

namespace bt::cpu {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using OptionalTensor = std::optional<Tensor>;
using OptionalInt = std::optional<int64_t>;
template <size_t COUNT>
using Tensors = decltype(std::tuple_cat(std::array<Tensor, COUNT>{}));

// The rows of z_a and z_b may be a share of the samples.
inline void check_embeddings(const Tensor& z_a, const Tensor& z_b, OptionalInt samples = std::nullopt) {
  STD_TORCH_CHECK(z_a.dim() == 2 && z_b.dim() == 2, "z_a and z_b must have shape (N, D)");
  STD_TORCH_CHECK(z_a.size(0) == z_b.size(0) && z_a.size(1) == z_b.size(1), "z_a and z_b must have the same shape");
  STD_TORCH_CHECK(z_a.scalar_type() == z_b.scalar_type(), "z_a and z_b must have the same dtype");
  STD_TORCH_CHECK(samples.value_or(z_a.size(0)) >= 2 && z_a.size(1) >= 1,
                  "the loss needs N >= 2 samples and D >= 1 features");
  STD_TORCH_CHECK(!samples || (z_a.size(0) >= 1 && z_a.size(0) <= *samples), "a share has 1 to ", samples.value_or(0),
                  " rows, not ", z_a.size(0));
}

inline void check_numbers(const Tensor& tensor, const char* name, int64_t numel, ScalarType dtype) {
  STD_TORCH_CHECK(tensor.numel() == numel && tensor.scalar_type() == dtype && tensor.is_contiguous(), name,
                  " is not what the forward returned: expected ", numel, " contiguous numbers of ",
                  dtype == ScalarType::Double ? "float64" : "float32", ", got ", tensor.numel());
}

// That given_statistics are the rows mean, residual_mean and rstd, each of both views; copied into those of the op.
inline void copy_statistics(const Tensor& given, int64_t d, double* statistics) {
  STD_TORCH_CHECK(given.dim() == 3 && given.size(0) == 3 && given.size(1) == 2 && given.size(2) == d &&
                      given.scalar_type() == ScalarType::Double && given.is_contiguous(),
                  "given_statistics must be contiguous float64 numbers of shape (3, 2, ", d, ")");
  const double* from = static_cast<const double*>(given.const_data_ptr());
  for (int64_t row = 0; row < 3; ++row) {
    for (int64_t view = 0; view < 2; ++view) {
      std::copy_n(from + (2 * row + view) * d, d, statistics + (3 * view + row) * d);
    }
  }
}

// One matrix for each view, (2, rows, columns): each begins at a cache line, as the BLAS rounds by where they begin.
// Between them there is at least one number; Kept.apart of op_shapes.py says why.
inline Tensor empty_pair(int64_t rows, int64_t columns, int32_t dtype) {
  constexpr int64_t kLine = 16;  // float32
  const int64_t sizes[] = {2, rows, columns}, strides[] = {round_up(rows * columns + 1, kLine), columns, 1};
  return empty_strided(3, sizes, strides, dtype);
}

inline void check_pair(const Tensor& pair, const char* name, int64_t rows, int64_t columns, ScalarType dtype) {
  STD_TORCH_CHECK(pair.dim() == 3 && pair.size(0) == 2 && pair.size(1) == rows && pair.size(2) == columns &&
                      pair.stride(0) >= rows * columns && pair.stride(1) == columns && pair.stride(2) == 1 &&
                      pair.scalar_type() == dtype,
                  name, " is not what the forward returned: expected two matrices of ", rows, " x ", columns);
}

template <typename scalar_t>
ViewEmbeddings<scalar_t> view_embeddings(const Tensor& z) {
  return {static_cast<const scalar_t*>(z.const_data_ptr()), z.size(0), z.size(1), z.stride(0), z.stride(1)};
}

template <typename T>
T* data(const Tensor& tensor) {
  return static_cast<T*>(tensor.mutable_data_ptr());
}

// Calls body with a value of the embeddings' C++ type.
template <typename Body>
void dispatch(const Tensor& z, const Body& body) {
  switch (z.scalar_type()) {
    case ScalarType::Double: return body(double{});
    case ScalarType::Float: return body(float{});
    case ScalarType::BFloat16: return body(c10::BFloat16{});
    case ScalarType::Half: return body(c10::Half{});
    default: STD_TORCH_CHECK(false, "embeddings must be float64, float32, bfloat16 or float16");
  }
}

// The same for sums in an accumulation type.
template <typename Body>
void dispatch_accumulated(const Tensor& sums, const Body& body) {
  return sums.scalar_type() == ScalarType::Double ? body(double{}) : body(float{});
}

// The type that embeddings are accumulated in; that of sums is their own.
inline ScalarType accumulation_type(ScalarType dtype) {
  return dtype == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

inline ScalarType accumulation_type(const Tensor& z) { return accumulation_type(z.scalar_type()); }

// That sums are in the accumulation type of the embeddings, which are not at hand.
inline void check_accumulated(const Tensor& sums, const char* name, ScalarType dtype) {
  STD_TORCH_CHECK(sums.scalar_type() == accumulation_type(dtype), name, " must be ",
                  dtype == ScalarType::Double ? "float64" : "float32", ", in which such embeddings are accumulated");
}

inline int32_t accumulation_dtype(const Tensor& z) {
  return accumulation_type(z) == ScalarType::Double ? aoti_torch_dtype_float64() : aoti_torch_dtype_float32();
}

inline Tensor doubles(std::initializer_list<int64_t> sizes) { return empty(sizes, aoti_torch_dtype_float64()); }

// A scalar gradient's value; 0 for an output that was not used.
inline double value(const OptionalTensor& gradient) {
  if (!gradient) return 0;
  STD_TORCH_CHECK(gradient->numel() == 1, "the gradient of a scalar must be a scalar");
  switch (gradient->scalar_type()) {
    case ScalarType::Double: return *data<double>(*gradient);
    case ScalarType::Float: return *data<float>(*gradient);
    default: STD_TORCH_CHECK(false, "the gradient of the loss must be float32 or float64");
  }
}

inline TermWeights term_weights(const OptionalTensor& loss, const OptionalTensor& on, const OptionalTensor& off,
                                double lambd, double scale) {
  return {value(on) + scale * value(loss), value(off) + scale * lambd * value(loss)};
}

inline Batch batch(int64_t samples, bool unbiased, bool standardized) {
  return {static_cast<double>(samples), variance_divisor(samples, unbiased), standardized};
}

// The gradient of z; undefined, which is None in Python, where it is not needed.
inline Tensor gradient_like(const Tensor& z, bool needed) {
  if (!needed) return Tensor();
  int32_t dtype;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_dtype(z.get(), &dtype));
  return empty({z.size(0), z.size(1)}, dtype);
}

// (0,), which stands for what is not kept.
inline Tensor nothing(const Tensor& z) { return empty({0}, accumulation_dtype(z)); }

}  // namespace bt::cpu

// What the bindings of both formulations share: checks, allocation, dispatch on the dtype, and the scalars that go in
// and out. The kernels see raw pointers and sizes.
#pragma once

#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <limits>
#include <optional>
#include <tuple>

#include "cpu/embeddings.h"
#include "cpu/standardize.h"
#include "cpu/terms.h"
#include "cpu/workspace.h"

namespace bt::cpu {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using OptionalTensor = std::optional<Tensor>;
using OptionalInt = std::optional<int64_t>;

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

inline void check_statistics(const Tensor& statistics, int64_t d) {
  STD_TORCH_CHECK(statistics.dim() == 2 && statistics.size(0) == 6 && statistics.size(1) == d &&
                      statistics.scalar_type() == ScalarType::Double && statistics.is_contiguous(),
                  "statistics must be contiguous float64 numbers of shape (6, ", d, ")");
}

// That sums are in an accumulation type, where there are no embeddings to tell which.
inline void check_accumulated(const Tensor& sums, const char* name) {
  STD_TORCH_CHECK(sums.scalar_type() == ScalarType::Double || sums.scalar_type() == ScalarType::Float, name,
                  " must be float32 or float64");
}

template <typename scalar_t>
Embeddings<scalar_t> embeddings(const Tensor& z) {
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
inline ScalarType accumulation_type(const Tensor& z) {
  return z.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

inline int32_t accumulation_dtype(const Tensor& z) {
  return accumulation_type(z) == ScalarType::Double ? aoti_torch_dtype_float64() : aoti_torch_dtype_float32();
}

inline Tensor doubles(std::initializer_list<int64_t> sizes) { return empty(sizes, aoti_torch_dtype_float64()); }

inline Tensor scalar(const Tensor& z, double value) {
  Tensor out = empty({}, accumulation_dtype(z));
  if (accumulation_type(z) == ScalarType::Double) {
    *data<double>(out) = value;
  } else {
    *data<float>(out) = static_cast<float>(value);
  }
  return out;
}

// loss, on_diagonal, off_diagonal
inline std::tuple<Tensor, Tensor, Tensor> outputs(const Tensor& z, const Terms& terms, double lambd, double scale) {
  return {scalar(z, scale * (terms.on_diagonal + lambd * terms.off_diagonal)), scalar(z, terms.on_diagonal),
          scalar(z, terms.off_diagonal)};
}

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

inline Batch batch(int64_t samples, OptionalInt correction) {
  STD_TORCH_CHECK(!correction || *correction < samples, "the variance of ", samples,
                  " samples is divided by N - correction, and correction is ", correction.value_or(0));
  return {static_cast<double>(samples),
          correction ? static_cast<double>(samples - *correction) : std::numeric_limits<double>::infinity()};
}

inline Tensor gradient_like(const Tensor& z, bool needed) {
  int32_t dtype;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_dtype(z.get(), &dtype));
  return needed ? empty({z.size(0), z.size(1)}, dtype) : empty({0}, dtype);
}

}  // namespace bt::cpu

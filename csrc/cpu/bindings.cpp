// The ATen side of the CPU ops: checks, allocation, dispatch on the dtype. The kernels see raw pointers and sizes.
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <optional>
#include <tuple>

#include "cpu/correlation.h"
#include "cpu/gram.h"
#include "cpu/workspace.h"

namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using OptionalTensor = std::optional<Tensor>;
using namespace bt::cpu;

void check_embeddings(const Tensor& z_a, const Tensor& z_b) {
  STD_TORCH_CHECK(z_a.dim() == 2 && z_b.dim() == 2, "z_a and z_b must have shape (N, D)");
  STD_TORCH_CHECK(z_a.size(0) == z_b.size(0) && z_a.size(1) == z_b.size(1), "z_a and z_b must have the same shape");
  STD_TORCH_CHECK(z_a.scalar_type() == z_b.scalar_type(), "z_a and z_b must have the same dtype");
  STD_TORCH_CHECK(z_a.size(0) >= 2 && z_a.size(1) >= 1, "the loss needs N >= 2 samples and D >= 1 features");
}

void check_saved(const Tensor& saved, const char* name, int64_t numel, ScalarType dtype) {
  STD_TORCH_CHECK(saved.numel() == numel && saved.scalar_type() == dtype && saved.is_contiguous(), name,
                  " is not what the forward returned: expected ", numel, " contiguous numbers, got ", saved.numel());
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

ScalarType accumulation_type(const Tensor& z) {
  return z.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

int32_t accumulation_dtype(const Tensor& z) {
  return accumulation_type(z) == ScalarType::Double ? aoti_torch_dtype_float64() : aoti_torch_dtype_float32();
}

Tensor scalar(const Tensor& z, double value) {
  Tensor out = empty({}, accumulation_dtype(z));
  if (accumulation_type(z) == ScalarType::Double) {
    *data<double>(out) = value;
  } else {
    *data<float>(out) = static_cast<float>(value);
  }
  return out;
}

// A scalar gradient's value; 0 for an output that was not used.
double value(const OptionalTensor& gradient) {
  if (!gradient) return 0;
  STD_TORCH_CHECK(gradient->numel() == 1, "the gradient of a scalar must be a scalar");
  switch (gradient->scalar_type()) {
    case ScalarType::Double: return *data<double>(*gradient);
    case ScalarType::Float: return *data<float>(*gradient);
    default: STD_TORCH_CHECK(false, "the gradient of the loss must be float32 or float64");
  }
}

TermWeights term_weights(const OptionalTensor& loss, const OptionalTensor& on, const OptionalTensor& off, double lambd,
                         double scale) {
  return {value(on) + scale * value(loss), value(off) + scale * lambd * value(loss)};
}

struct Saved {
  Tensor c_diagonal, statistics;

  explicit Saved(const Tensor& z)
      : c_diagonal(empty({z.size(1)}, aoti_torch_dtype_float64())),
        statistics(empty({4, z.size(1)}, aoti_torch_dtype_float64())) {}
};

Tensor gradient_like(const Tensor& z, bool needed) {
  int32_t dtype;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_dtype(z.get(), &dtype));
  return needed ? empty({z.size(0), z.size(1)}, dtype) : empty({0}, dtype);
}

using EightTensors = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

template <typename T>
Kept<T> kept_data(bool keep, const Tensor& c, const Tensor& y_a, const Tensor& y_b) {
  if (!keep) return {nullptr, nullptr, nullptr};
  return {data<T>(c), data<T>(y_a), data<T>(y_b)};
}

EightTensors gram_forward_cpu(const Tensor& z_a, const Tensor& z_b, double lambd, double scale, double eps,
                              bool unbiased, bool needs_backward) {
  check_embeddings(z_a, z_b);
  const int64_t n = z_a.size(0), d = z_a.size(1);
  const Options options{lambd, scale, eps, unbiased};
  Saved saved(z_a);
  Tensor shifts = empty({2}, aoti_torch_dtype_float64());
  Tensor k_a = empty({n, n}, accumulation_dtype(z_a));
  Tensor k_b = empty({n, n}, accumulation_dtype(z_a));
  Terms terms{};
  dispatch(z_a, [&](auto zero) {
    using scalar_t = decltype(zero);
    using acc_t = accumulation_t<scalar_t>;
    terms = gram_forward(embeddings<scalar_t>(z_a), embeddings<scalar_t>(z_b), options, needs_backward,
                         data<double>(saved.c_diagonal), Statistics(data<double>(saved.statistics), d),
                         Shifts(data<double>(shifts)), data<acc_t>(k_a), data<acc_t>(k_b));
  });
  if (!needs_backward) {  // the upper triangles alone are of no use to anyone
    k_a = empty({0}, accumulation_dtype(z_a));
    k_b = empty({0}, accumulation_dtype(z_a));
  }
  return {scalar(z_a, terms.loss), scalar(z_a, terms.on_diagonal), scalar(z_a, terms.off_diagonal), saved.c_diagonal,
          saved.statistics, shifts, k_a, k_b};
}

std::tuple<Tensor, Tensor> gram_backward_cpu(const OptionalTensor& grad_loss, const OptionalTensor& grad_on,
                                             const OptionalTensor& grad_off, const Tensor& z_a, const Tensor& z_b,
                                             const Tensor& c_diagonal, const Tensor& statistics, const Tensor& shifts,
                                             const Tensor& k_a, const Tensor& k_b, double lambd, double scale,
                                             double eps, bool unbiased, bool needs_a, bool needs_b) {
  check_embeddings(z_a, z_b);
  const int64_t n = z_a.size(0), d = z_a.size(1);
  check_saved(c_diagonal, "c_diagonal", d, ScalarType::Double);
  check_saved(statistics, "statistics", 4 * d, ScalarType::Double);
  check_saved(shifts, "shifts", 2, ScalarType::Double);
  check_saved(k_a, "k_a", n * n, accumulation_type(z_a));
  check_saved(k_b, "k_b", n * n, accumulation_type(z_a));
  Tensor dz_a = gradient_like(z_a, needs_a), dz_b = gradient_like(z_b, needs_b);
  const TermWeights weights = term_weights(grad_loss, grad_on, grad_off, lambd, scale);
  dispatch(z_a, [&](auto zero) {
    using scalar_t = decltype(zero);
    using acc_t = accumulation_t<scalar_t>;
    gram_backward<scalar_t>(embeddings<scalar_t>(z_a), embeddings<scalar_t>(z_b), {lambd, scale, eps, unbiased}, weights,
                            data<double>(c_diagonal), Statistics(data<double>(statistics), d),
                            Shifts(data<double>(shifts)), data<acc_t>(k_a), data<acc_t>(k_b), needs_a ? data<scalar_t>(dz_a) : nullptr,
                            needs_b ? data<scalar_t>(dz_b) : nullptr);
  });
  return {dz_a, dz_b};
}

EightTensors correlation_forward_cpu(const Tensor& z_a, const Tensor& z_b, double lambd, double scale, double eps,
                                     bool unbiased, bool needs_backward) {
  check_embeddings(z_a, z_b);
  const int64_t n = z_a.size(0), d = z_a.size(1);
  const bool keep = needs_backward && n >= d;  // where C is not larger than an embedding
  const Options options{lambd, scale, eps, unbiased};
  Saved saved(z_a);
  const auto kept = [&](int64_t rows) {
    return keep ? empty({rows, d}, accumulation_dtype(z_a)) : empty({0}, accumulation_dtype(z_a));
  };
  Tensor c = kept(d), y_a = kept(n), y_b = kept(n);
  Terms terms{};
  dispatch(z_a, [&](auto zero) {
    using scalar_t = decltype(zero);
    terms = correlation_forward(embeddings<scalar_t>(z_a), embeddings<scalar_t>(z_b), options,
                                data<double>(saved.c_diagonal), Statistics(data<double>(saved.statistics), d),
                                kept_data<accumulation_t<scalar_t>>(keep, c, y_a, y_b));
  });
  return {scalar(z_a, terms.loss), scalar(z_a, terms.on_diagonal), scalar(z_a, terms.off_diagonal), saved.c_diagonal,
          saved.statistics, c, y_a, y_b};
}

std::tuple<Tensor, Tensor> correlation_backward_cpu(const OptionalTensor& grad_loss, const OptionalTensor& grad_on,
                                                    const OptionalTensor& grad_off, const Tensor& z_a,
                                                    const Tensor& z_b, const Tensor& c_diagonal,
                                                    const Tensor& statistics, const Tensor& c, const Tensor& y_a,
                                                    const Tensor& y_b, double lambd, double scale, double eps,
                                                    bool unbiased, bool needs_a, bool needs_b) {
  check_embeddings(z_a, z_b);
  const int64_t n = z_a.size(0), d = z_a.size(1);
  const bool keep = n >= d;
  check_saved(c_diagonal, "c_diagonal", d, ScalarType::Double);
  check_saved(statistics, "statistics", 4 * d, ScalarType::Double);
  check_saved(c, "c", keep ? d * d : 0, accumulation_type(z_a));
  check_saved(y_a, "y_a", keep ? n * d : 0, accumulation_type(z_a));
  check_saved(y_b, "y_b", keep ? n * d : 0, accumulation_type(z_a));
  Tensor dz_a = gradient_like(z_a, needs_a), dz_b = gradient_like(z_b, needs_b);
  const TermWeights weights = term_weights(grad_loss, grad_on, grad_off, lambd, scale);
  dispatch(z_a, [&](auto zero) {
    using scalar_t = decltype(zero);
    correlation_backward<scalar_t>(embeddings<scalar_t>(z_a), embeddings<scalar_t>(z_b), {lambd, scale, eps, unbiased},
                                   weights, data<double>(c_diagonal), Statistics(data<double>(statistics), d),
                                   kept_data<accumulation_t<scalar_t>>(keep, c, y_a, y_b),
                                   needs_a ? data<scalar_t>(dz_a) : nullptr, needs_b ? data<scalar_t>(dz_b) : nullptr);
  });
  return {dz_a, dz_b};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(bt_kernels, CPU, m) {
  m.impl("gram_forward", TORCH_BOX(&gram_forward_cpu));
  m.impl("gram_backward", TORCH_BOX(&gram_backward_cpu));
  m.impl("correlation_forward", TORCH_BOX(&correlation_forward_cpu));
  m.impl("correlation_backward", TORCH_BOX(&correlation_backward_cpu));
}

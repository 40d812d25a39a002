// The ATen side of the correlation form's CPU ops.
#include "cpu/bindings.h"
#include "cpu/correlation.h"
#include "cpu/finish_terms.h"

namespace {

using namespace bt::cpu;

// y (2, rows, D) to keep, or nothing.
Tensor kept_y(const Tensor& z, bool keep) {
  return keep ? empty_pair(z.size(0), z.size(1), accumulation_dtype(z)) : nothing(z);
}

// c_off_diagonal (D, D) to keep, or nothing.
Tensor kept_c(const Tensor& z, bool keep) {
  return keep ? empty({z.size(1), z.size(1)}, accumulation_dtype(z)) : nothing(z);
}

// row_squares or column_squares, which are not kept.
Tensor no_squares() { return empty({0}, aoti_torch_dtype_float32()); }

template <typename T>
T* data_if_any(const Tensor& tensor) {
  return tensor.numel() ? data<T>(tensor) : nullptr;
}

// Null for what is not kept.
template <typename T>
CorrelationResiduals<T> residual_data(const Tensor& c_off_diagonal, const Tensor& y) {
  T* y_a = data_if_any<T>(y);
  return {data_if_any<T>(c_off_diagonal), y_a, y_a ? y_a + y.stride(0) : nullptr};
}

Tensors<9> correlation_forward_cpu(const Tensor& z_a, const Tensor& z_b, double lambd, double scale, double eps,
                                   bool unbiased, bool tf32, bool needs_backward) {
  check_embeddings(z_a, z_b);
  const int64_t n = z_a.size(0), d = z_a.size(1);
  const bool keep = needs_backward && n >= d;  // where C is not larger than an embedding
  Tensor c_diagonal = doubles({d}), statistics = doubles({2, 3, d});
  Tensor c_off_diagonal = kept_c(z_a, keep), y = kept_y(z_a, keep);
  const StandardizeOptions options{eps, variance_divisor(n, unbiased), false};
  Terms terms{};
  dispatch(z_a, [&](auto zero) {
    using scalar_t = decltype(zero);
    terms = correlation_forward(view_embeddings<scalar_t>(z_a), view_embeddings<scalar_t>(z_b), options,
                                data<double>(c_diagonal), Statistics(data<double>(statistics), d),
                                residual_data<accumulation_t<scalar_t>>(c_off_diagonal, y));
  });
  return std::tuple_cat(finish_terms(z_a, terms, lambd, scale),
                        std::tuple(statistics, y, c_diagonal, c_off_diagonal, no_squares(), no_squares()));
}

Tensors<3> correlation_partial_cpu(const Tensor& z_a, const Tensor& z_b, const Tensor& given, int64_t samples,
                                   bool tf32, bool needs_backward) {
  check_embeddings(z_a, z_b, samples);
  const int64_t d = z_a.size(1);
  Tensor c = kept_c(z_a, true), y = kept_y(z_a, needs_backward), statistics = doubles({2, 3, d});
  copy_statistics(given, d, data<double>(statistics));
  dispatch(z_a, [&](auto zero) {
    using scalar_t = decltype(zero);
    const auto out = residual_data<accumulation_t<scalar_t>>(c, y);
    correlation_partial(view_embeddings<scalar_t>(z_a), view_embeddings<scalar_t>(z_b),
                        Statistics(data<double>(statistics), d), static_cast<double>(samples),
                        data<accumulation_t<scalar_t>>(c), out.y_a, out.y_b);
  });
  return {c, statistics, y};
}

// Leaves c_off_diagonal in c, for the backward: a copy would be another D x D matrix.
Tensors<7> correlation_total_cpu(const Tensor& c, int64_t n, ScalarType dtype, double lambd, double scale, bool tf32,
                                 bool needs_backward) {
  check_accumulated(c, "c", dtype);
  STD_TORCH_CHECK(c.dim() == 2 && c.size(0) == c.size(1) && c.size(0) >= 1 && c.is_contiguous(),
                  "c must be contiguous and have shape (D, D)");
  const int64_t d = c.size(0);
  Tensor c_diagonal = doubles({d});
  Terms terms{};
  dispatch_accumulated(
      c, [&](auto zero) { terms = correlation_total(data<decltype(zero)>(c), d, data<double>(c_diagonal)); });
  return std::tuple_cat(finish_terms(c, terms, lambd, scale),
                        std::tuple(c_diagonal, nothing(c), no_squares(), no_squares()));
}

Tensors<2> correlation_backward_cpu(const OptionalTensor& grad_loss, const OptionalTensor& grad_on,
                                    const OptionalTensor& grad_off, const Tensor& z_a, const Tensor& z_b,
                                    const Tensor& statistics, const Tensor& y, const Tensor& c_diagonal,
                                    const Tensor& c_off_diagonal, const Tensor& row_squares,
                                    const Tensor& column_squares, double lambd, double scale, OptionalInt samples,
                                    bool unbiased, bool standardized, bool tf32, bool needs_a, bool needs_b) {
  check_embeddings(z_a, z_b, samples);
  const int64_t rows = z_a.size(0), d = z_a.size(1), n = samples.value_or(rows);
  const bool keep = c_off_diagonal.numel() > 0;
  STD_TORCH_CHECK(keep || rows == n, "C cannot be computed again from ", rows, " of ", n, " samples");
  check_numbers(statistics, "statistics", 6 * d, ScalarType::Double);
  if (keep) {
    check_pair(y, "y", rows, d, accumulation_type(z_a));
  } else {
    check_numbers(y, "y", 0, accumulation_type(z_a));
  }
  check_numbers(c_diagonal, "c_diagonal", d, ScalarType::Double);
  check_numbers(c_off_diagonal, "c_off_diagonal", keep ? d * d : 0, accumulation_type(z_a));
  Tensor dz_a = gradient_like(z_a, needs_a), dz_b = gradient_like(z_b, needs_b);
  const TermWeights weights = term_weights(grad_loss, grad_on, grad_off, lambd, scale);
  dispatch(z_a, [&](auto zero) {
    using scalar_t = decltype(zero);
    correlation_backward<scalar_t>(view_embeddings<scalar_t>(z_a), view_embeddings<scalar_t>(z_b),
                                   batch(n, unbiased, standardized), weights, data<double>(c_diagonal),
                                   Statistics(data<double>(statistics), d),
                                   residual_data<accumulation_t<scalar_t>>(c_off_diagonal, y),
                                   needs_a ? data<scalar_t>(dz_a) : nullptr, needs_b ? data<scalar_t>(dz_b) : nullptr);
  });
  return {dz_a, dz_b};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(bt_kernels_cpu, CPU, m) {
  m.impl("correlation_forward", TORCH_BOX(&correlation_forward_cpu));
  m.impl("correlation_partial", TORCH_BOX(&correlation_partial_cpu));
  m.impl("correlation_total", TORCH_BOX(&correlation_total_cpu));
  m.impl("correlation_backward", TORCH_BOX(&correlation_backward_cpu));
}

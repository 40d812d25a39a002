// The ATen side of the correlation form's CPU ops.
#include "cpu/bindings.h"
#include "cpu/correlation.h"

namespace {

using namespace bt::cpu;

// Null for what is not kept.
template <typename T>
Kept<T> kept_data(const Tensor& c, const Tensor& y_a, const Tensor& y_b) {
  const auto pointer = [](const Tensor& tensor) { return tensor.numel() ? data<T>(tensor) : nullptr; };
  return {pointer(c), pointer(y_a), pointer(y_b)};
}

// (rows, D) numbers to keep, or none.
Tensor kept(const Tensor& z, bool keep, int64_t rows) {
  return keep ? empty({rows, z.size(1)}, accumulation_dtype(z)) : empty({0}, accumulation_dtype(z));
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> correlation_forward_cpu(
    const Tensor& z_a, const Tensor& z_b, double lambd, double scale, double eps, bool unbiased, bool needs_backward) {
  check_embeddings(z_a, z_b);
  const int64_t n = z_a.size(0), d = z_a.size(1);
  const bool keep = needs_backward && n >= d;  // where C is not larger than an embedding
  Tensor c_diagonal = doubles({d}), statistics = doubles({6, d});
  Tensor c = kept(z_a, keep, d), y_a = kept(z_a, keep, n), y_b = kept(z_a, keep, n);
  Terms terms{};
  dispatch(z_a, [&](auto zero) {
    using scalar_t = decltype(zero);
    terms = correlation_forward(embeddings<scalar_t>(z_a), embeddings<scalar_t>(z_b), {eps, unbiased, false},
                                data<double>(c_diagonal), Statistics(data<double>(statistics), d),
                                kept_data<accumulation_t<scalar_t>>(c, y_a, y_b));
  });
  return std::tuple_cat(outputs(z_a, terms, lambd, scale), std::tuple(statistics, y_a, y_b, c_diagonal, c));
}

std::tuple<Tensor, Tensor, Tensor> correlation_partial_cpu(const Tensor& z_a, const Tensor& z_b,
                                                           const Tensor& statistics, int64_t samples,
                                                           bool needs_backward) {
  check_embeddings(z_a, z_b, samples);
  const int64_t rows = z_a.size(0), d = z_a.size(1);
  check_statistics(statistics, d);
  Tensor c = kept(z_a, true, d), y_a = kept(z_a, needs_backward, rows), y_b = kept(z_a, needs_backward, rows);
  dispatch(z_a, [&](auto zero) {
    using scalar_t = decltype(zero);
    correlation_partial(embeddings<scalar_t>(z_a), embeddings<scalar_t>(z_b), Statistics(data<double>(statistics), d),
                        static_cast<double>(samples), kept_data<accumulation_t<scalar_t>>(c, y_a, y_b));
  });
  return {c, y_a, y_b};
}

// c, its diagonal moved to c_diagonal, is what the backward takes.
std::tuple<Tensor, Tensor, Tensor, Tensor> correlation_total_cpu(const Tensor& c, double lambd, double scale) {
  check_accumulated(c, "c");
  STD_TORCH_CHECK(c.dim() == 2 && c.size(0) == c.size(1) && c.size(0) >= 1 && c.is_contiguous(),
                  "c must be contiguous and have shape (D, D)");
  const int64_t d = c.size(0);
  Tensor c_diagonal = doubles({d});
  Terms terms{};
  dispatch_accumulated(
      c, [&](auto zero) { terms = correlation_total(data<decltype(zero)>(c), d, data<double>(c_diagonal)); });
  return std::tuple_cat(outputs(c, terms, lambd, scale), std::tuple(c_diagonal));
}

std::tuple<Tensor, Tensor> correlation_backward_cpu(const OptionalTensor& grad_loss, const OptionalTensor& grad_on,
                                                    const OptionalTensor& grad_off, const Tensor& z_a,
                                                    const Tensor& z_b, const Tensor& statistics, const Tensor& y_a,
                                                    const Tensor& y_b, const Tensor& c_diagonal, const Tensor& c,
                                                    double lambd, double scale, OptionalInt samples,
                                                    OptionalInt correction, bool needs_a, bool needs_b) {
  check_embeddings(z_a, z_b, samples);
  const int64_t rows = z_a.size(0), d = z_a.size(1), n = samples.value_or(rows);
  const bool keep = c.numel() > 0;
  STD_TORCH_CHECK(keep || rows == n, "C cannot be computed again from ", rows, " of ", n, " samples");
  check_numbers(statistics, "statistics", 6 * d, ScalarType::Double);
  check_numbers(y_a, "y_a", keep ? rows * d : 0, accumulation_type(z_a));
  check_numbers(y_b, "y_b", keep ? rows * d : 0, accumulation_type(z_a));
  check_numbers(c_diagonal, "c_diagonal", d, ScalarType::Double);
  check_numbers(c, "c", keep ? d * d : 0, accumulation_type(z_a));
  Tensor dz_a = gradient_like(z_a, needs_a), dz_b = gradient_like(z_b, needs_b);
  const TermWeights weights = term_weights(grad_loss, grad_on, grad_off, lambd, scale);
  dispatch(z_a, [&](auto zero) {
    using scalar_t = decltype(zero);
    correlation_backward<scalar_t>(embeddings<scalar_t>(z_a), embeddings<scalar_t>(z_b), batch(n, correction), weights,
                                   data<double>(c_diagonal), Statistics(data<double>(statistics), d),
                                   kept_data<accumulation_t<scalar_t>>(c, y_a, y_b),
                                   needs_a ? data<scalar_t>(dz_a) : nullptr, needs_b ? data<scalar_t>(dz_b) : nullptr);
  });
  return {dz_a, dz_b};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(bt_kernels, CPU, m) {
  m.impl("correlation_forward", TORCH_BOX(&correlation_forward_cpu));
  m.impl("correlation_partial", TORCH_BOX(&correlation_partial_cpu));
  m.impl("correlation_total", TORCH_BOX(&correlation_total_cpu));
  m.impl("correlation_backward", TORCH_BOX(&correlation_backward_cpu));
}

// The ATen side of the Gram form's CPU ops.
#include <algorithm>

#include "cpu/bindings.h"
#include "cpu/finish_terms.h"
#include "cpu/gram.h"
#include "cpu/triangle.h"

namespace {

using namespace bt::cpu;

// K for the backward or, where only its upper triangle was filled, nothing.
Tensor kept(const Tensor& k, bool needs_backward) { return needs_backward ? k : nothing(k); }

Tensor kept(Shifts shifts, bool needs_backward) {
  Tensor out = doubles({needs_backward ? 2 : 0});
  if (needs_backward) data<double>(out)[0] = shifts.a, data<double>(out)[1] = shifts.b;
  return out;
}

Tensors<8> gram_forward_cpu(const Tensor& z_a, const Tensor& z_b, double lambd, double scale, double eps, bool unbiased,
                            bool tf32, bool needs_backward) {
  check_embeddings(z_a, z_b);
  const int64_t n = z_a.size(0), d = z_a.size(1);
  Tensor c_diagonal = doubles({d}), statistics = doubles({2, 3, d}), k = empty_pair(n, n, accumulation_dtype(z_a));
  const StandardizeOptions options{eps, variance_divisor(n, unbiased), false};
  GramSums sums{};
  Terms terms{};
  dispatch(z_a, [&](auto zero) {
    using scalar_t = decltype(zero);
    auto *k_a = data<accumulation_t<scalar_t>>(k), *k_b = k_a + k.stride(0);
    sums = gram_partial(view_embeddings<scalar_t>(z_a), view_embeddings<scalar_t>(z_b), options,
                        data<double>(c_diagonal), Statistics(data<double>(statistics), d), k_a, k_b);
    terms = gram_total(sums, n, needs_backward, k_a, k_b);
  });
  return std::tuple_cat(
      finish_terms(z_a, terms, lambd, scale),
      std::tuple(c_diagonal, statistics, nothing(z_a), kept(sums.shifts, needs_backward), kept(k, needs_backward)));
}

Tensors<5> gram_partial_cpu(const Tensor& z_a, const Tensor& z_b, const OptionalTensor& given, double eps,
                            bool unbiased, bool tf32, bool needs_backward) {
  check_embeddings(z_a, z_b);
  const int64_t n = z_a.size(0), d = z_a.size(1), count = triangle_numel(n);
  Tensor c_diagonal = doubles({d}), statistics = doubles({2, 3, d}), sums = doubles({4});
  if (given) copy_statistics(*given, d, data<double>(statistics));
  const StandardizeOptions options{eps, variance_divisor(n, unbiased), given.has_value()};
  Tensor triangles = empty({2, count}, accumulation_dtype(z_a));
  dispatch(z_a, [&](auto zero) {
    using scalar_t = decltype(zero);
    using acc_t = accumulation_t<scalar_t>;
    const Workspace<acc_t> k(2 * n * n);
    const GramSums of =
        gram_partial(view_embeddings<scalar_t>(z_a), view_embeddings<scalar_t>(z_b), options, data<double>(c_diagonal),
                     Statistics(data<double>(statistics), d), k.data(), k.data() + n * n);
    pack_triangle(k.data(), n, data<acc_t>(triangles));
    pack_triangle(k.data() + n * n, n, data<acc_t>(triangles) + count);
    const double numbers[] = {of.on_diagonal, of.diagonal_squares, of.shifts.a, of.shifts.b};
    std::copy_n(numbers, 4, data<double>(sums));
  });
  return {triangles, sums, c_diagonal, statistics, nothing(z_a)};
}

Tensors<5> gram_total_cpu(const Tensor& triangles, const Tensor& sums, int64_t n, ScalarType dtype, double lambd,
                          double scale, bool tf32, bool needs_backward) {
  STD_TORCH_CHECK(n >= 2, "the loss needs N >= 2 samples");
  const int64_t count = triangle_numel(n);
  check_accumulated(triangles, "triangles", dtype);
  check_numbers(triangles, "triangles", 2 * count, triangles.scalar_type());
  check_numbers(sums, "sums", 4, ScalarType::Double);
  const double* of = data<double>(sums);
  const GramSums gram_sums{of[0], of[1], {of[2], of[3]}};
  Tensor k = empty_pair(n, n, accumulation_dtype(triangles));
  Terms terms{};
  dispatch_accumulated(triangles, [&](auto zero) {
    using acc_t = decltype(zero);
    acc_t *k_a = data<acc_t>(k), *k_b = k_a + k.stride(0);
    unpack_triangle(data<acc_t>(triangles), n, k_a);
    unpack_triangle(data<acc_t>(triangles) + count, n, k_b);
    terms = gram_total(gram_sums, n, needs_backward, k_a, k_b);
  });
  return std::tuple_cat(finish_terms(triangles, terms, lambd, scale),
                        std::tuple(kept(gram_sums.shifts, needs_backward), kept(k, needs_backward)));
}

Tensors<2> gram_backward_cpu(const OptionalTensor& grad_loss, const OptionalTensor& grad_on,
                             const OptionalTensor& grad_off, const Tensor& z_a, const Tensor& z_b,
                             const Tensor& c_diagonal, const Tensor& statistics, const Tensor& y, const Tensor& shifts,
                             const Tensor& k, double lambd, double scale, double eps, bool unbiased, bool standardized,
                             bool tf32, bool needs_a, bool needs_b) {
  check_embeddings(z_a, z_b);
  const int64_t n = z_a.size(0), d = z_a.size(1);
  check_numbers(c_diagonal, "c_diagonal", d, ScalarType::Double);
  check_numbers(statistics, "statistics", 6 * d, ScalarType::Double);
  check_numbers(shifts, "shifts", 2, ScalarType::Double);
  check_pair(k, "k", n, n, accumulation_type(z_a));
  Tensor dz_a = gradient_like(z_a, needs_a), dz_b = gradient_like(z_b, needs_b);
  const TermWeights weights = term_weights(grad_loss, grad_on, grad_off, lambd, scale);
  dispatch(z_a, [&](auto zero) {
    using scalar_t = decltype(zero);
    const auto *k_a = data<accumulation_t<scalar_t>>(k), *k_b = k_a + k.stride(0);
    gram_backward<scalar_t>(view_embeddings<scalar_t>(z_a), view_embeddings<scalar_t>(z_b), eps,
                            batch(n, unbiased, standardized), weights, data<double>(c_diagonal),
                            Statistics(data<double>(statistics), d), {data<double>(shifts)[0], data<double>(shifts)[1]},
                            k_a, k_b, needs_a ? data<scalar_t>(dz_a) : nullptr,
                            needs_b ? data<scalar_t>(dz_b) : nullptr);
  });
  return {dz_a, dz_b};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(bt_kernels_cpu, CPU, m) {
  m.impl("gram_forward", TORCH_BOX(&gram_forward_cpu));
  m.impl("gram_partial", TORCH_BOX(&gram_partial_cpu));
  m.impl("gram_total", TORCH_BOX(&gram_total_cpu));
  m.impl("gram_backward", TORCH_BOX(&gram_backward_cpu));
}

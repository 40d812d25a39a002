// The ATen side of the Gram form's CPU ops.
#include <algorithm>

#include "cpu/bindings.h"
#include "cpu/gram.h"
#include "cpu/triangle.h"

namespace {

using namespace bt::cpu;

// K for the backward or, where only its upper triangle was filled, nothing.
Tensor kept(const Tensor& k, bool needs_backward) { return needs_backward ? k : empty({0}, accumulation_dtype(k)); }

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> gram_forward_cpu(
    const Tensor& z_a, const Tensor& z_b, double lambd, double scale, double eps, bool unbiased, bool needs_backward) {
  check_embeddings(z_a, z_b);
  const int64_t n = z_a.size(0), d = z_a.size(1);
  Tensor c_diagonal = doubles({d}), statistics = doubles({6, d}), shifts = doubles({2});
  Tensor k_a = empty({n, n}, accumulation_dtype(z_a)), k_b = empty({n, n}, accumulation_dtype(z_a));
  Terms terms{};
  dispatch(z_a, [&](auto zero) {
    using scalar_t = decltype(zero);
    using acc_t = accumulation_t<scalar_t>;
    const GramSums sums = gram_partial(embeddings<scalar_t>(z_a), embeddings<scalar_t>(z_b), {eps, unbiased, false},
                                       data<double>(c_diagonal), Statistics(data<double>(statistics), d),
                                       data<acc_t>(k_a), data<acc_t>(k_b));
    terms = gram_total(sums, n, needs_backward, data<acc_t>(k_a), data<acc_t>(k_b));
    data<double>(shifts)[0] = sums.shifts.a, data<double>(shifts)[1] = sums.shifts.b;
  });
  return std::tuple_cat(
      outputs(z_a, terms, lambd, scale),
      std::tuple(c_diagonal, statistics, shifts, kept(k_a, needs_backward), kept(k_b, needs_backward)));
}

std::tuple<Tensor, Tensor, Tensor, Tensor> gram_partial_cpu(const Tensor& z_a, const Tensor& z_b,
                                                            const OptionalTensor& given, double eps, bool unbiased) {
  check_embeddings(z_a, z_b);
  const int64_t n = z_a.size(0), d = z_a.size(1), count = triangle_numel(n);
  Tensor c_diagonal = doubles({d}), statistics = doubles({6, d}), sums = doubles({4});
  if (given) {
    check_statistics(*given, d);
    std::copy_n(data<double>(*given), 6 * d, data<double>(statistics));
  }
  Tensor triangles = empty({2, count}, accumulation_dtype(z_a));
  dispatch(z_a, [&](auto zero) {
    using scalar_t = decltype(zero);
    using acc_t = accumulation_t<scalar_t>;
    const Workspace<acc_t> k(2 * n * n);
    const GramSums of =
        gram_partial(embeddings<scalar_t>(z_a), embeddings<scalar_t>(z_b), {eps, unbiased, given.has_value()},
                     data<double>(c_diagonal), Statistics(data<double>(statistics), d), k.data(), k.data() + n * n);
    pack_triangle(k.data(), n, data<acc_t>(triangles));
    pack_triangle(k.data() + n * n, n, data<acc_t>(triangles) + count);
    const double numbers[] = {of.on_diagonal, of.diagonal_squares, of.shifts.a, of.shifts.b};
    std::copy_n(numbers, 4, data<double>(sums));
  });
  return {triangles, sums, c_diagonal, statistics};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> gram_total_cpu(const Tensor& triangles, const Tensor& sums,
                                                                  int64_t n, double lambd, double scale,
                                                                  bool needs_backward) {
  STD_TORCH_CHECK(n >= 2, "the loss needs N >= 2 samples");
  const int64_t count = triangle_numel(n);
  check_accumulated(triangles, "triangles");
  check_numbers(triangles, "triangles", 2 * count, triangles.scalar_type());
  check_numbers(sums, "sums", 4, ScalarType::Double);
  Tensor k_a = empty({n, n}, accumulation_dtype(triangles)), k_b = empty({n, n}, accumulation_dtype(triangles));
  Terms terms{};
  dispatch_accumulated(triangles, [&](auto zero) {
    using acc_t = decltype(zero);
    unpack_triangle(data<acc_t>(triangles), n, data<acc_t>(k_a));
    unpack_triangle(data<acc_t>(triangles) + count, n, data<acc_t>(k_b));
    const double* of = data<double>(sums);
    terms = gram_total({of[0], of[1], {of[2], of[3]}}, n, needs_backward, data<acc_t>(k_a), data<acc_t>(k_b));
  });
  return std::tuple_cat(outputs(triangles, terms, lambd, scale),
                        std::tuple(kept(k_a, needs_backward), kept(k_b, needs_backward)));
}

std::tuple<Tensor, Tensor> gram_backward_cpu(const OptionalTensor& grad_loss, const OptionalTensor& grad_on,
                                             const OptionalTensor& grad_off, const Tensor& z_a, const Tensor& z_b,
                                             const Tensor& c_diagonal, const Tensor& statistics, const Tensor& shifts,
                                             const Tensor& k_a, const Tensor& k_b, double lambd, double scale,
                                             double eps, OptionalInt correction, bool needs_a, bool needs_b) {
  check_embeddings(z_a, z_b);
  const int64_t n = z_a.size(0), d = z_a.size(1);
  check_numbers(c_diagonal, "c_diagonal", d, ScalarType::Double);
  check_numbers(statistics, "statistics", 6 * d, ScalarType::Double);
  check_numbers(shifts, "shifts", 2, ScalarType::Double);
  check_numbers(k_a, "k_a", n * n, accumulation_type(z_a));
  check_numbers(k_b, "k_b", n * n, accumulation_type(z_a));
  Tensor dz_a = gradient_like(z_a, needs_a), dz_b = gradient_like(z_b, needs_b);
  const TermWeights weights = term_weights(grad_loss, grad_on, grad_off, lambd, scale);
  dispatch(z_a, [&](auto zero) {
    using scalar_t = decltype(zero);
    using acc_t = accumulation_t<scalar_t>;
    gram_backward<scalar_t>(embeddings<scalar_t>(z_a), embeddings<scalar_t>(z_b), eps, batch(n, correction), weights,
                            data<double>(c_diagonal), Statistics(data<double>(statistics), d),
                            {data<double>(shifts)[0], data<double>(shifts)[1]}, data<acc_t>(k_a), data<acc_t>(k_b),
                            needs_a ? data<scalar_t>(dz_a) : nullptr, needs_b ? data<scalar_t>(dz_b) : nullptr);
  });
  return {dz_a, dz_b};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(bt_kernels, CPU, m) {
  m.impl("gram_forward", TORCH_BOX(&gram_forward_cpu));
  m.impl("gram_partial", TORCH_BOX(&gram_partial_cpu));
  m.impl("gram_total", TORCH_BOX(&gram_total_cpu));
  m.impl("gram_backward", TORCH_BOX(&gram_backward_cpu));
}

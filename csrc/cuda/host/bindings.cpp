// The ATen side of the CUDA ops: checks, allocation, errors. The kernels see raw pointers and sizes. Schemas:
// bt_kernels/backends/ops.py. The tests compile the kernels for the CPU and this file with BT_EMULATED, where it
// implements the same ops for embeddings on the CPU.
#include <torch/csrc/stable/library.h>

#include <array>
#include <optional>
#include <tuple>

#include "cuda/host_device.h"
#include "cuda/host/run.h"

namespace {

using namespace bt::cuda;
using OptionalTensor = std::optional<Tensor>;
using OptionalInt = std::optional<int64_t>;
template <size_t COUNT>
using Tensors = decltype(std::tuple_cat(std::array<Tensor, COUNT>{}));

void check_embeddings(const Tensor& z_a, const Tensor& z_b, int64_t least_rows = 2) {
  STD_TORCH_CHECK(z_a.dim() == 2 && z_b.dim() == 2, "z_a and z_b must have shape (N, D)");
  STD_TORCH_CHECK(z_a.size(0) == z_b.size(0) && z_a.size(1) == z_b.size(1), "z_a and z_b must have the same shape");
  STD_TORCH_CHECK(z_a.scalar_type() == z_b.scalar_type(), "z_a and z_b must have the same dtype");
  STD_TORCH_CHECK(z_a.device() == z_b.device(), "z_a and z_b must have the same device");
  STD_TORCH_CHECK(z_a.size(0) >= least_rows && z_a.size(1) >= 1, "the loss needs N >= 2 samples and D >= 1 features",
                  least_rows == 1 ? ", a share of them one" : "");
}

// Data of a tensor that came out of another op: the kernels take its size, its type and alignment for granted.
template <typename T>
T* data_of(const Tensor& tensor, const char* name, const char* origin, int64_t numel, ScalarType dtype,
           const Tensor& like) {
  STD_TORCH_CHECK(tensor.numel() == numel && tensor.scalar_type() == dtype && tensor.is_contiguous(), name, " is not ",
                  origin, ": expected ", numel, " contiguous numbers, got ", tensor.numel());
  STD_TORCH_CHECK(tensor.device() == like.device(), name, " is not ", origin, ": it is on another device");
  return static_cast<T*>(tensor.mutable_data_ptr());
}

template <typename T = float>
T* residual_data(const Tensor& residual, const char* name, int64_t numel, ScalarType dtype, const Tensor& z) {
  T* data = data_of<T>(residual, name, "what the forward returned", numel, dtype, z);
  STD_TORCH_CHECK(reinterpret_cast<uintptr_t>(data) % 16 == 0, name,
                  " is not what the forward returned: it does not start at a multiple of 16 bytes");
  return data;
}

// The rows mean, residual_mean and rstd, each of both views. A mean in float64 leaves nothing that float32 could hold.
Statistics statistics_of(const OptionalTensor& given, const Tensor& z) {
  if (!given) return {};
  const int64_t d = z.size(1);
  const double* data = data_of<double>(*given, "given_statistics", "the statistics of both views, (3, 2, D) in float64",
                                       6 * d, ScalarType::Double, z);
  return {data, data + 4 * d};
}

// samples: N, where the rows of z are a share of the batch.
Batch batch_of(const Tensor& z, OptionalInt samples, bool unbiased, bool standardized = false) {
  const int64_t n = samples.value_or(z.size(0));
  STD_TORCH_CHECK(n >= z.size(0), "z has ", z.size(0), " of ", n, " samples");
  return {n, static_cast<double>(unbiased ? n - 1 : n), standardized};
}

const float* gradient(const OptionalTensor& gradient, const Tensor& z) {
  if (!gradient) return nullptr;
  STD_TORCH_CHECK(gradient->numel() == 1, "the gradient of a scalar must be a scalar");
  STD_TORCH_CHECK(gradient->scalar_type() == ScalarType::Float, "the gradient of the loss must be float32");
  STD_TORCH_CHECK(gradient->device() == z.device(), "the gradient of the loss must be on the embeddings' device");
  return static_cast<const float*>(gradient->const_data_ptr());
}

Embeddings embeddings(const Tensor& z_a, const Tensor& z_b) {
  Embeddings z{};
  z.z_a = z_a.const_data_ptr(), z.z_b = z_b.const_data_ptr();
  z.n = z_a.size(0), z.d = z_a.size(1);
  z.stride_an = z_a.stride(0), z.stride_ad = z_a.stride(1);
  z.stride_bn = z_b.stride(0), z.stride_bd = z_b.stride(1);
  return z;
}

float* float_data(const Tensor& tensor) { return static_cast<float*>(tensor.mutable_data_ptr()); }

// (0,), where it is not kept.
Tensor kept(const Run& run, bool keep, std::initializer_list<int64_t> sizes) {
  return keep ? run.like_embeddings(sizes) : run.like_embeddings({0});
}

void* data_if(bool keep, const Tensor& tensor) { return keep ? tensor.mutable_data_ptr() : nullptr; }

struct TermOutputs {
  Tensor loss, on_diagonal, off_diagonal;

  explicit TermOutputs(const Run& run)
      : loss(run.float32({})), on_diagonal(run.float32({})), off_diagonal(run.float32({})) {}

  Terms terms() const { return {float_data(loss), float_data(on_diagonal), float_data(off_diagonal)}; }
};

struct StandardizedOutputs {
  Tensor c_diagonal, rstd, y;
  void* y_data;

  StandardizedOutputs(Run& run, int64_t n, int64_t d, bool keep_y)
      : c_diagonal(run.float32({d})), rstd(run.float32({2, d})), y(kept(run, keep_y, {2, n, row_stride(d)})),
        y_data(keep_y ? y.mutable_data_ptr() : run.take(2 * n * row_stride(d) * operand_bytes(run.operands()))) {}

  Standardized standardized() const { return {float_data(c_diagonal), float_data(rstd), y_data}; }
};

// Of C, beside C_ii.
struct CorrelationResidualOutputs {
  bool keep;
  Tensor c_off_diagonal, row_squares, column_squares;

  CorrelationResidualOutputs(const Run& run, int64_t d, bool keep)
      : keep(keep), c_off_diagonal(kept(run, keep, {d, row_stride(d)})), row_squares(squares(run, d)),
        column_squares(squares(run, d)) {}

  CorrelationResiduals residuals(const Standardized& standardized) const {
    if (!keep) return {standardized, nullptr, nullptr, nullptr};
    return {standardized, c_off_diagonal.mutable_data_ptr(), float_data(row_squares), float_data(column_squares)};
  }

 private:
  Tensor squares(const Run& run, int64_t d) const {
    return keep ? run.float32({ceil_div(d, kSquaresShare), d}) : run.float32({0});
  }
};

Standardized residual_standardized(const Tensor& z, const Tensor& c_diagonal, const Tensor& rstd, const Tensor& y) {
  const int64_t n = z.size(0), d = z.size(1);
  return {residual_data(c_diagonal, "c_diagonal", d, ScalarType::Float, z),
          residual_data(rstd, "rstd", 2 * d, ScalarType::Float, z),
          residual_data<void>(y, "y", 2 * n * row_stride(d), z.scalar_type(), z)};
}

// An undefined tensor, which is None in Python, where none is needed.
struct Gradients {
  Tensor dz_a, dz_b;
  void *a, *b;

  Gradients(const Run& run, const Tensor& z, bool needs_a, bool needs_b)
      : dz_a(needs_a ? run.like_embeddings({z.size(0), z.size(1)}) : Tensor()),
        dz_b(needs_b ? run.like_embeddings({z.size(0), z.size(1)}) : Tensor()), a(data_if(needs_a, dz_a)),
        b(data_if(needs_b, dz_b)) {}
};

Tensors<8> gram_forward_op(const Tensor& z_a, const Tensor& z_b, double lambd, double scale, double eps, bool unbiased,
                           bool tf32, bool needs_backward) {
  check_embeddings(z_a, z_b);
  const int64_t n = z_a.size(0), d = z_a.size(1);
  Run run("gram_forward", z_a, z_a.scalar_type(), tf32);
  const TermOutputs out(run);
  const StandardizedOutputs y(run, n, d, needs_backward);
  Tensor shifts = run.float32({needs_backward ? 2 : 0}), k = kept(run, needs_backward, {2, n, row_stride(n)});
  const GramResiduals residuals{y.standardized(), needs_backward ? float_data(shifts) : nullptr,
                                data_if(needs_backward, k)};
  run.check(gram_forward(run.operands(), embeddings(z_a, z_b), batch_of(z_a, {}, unbiased), {lambd, scale, eps},
                         out.terms(), residuals, run, run.gpu(), run.stream()));
  return {out.loss, out.on_diagonal, out.off_diagonal, y.c_diagonal, y.rstd, y.y, shifts, k};
}

Tensors<5> gram_partial_op(const Tensor& z_a, const Tensor& z_b, const OptionalTensor& given_statistics, double eps,
                           bool unbiased, bool tf32, bool needs_backward) {
  check_embeddings(z_a, z_b);
  const int64_t n = z_a.size(0), d = z_a.size(1);
  const Statistics statistics = statistics_of(given_statistics, z_a);
  Run run("gram_partial", z_a, z_a.scalar_type(), tf32);
  const StandardizedOutputs y(run, n, d, needs_backward);
  Tensor triangles = run.float32({2, n * (n + 1) / 2}), sums = run.float64({4});
  const GramPartial partial{float_data(triangles), static_cast<double*>(sums.mutable_data_ptr())};
  constexpr double kNoWeight = 0;  // the terms are the other half's
  run.check(gram_partial(run.operands(), embeddings(z_a, z_b), batch_of(z_a, {}, unbiased), {kNoWeight, kNoWeight, eps},
                         statistics, partial, y.standardized(), run, run.gpu(), run.stream()));
  return {triangles, sums, y.c_diagonal, y.rstd, y.y};
}

Tensors<5> gram_total_op(const Tensor& triangles, const Tensor& sums, int64_t n, ScalarType dtype, double lambd,
                         double scale, bool tf32, bool needs_backward) {
  STD_TORCH_CHECK(n >= 2, "the loss needs N >= 2 samples");
  constexpr const char* kOrigin = "a sum of what gram_partial returned";
  const GramPartial partial{data_of<float>(triangles, "triangles", kOrigin, n * (n + 1), ScalarType::Float, triangles),
                            data_of<double>(sums, "sums", kOrigin, 4, ScalarType::Double, triangles)};
  Run run("gram_total", triangles, dtype, tf32);
  const TermOutputs out(run);
  Tensor shifts = run.float32({needs_backward ? 2 : 0}), k = kept(run, needs_backward, {2, n, row_stride(n)});
  const GramResiduals residuals{{}, needs_backward ? float_data(shifts) : nullptr, data_if(needs_backward, k)};
  constexpr double kNoEps = 0;  // is in y
  run.check(gram_total(run.operands(), partial, n, {lambd, scale, kNoEps}, out.terms(), residuals, run, run.gpu(),
                       run.stream()));
  return {out.loss, out.on_diagonal, out.off_diagonal, shifts, k};
}

Tensors<2> gram_backward_op(const OptionalTensor& grad_loss, const OptionalTensor& grad_on,
                            const OptionalTensor& grad_off, const Tensor& z, const Tensor& z_b,
                            const Tensor& c_diagonal, const Tensor& rstd, const Tensor& y, const Tensor& shifts,
                            const Tensor& k, double lambd, double scale, double eps, bool unbiased, bool standardized,
                            bool tf32, bool needs_a, bool needs_b) {
  check_embeddings(z, z_b);
  const int64_t n = z.size(0), d = z.size(1);
  const OutputGradients gradients{gradient(grad_loss, z), gradient(grad_on, z), gradient(grad_off, z)};
  const GramResiduals residuals{residual_standardized(z, c_diagonal, rstd, y),
                                residual_data(shifts, "shifts", 2, ScalarType::Float, z),
                                residual_data<void>(k, "k", 2 * n * row_stride(n), z.scalar_type(), z)};
  Run run("gram_backward", z, z.scalar_type(), tf32);
  Gradients dz(run, z, needs_a, needs_b);
  if (needs_a || needs_b) {
    run.check(gram_backward(run.operands(), gradients, n, d, batch_of(z, {}, unbiased, standardized),
                            {lambd, scale, eps}, residuals, dz.a, dz.b, run, run.gpu(), run.stream()));
  }
  return {dz.dz_a, dz.dz_b};
}

Tensors<9> correlation_forward_op(const Tensor& z_a, const Tensor& z_b, double lambd, double scale, double eps,
                                  bool unbiased, bool tf32, bool needs_backward) {
  check_embeddings(z_a, z_b);
  const int64_t n = z_a.size(0), d = z_a.size(1);
  Run run("correlation_forward", z_a, z_a.scalar_type(), tf32);
  const TermOutputs out(run);
  const StandardizedOutputs y(run, n, d, needs_backward);
  const CorrelationResidualOutputs kept(run, d, needs_backward && n >= d);  // where C is not larger than an embedding
  run.check(correlation_forward(run.operands(), embeddings(z_a, z_b), batch_of(z_a, {}, unbiased), {lambd, scale, eps},
                                out.terms(), kept.residuals(y.standardized()), run, run.gpu(), run.stream()));
  return {out.loss,         out.on_diagonal,    out.off_diagonal, y.rstd, y.y, y.c_diagonal, kept.c_off_diagonal,
          kept.row_squares, kept.column_squares};
}

Tensors<3> correlation_partial_op(const Tensor& z_a, const Tensor& z_b, const Tensor& given_statistics, int64_t samples,
                                  bool tf32, bool needs_backward) {
  check_embeddings(z_a, z_b, 1);
  const int64_t n = z_a.size(0), d = z_a.size(1);
  const Statistics statistics = statistics_of(given_statistics, z_a);
  const Batch batch = batch_of(z_a, samples, false);
  Run run("correlation_partial", z_a, z_a.scalar_type(), tf32);
  const StandardizedOutputs y(run, n, d, needs_backward);
  Tensor c = run.float32({d, d});
  run.check(correlation_partial(run.operands(), embeddings(z_a, z_b), batch, statistics, float_data(c),
                                y.standardized(), run, run.gpu(), run.stream()));
  return {c, y.rstd, y.y};
}

Tensors<7> correlation_total_op(const Tensor& c, int64_t n, ScalarType dtype, double lambd, double scale, bool tf32,
                                bool needs_backward) {
  STD_TORCH_CHECK(c.dim() == 2 && c.size(0) >= 1, "c must have shape (D, D)");
  const int64_t d = c.size(0);
  float* data = data_of<float>(c, "c", "a sum of what correlation_partial returned", d * d, ScalarType::Float, c);
  Run run("correlation_total", c, dtype, tf32);
  const TermOutputs out(run);
  Tensor c_diagonal = run.float32({d});
  const CorrelationResidualOutputs kept(run, d, needs_backward);
  constexpr double kNoEps = 0;  // is in y
  run.check(correlation_total(run.operands(), data, d, {lambd, scale, kNoEps}, out.terms(),
                              kept.residuals({float_data(c_diagonal), nullptr, nullptr}), run, run.gpu(),
                              run.stream()));
  return {out.loss,         out.on_diagonal,    out.off_diagonal, c_diagonal, kept.c_off_diagonal,
          kept.row_squares, kept.column_squares};
}

Tensors<2> correlation_backward_op(const OptionalTensor& grad_loss, const OptionalTensor& grad_on,
                                   const OptionalTensor& grad_off, const Tensor& z, const Tensor& z_b,
                                   const Tensor& rstd, const Tensor& y, const Tensor& c_diagonal,
                                   const Tensor& c_off_diagonal, const Tensor& row_squares,
                                   const Tensor& column_squares, double lambd, double scale, OptionalInt samples,
                                   bool unbiased, bool standardized, bool tf32, bool needs_a, bool needs_b) {
  const bool kept = c_off_diagonal.numel() > 0;
  check_embeddings(z, z_b, kept ? 1 : 2);
  const int64_t n = z.size(0), d = z.size(1);
  const Batch batch = batch_of(z, samples, unbiased, standardized);
  STD_TORCH_CHECK(kept || batch.samples == n,
                  "c_off_diagonal is not what the forward returned: it is empty beside a share of rows");
  const int64_t squares = kept ? ceil_div(d, kSquaresShare) * d : 0;
  const OutputGradients gradients{gradient(grad_loss, z), gradient(grad_on, z), gradient(grad_off, z)};
  CorrelationResiduals residuals{
      residual_standardized(z, c_diagonal, rstd, y),
      residual_data<void>(c_off_diagonal, "c_off_diagonal", kept ? d * row_stride(d) : 0, z.scalar_type(), z),
      residual_data(row_squares, "row_squares", squares, ScalarType::Float, z),
      residual_data(column_squares, "column_squares", squares, ScalarType::Float, z),
  };
  if (!kept) residuals.c_off_diagonal = nullptr, residuals.row_squares = residuals.column_squares = nullptr;
  Run run("correlation_backward", z, z.scalar_type(), tf32);
  Gradients dz(run, z, needs_a, needs_b);
  if (needs_a || needs_b) {
    constexpr double kNoEps = 0;  // is in rstd, and in nothing else of this formulation
    run.check(correlation_backward(run.operands(), gradients, n, d, batch, {lambd, scale, kNoEps}, residuals, dz.a,
                                   dz.b, run, run.gpu(), run.stream()));
  }
  return {dz.dz_a, dz.dz_b};
}

}  // namespace

#ifdef BT_EMULATED
STABLE_TORCH_LIBRARY_IMPL(bt_kernels_cuda, CPU, m) {
#else
STABLE_TORCH_LIBRARY_IMPL(bt_kernels_cuda, CUDA, m) {
#endif
  m.impl("gram_forward", TORCH_BOX(&gram_forward_op));
  m.impl("gram_partial", TORCH_BOX(&gram_partial_op));
  m.impl("gram_total", TORCH_BOX(&gram_total_op));
  m.impl("gram_backward", TORCH_BOX(&gram_backward_op));
  m.impl("correlation_forward", TORCH_BOX(&correlation_forward_op));
  m.impl("correlation_partial", TORCH_BOX(&correlation_partial_op));
  m.impl("correlation_total", TORCH_BOX(&correlation_total_op));
  m.impl("correlation_backward", TORCH_BOX(&correlation_backward_op));
}

// Schemas of the library's ops. Each backend's bindings implement them for its dispatch key. A forward is there whole
// and in two halves, partial and total; statistics are the rows mean, residual_mean and rstd of view a, then those of
// view b, (6, D).
#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY(bt_kernels, m) {
  m.def(
      "gram_forward(Tensor z_a, Tensor z_b, float lambd, float scale, float eps, bool unbiased, bool needs_backward)"
      " -> (Tensor loss, Tensor on_diagonal, Tensor off_diagonal,"
      "     Tensor c_diagonal, Tensor statistics, Tensor shifts, Tensor k_a, Tensor k_b)");
  m.def(
      "gram_partial(Tensor z_a, Tensor z_b, Tensor? given_statistics, float eps, bool unbiased)"
      " -> (Tensor triangles, Tensor sums, Tensor c_diagonal, Tensor statistics)");
  m.def(
      "gram_total(Tensor triangles, Tensor sums, int n, float lambd, float scale, bool needs_backward)"
      " -> (Tensor loss, Tensor on_diagonal, Tensor off_diagonal, Tensor k_a, Tensor k_b)");
  m.def(
      "gram_backward(Tensor? grad_loss, Tensor? grad_on_diagonal, Tensor? grad_off_diagonal, Tensor z_a, Tensor z_b,"
      " Tensor c_diagonal, Tensor statistics, Tensor shifts, Tensor k_a, Tensor k_b,"
      " float lambd, float scale, float eps, int? correction, bool needs_a, bool needs_b)"
      " -> (Tensor dz_a, Tensor dz_b)");
  m.def(
      "correlation_forward(Tensor z_a, Tensor z_b, float lambd, float scale, float eps, bool unbiased,"
      " bool needs_backward)"
      " -> (Tensor loss, Tensor on_diagonal, Tensor off_diagonal,"
      "     Tensor statistics, Tensor y_a, Tensor y_b, Tensor c_diagonal, Tensor c)");
  m.def(
      "correlation_partial(Tensor z_a, Tensor z_b, Tensor statistics, int samples, bool needs_backward)"
      " -> (Tensor c, Tensor y_a, Tensor y_b)");
  m.def(
      "correlation_total(Tensor(a!) c, float lambd, float scale)"
      " -> (Tensor loss, Tensor on_diagonal, Tensor off_diagonal, Tensor c_diagonal)");
  m.def(
      "correlation_backward(Tensor? grad_loss, Tensor? grad_on_diagonal, Tensor? grad_off_diagonal, Tensor z_a,"
      " Tensor z_b, Tensor statistics, Tensor y_a, Tensor y_b, Tensor c_diagonal, Tensor c,"
      " float lambd, float scale, int? samples, int? correction, bool needs_a, bool needs_b)"
      " -> (Tensor dz_a, Tensor dz_b)");
}

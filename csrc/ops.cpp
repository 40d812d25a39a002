// Schemas of the library's ops. Each backend's bindings implement them for its dispatch key.
#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY(bt_kernels, m) {
  m.def(
      "gram_forward(Tensor z_a, Tensor z_b, float lambd, float scale, float eps, bool unbiased, bool needs_backward)"
      " -> (Tensor loss, Tensor on_diagonal, Tensor off_diagonal,"
      "     Tensor c_diagonal, Tensor statistics, Tensor shifts, Tensor k_a, Tensor k_b)");
  m.def(
      "gram_backward(Tensor? grad_loss, Tensor? grad_on_diagonal, Tensor? grad_off_diagonal, Tensor z_a, Tensor z_b,"
      " Tensor c_diagonal, Tensor statistics, Tensor shifts, Tensor k_a, Tensor k_b,"
      " float lambd, float scale, float eps, bool unbiased, bool needs_a, bool needs_b) -> (Tensor dz_a, Tensor dz_b)");
  m.def(
      "correlation_forward(Tensor z_a, Tensor z_b, float lambd, float scale, float eps, bool unbiased,"
      " bool needs_backward)"
      " -> (Tensor loss, Tensor on_diagonal, Tensor off_diagonal, Tensor c_diagonal, Tensor statistics,"
      "     Tensor c, Tensor y_a, Tensor y_b)");
  m.def(
      "correlation_backward(Tensor? grad_loss, Tensor? grad_on_diagonal, Tensor? grad_off_diagonal, Tensor z_a,"
      " Tensor z_b, Tensor c_diagonal, Tensor statistics, Tensor c, Tensor y_a, Tensor y_b,"
      " float lambd, float scale, float eps, bool unbiased, bool needs_a, bool needs_b) -> (Tensor dz_a, Tensor dz_b)");
}

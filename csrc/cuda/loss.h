// The CUDA backend's host side without torch: forward and backward of both formulations, the forward at once and in
// the two halves of bt_kernels/backends/stages.py, on raw pointers and a stream.
//
// Each call queues its kernels and returns; nothing waits for the GPU, allocates device memory by itself or changes its
// inputs. Formulas: docs/mathematics.md. N samples, D features; every matrix is row-major.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/gpu.h"
#include "cuda/instructions/cuda.cuh"

namespace bt::cuda {

// How the operands of the matrix products are held and multiplied. Embeddings are float32 for the first two.
enum class Operands { ieee, tf32, bfloat16, float16 };

constexpr int64_t operand_bytes(Operands operands) {
  return operands == Operands::ieee || operands == Operands::tf32 ? 4 : 2;
}

struct Options {
  double lambd, scale, eps;
};

// What the rows at hand belong to.
struct Batch {
  int64_t samples;            // N, which divides C; in the correlation form the rows may be a part of them
  double variance_divisor;    // M
  bool standardized = false;  // of a backward: z came standardized, so rstd is 1 and dy is dz
};

// What y is made with where it does not come from the rows at hand: (2, D) each. Null: it does.
struct Statistics {
  const double *mean, *rstd;
};

// Device memory for intermediates: bytes aligned to 256, alive until all that the call queued has run.
class Scratch {
 public:
  virtual ~Scratch() = default;
  virtual void* take(int64_t bytes) = 0;

  template <typename T>
  T* take_array(int64_t count) {
    return static_cast<T*>(take(count * static_cast<int64_t>(sizeof(T))));
  }
};

// Two views' embeddings, (N, D) each, with any strides (in elements).
struct Embeddings {
  const void *z_a, *z_b;
  int64_t n, d;
  int64_t stride_an, stride_ad, stride_bn, stride_bd;
};

// Outputs of a forward or its second half, float32 scalars.
struct Terms {
  float *loss, *on_diagonal, *off_diagonal;
};

// Gradients of the three outputs, float32 scalars; null where an output was not used.
struct OutputGradients {
  const float *loss, *on_diagonal, *off_diagonal;
};

// Row stride of y, K and C in elements: whole 128-byte lines of 16-bit operands.
constexpr int64_t row_stride(int64_t columns) { return (columns + 63) / 64 * 64; }

// What both forwards, or their first halves, leave for their backward.
struct Standardized {
  float* c_diagonal;  // (D,) C_ii of y before it was rounded, of the rows at hand
  float* rstd;        // (2, D)
  void* y;            // (2, N, row_stride(D)) operands; what is beyond D is not defined
};

// What adds up over shares of the features, between the halves of the Gram form's forward.
struct GramPartial {
  float* triangles;  // (2, N (N + 1) / 2) K - shift I, upper triangles by rows
  double* sums;      // (4,) of (1 - C_ii)^2, of C_ii^2 of the rounded y, and both shifts
};

struct GramResiduals {
  Standardized standardized;
  float* shifts;  // (2,) trace(K_a) / N, trace(K_b) / N; null: no gradient is needed
  void* k;        // (2, N, row_stride(N)) operands, (K - shift I) / unit; null: no gradient is needed
};

// Features whose squares of C are added up together in row_squares and column_squares.
constexpr int64_t kSquaresShare = 64;

// Null where no gradient is needed, and where a forward at once has N < D: the backward computes C again by panels.
struct CorrelationResiduals {
  Standardized standardized;
  void* c_off_diagonal;   // (D, row_stride(D)) operands
  float* row_squares;     // (ceil(D / kSquaresShare), D) sums of C_ij^2, i != j, over shares of j
  float* column_squares;  // (ceil(D / kSquaresShare), D) over shares of i
};

cudaError_t gram_forward(Operands, const Embeddings&, const Batch&, const Options&, const Terms&, const GramResiduals&,
                         Scratch&, const Gpu&, cudaStream_t);

cudaError_t gram_partial(Operands, const Embeddings&, const Batch&, const Options&, const Statistics&,
                         const GramPartial&, const Standardized&, Scratch&, const Gpu&, cudaStream_t);

// Fills in all of GramResiduals but Standardized.
cudaError_t gram_total(Operands, const GramPartial&, int64_t n, const Options&, const Terms&, const GramResiduals&,
                       Scratch&, const Gpu&, cudaStream_t);

// dz_a, dz_b: (N, D) contiguous in the embeddings' dtype, null where not needed.
cudaError_t gram_backward(Operands, const OutputGradients&, int64_t n, int64_t d, const Batch&, const Options&,
                          const GramResiduals&, void* dz_a, void* dz_b, Scratch&, const Gpu&, cudaStream_t);

cudaError_t correlation_forward(Operands, const Embeddings&, const Batch&, const Options&, const Terms&,
                                const CorrelationResiduals&, Scratch&, const Gpu&, cudaStream_t);

// c: (D, D) contiguous, its diagonal that of y before it was rounded.
cudaError_t correlation_partial(Operands, const Embeddings&, const Batch&, const Statistics&, float* c,
                                const Standardized&, Scratch&, const Gpu&, cudaStream_t);

// c: the sum over all rows, which is not changed. Fills in all of CorrelationResiduals but rstd and y.
cudaError_t correlation_total(Operands, float* c, int64_t d, const Options&, const Terms&, const CorrelationResiduals&,
                              Scratch&, const Gpu&, cudaStream_t);

// n: rows at hand.
cudaError_t correlation_backward(Operands, const OutputGradients&, int64_t n, int64_t d, const Batch&, const Options&,
                                 const CorrelationResiduals&, void* dz_a, void* dz_b, Scratch&, const Gpu&,
                                 cudaStream_t);

}  // namespace bt::cuda

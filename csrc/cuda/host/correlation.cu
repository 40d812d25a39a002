// The correlation form's launches. Forward: standardize, correlation_tiles, correlation_combine; in two halves these
// first, then correlation_diagonal and correlation_combine. Backward: correlation_backward for each view.
#include "cuda/correlation/correlation_diagonal.cuh"
#include "cuda/instructions/launch.cuh"
#include "cuda/launches/product_launches.h"
#include "cuda/loss.h"
#include "cuda/schedule/panels.h"
#include "cuda/standardize/standardize.h"

namespace bt::cuda {

namespace {

// Up to C, or where outputs.c is null to the terms. sums' inputs are this function's.
cudaError_t reduce(Operands operands, const Embeddings& z, const Batch& batch, double eps, const Statistics& statistics,
                   const Standardized& standardized, const CorrelationOutputs& outputs, TermSums sums, Scratch& scratch,
                   const Gpu& gpu, cudaStream_t stream) {
  const ProductLaunches& launches = product_launches(operands, gpu);
  const int64_t n = z.n, d = z.d;
  sums.columns = standardize_blocks(operands, n, d, gpu);
  double* features = scratch.take_array<double>(4 * sums.columns);
  sums.sums = features, sums.counter = scratch.take_array<uint32_t>(1);
  const StandardizeOutputs made{standardized.c_diagonal, standardized.rstd, standardized.y, features, sums.counter};
  if (const cudaError_t error = standardize(operands, z, eps, batch, statistics, made, gpu, stream)) return error;

  const TileShape shape = launches.correlation_shape(gpu);
  ProductLaunches::CorrelationCall call{};
  call.grid = launches.correlation_grid(d, d);
  const int64_t tile_bytes = int64_t{4} * shape.rows * shape.columns,
                embeddings_bytes = 2 * n * d * operand_bytes(operands);
  const Splits splits = choose_splits(call.grid.tiles(), n, shape.step, shape.slots, tile_bytes, embeddings_bytes / 2);
  call.grid.splits = splits.count, call.share = splits.share, call.dependent = true;
  if (splits.count > 1)
    call.split_tiles = static_cast<float*>(scratch.take(splits.count * call.grid.tiles() * tile_bytes));
  call.outputs = outputs, call.sums = sums;
  if (outputs.c == nullptr) {
    call.sums.parts = scratch.take_array<double>(launches.correlation_blocks(call.grid, Forward::both));
  }
  return launches.correlation(matrix_of(standardized.y, 2, n, d), call, gpu, stream);
}

// All of C, divided by the samples.
CorrelationOutputs outputs_of(int64_t samples, int64_t d, const CorrelationResiduals& residuals) {
  CorrelationOutputs outputs{};
  outputs.row_squares = residuals.row_squares, outputs.column_squares = residuals.column_squares;
  outputs.c_off_diagonal = residuals.c_off_diagonal, outputs.ld = row_stride(d);
  outputs.samples = samples, outputs.d = d, outputs.height = static_cast<int>(d);
  return outputs;
}

TermSums sums_of(const Options& options, const Terms& terms) {
  TermSums sums{};
  sums.terms = terms, sums.lambd = options.lambd, sums.scale = options.scale;
  return sums;
}

}  // namespace

cudaError_t correlation_forward(Operands operands, const Embeddings& z, const Batch& batch, const Options& options,
                                const Terms& terms, const CorrelationResiduals& residuals, Scratch& scratch,
                                const Gpu& gpu, cudaStream_t stream) {
  return reduce(operands, z, batch, options.eps, {}, residuals.standardized, outputs_of(batch.samples, z.d, residuals),
                sums_of(options, terms), scratch, gpu, stream);
}

cudaError_t correlation_partial(Operands operands, const Embeddings& z, const Batch& batch,
                                const Statistics& statistics, float* c, const Standardized& standardized,
                                Scratch& scratch, const Gpu& gpu, cudaStream_t stream) {
  CorrelationOutputs outputs = outputs_of(batch.samples, z.d, {});
  outputs.c = c, outputs.c_diagonal = standardized.c_diagonal;
  constexpr double kNoEps = 0;  // is in the statistics
  return reduce(operands, z, batch, kNoEps, statistics, standardized, outputs, {}, scratch, gpu, stream);
}

cudaError_t correlation_total(Operands operands, float* c, int64_t d, const Options& options, const Terms& terms,
                              const CorrelationResiduals& residuals, Scratch& scratch, const Gpu& gpu,
                              cudaStream_t stream) {
  const ProductLaunches& launches = product_launches(operands, gpu);
  const int64_t blocks = ceil_div(d, kDiagonalThreads);
  double* distances = scratch.take_array<double>(blocks);
  uint32_t* counter = scratch.take_array<uint32_t>(1);
  const CorrelationDiagonalArguments diagonal{c, d, residuals.standardized.c_diagonal, distances, counter};
  constexpr int kShared = kDiagonalThreads / 32 * static_cast<int>(sizeof(double));
  if (const cudaError_t error = launch(correlation_diagonal_kernel<kDiagonalThreads>,
                                       {blocks, kDiagonalThreads, kShared, 1, false, stream}, diagonal)) {
    return error;
  }
  ProductLaunches::CorrelationCall call{};
  call.grid = launches.correlation_grid(d, d);
  constexpr int64_t kDivided = 1;
  call.outputs = outputs_of(kDivided, d, residuals), call.outputs.c = c;
  call.sums = sums_of(options, terms);
  call.sums.sums = distances, call.sums.columns = blocks, call.sums.counter = counter;
  call.sums.parts = scratch.take_array<double>(launches.correlation_blocks(call.grid, Forward::total));
  return launches.correlation_total(call, gpu, stream);
}

namespace {

// C was not kept: its rows (view 0) or those of C^T (view 1) are computed again, a panel at a time, and used at once.
cudaError_t backward_by_panels(Operands operands, const Matrix& y, ProductLaunches::CorrelationBackwardCall call,
                               Scratch& scratch, const Gpu& gpu, cudaStream_t stream) {
  const ProductLaunches& launches = product_launches(operands, gpu);
  const int64_t n = y.rows, d = y.columns;
  const int64_t panel = correlation_panel(n, d, launches.correlation_backward_features());
  void* c_off_diagonal = scratch.take(panel * row_stride(d) * operand_bytes(operands));
  float* squares = scratch.take_array<float>(ceil_div(d, kSquaresShare) * panel);
  for (int64_t first = 0; first < d; first += panel) {
    const int64_t height = d - first < panel ? d - first : panel;
    ProductLaunches::CorrelationCall product{};
    product.own_view = call.backward.view, product.grid = launches.correlation_grid(height, d), product.share = n;
    product.outputs.row_squares = squares;
    product.outputs.c_off_diagonal = c_off_diagonal, product.outputs.ld = row_stride(d);
    product.outputs.samples = n, product.outputs.d = d;
    product.outputs.first_row = static_cast<int>(first), product.outputs.height = static_cast<int>(height);
    product.dependent = call.dependent;
    if (const cudaError_t error = launches.correlation(y, product, gpu, stream)) return error;
    call.c_off_diagonal = matrix_of(c_off_diagonal, 1, height, d), call.by_columns = false, call.dependent = true;
    call.backward.squares = squares;
    call.backward.width = static_cast<int>(height), call.backward.first_column = static_cast<int>(first);
    if (const cudaError_t error = launches.correlation_backward(y, call, gpu, stream)) return error;
  }
  return cudaSuccess;
}

}  // namespace

cudaError_t correlation_backward(Operands operands, const OutputGradients& gradients, int64_t n, int64_t d,
                                 const Batch& batch, const Options& options, const CorrelationResiduals& residuals,
                                 void* dz_a, void* dz_b, Scratch& scratch, const Gpu& gpu, cudaStream_t stream) {
  const Matrix y = matrix_of(residuals.standardized.y, 2, n, d);
  ProductLaunches::CorrelationBackwardCall call{};
  CorrelationBackward& backward = call.backward;
  backward.gradients = gradients;
  backward.c_diagonal = residuals.standardized.c_diagonal, backward.rstd = residuals.standardized.rstd;
  backward.shares = static_cast<int>(ceil_div(d, kSquaresShare)), backward.samples = batch.samples;
  backward.lambd = static_cast<float>(options.lambd), backward.scale = static_cast<float>(options.scale);
  backward.variance_divisor = static_cast<float>(batch.variance_divisor), backward.standardized = batch.standardized;
  for (int view = 0; view < 2; ++view) {
    backward.dz = view == 0 ? dz_a : dz_b;
    if (backward.dz == nullptr) continue;
    backward.view = view;
    cudaError_t error;
    if (residuals.c_off_diagonal == nullptr) {
      error = backward_by_panels(operands, y, call, scratch, gpu, stream);
    } else {
      call.c_off_diagonal = matrix_of(residuals.c_off_diagonal, 1, d, d), call.by_columns = view == 1;
      backward.squares = view == 0 ? residuals.row_squares : residuals.column_squares;
      backward.width = static_cast<int>(d);
      error = product_launches(operands, gpu).correlation_backward(y, call, gpu, stream);
    }
    if (error != cudaSuccess) return error;
    call.dependent = true;
  }
  return cudaSuccess;
}

}  // namespace bt::cuda

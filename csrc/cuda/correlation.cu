// The correlation form's launches: standardize, correlation_tiles, correlation_combine; correlation_gradient for each
// view.
#include "cuda/loss.h"
#include "cuda/products.h"
#include "cuda/schedule/panels.h"
#include "cuda/standardize.h"
#include "cuda/views.h"

namespace bt::cuda {

cudaError_t correlation_forward(Operands operands, const Embeddings& z, const Options& options, const Terms& terms,
                                const CorrelationSaved& saved, Scratch& scratch, const Gpu& gpu, cudaStream_t stream) {
  const Products& kernels = products(operands, gpu);
  const int64_t n = z.n, d = z.d, blocks = standardize_blocks(operands, n, d, gpu);
  double* sums = scratch.take_array<double>(4 * blocks);
  uint32_t* counter = scratch.take_array<uint32_t>(1);
  const StandardizeOutputs outputs{saved.standardized.c_diagonal, saved.standardized.rstd, saved.standardized.y, sums,
                                   counter};
  if (const cudaError_t error = standardize(operands, z, options.eps, options.unbiased, outputs, gpu, stream))
    return error;

  const TileShape shape = kernels.correlation_shape(gpu);
  Products::CorrelationCall call{};
  call.grid = kernels.correlation_grid(d, d);
  const int64_t tile_bytes = int64_t{4} * shape.rows * shape.columns,
                embeddings_bytes = 2 * n * d * operand_bytes(operands);
  const Splits splits = choose_splits(call.grid.tiles(), n, shape.step, shape.slots, tile_bytes, embeddings_bytes / 2);
  call.grid.splits = splits.count, call.share = splits.share, call.dependent = true;
  if (splits.count > 1) call.partial = static_cast<float*>(scratch.take(splits.count * call.grid.tiles() * tile_bytes));
  call.outputs = {saved.row_squares, saved.column_squares, saved.c, row_stride(d), n, d, 0, static_cast<int>(d)};
  call.sums = {sums,    blocks,        scratch.take_array<double>(kernels.correlation_blocks(call.grid)),
               counter, terms,         nullptr,
               n,       options.lambd, options.scale};
  return kernels.correlation(matrix_of(saved.standardized.y, 2, n, d), call, gpu, stream);
}

namespace {

// N < D: rows of C (view 0) or C^T (view 1) are computed again, a panel at a time, and used at once.
cudaError_t gradient_by_panels(Operands operands, const Matrix& y, Products::CorrelationGradientCall call,
                               Scratch& scratch, const Gpu& gpu, cudaStream_t stream) {
  const Products& kernels = products(operands, gpu);
  const int64_t n = y.rows, d = y.columns;
  const int64_t panel = correlation_panel(n, d, kernels.correlation_gradient_features());
  Matrix c = matrix_of(nullptr, 1, panel, d);
  c.data = scratch.take(c.view_stride * operand_bytes(operands));
  float* squares = scratch.take_array<float>(ceil_div(d, kSquaresShare) * panel);
  for (int64_t first = 0; first < d; first += panel) {
    const int64_t height = d - first < panel ? d - first : panel;
    Products::CorrelationCall product{};
    product.own_view = call.view, product.grid = kernels.correlation_grid(height, d), product.share = n;
    product.outputs = {squares, nullptr, const_cast<void*>(c.data), c.row_stride,
                       n,       d,       static_cast<int>(first),   static_cast<int>(height)};
    product.dependent = call.dependent;
    if (const cudaError_t error = kernels.correlation(y, product, gpu, stream)) return error;
    c.rows = height;
    call.c = c, call.by_columns = false, call.squares = squares, call.dependent = true;
    call.shares = static_cast<int>(ceil_div(d, kSquaresShare));
    call.width = static_cast<int>(height), call.first_column = static_cast<int>(first);
    if (const cudaError_t error = kernels.correlation_gradient(y, call, gpu, stream)) return error;
  }
  return cudaSuccess;
}

}  // namespace

cudaError_t correlation_backward(Operands operands, const Upstream& upstream, int64_t n, int64_t d,
                                 const Options& options, const CorrelationSaved& saved, void* dz_a, void* dz_b,
                                 Scratch& scratch, const Gpu& gpu, cudaStream_t stream) {
  const Matrix y = matrix_of(saved.standardized.y, 2, n, d);
  Products::CorrelationGradientCall call{};
  call.upstream = upstream, call.c_diagonal = saved.standardized.c_diagonal, call.rstd = saved.standardized.rstd;
  call.correction = options.unbiased, call.lambd = static_cast<float>(options.lambd);
  call.scale = static_cast<float>(options.scale);
  for (int view = 0; view < 2; ++view) {
    call.dz = view == 0 ? dz_a : dz_b;
    if (call.dz == nullptr) continue;
    call.view = view;
    cudaError_t error;
    if (n < d) {
      error = gradient_by_panels(operands, y, call, scratch, gpu, stream);
    } else {
      call.c = matrix_of(saved.c, 1, d, d), call.by_columns = view == 1;
      call.squares = view == 0 ? saved.row_squares : saved.column_squares;
      call.shares = static_cast<int>(ceil_div(d, kSquaresShare)), call.width = static_cast<int>(d);
      error = products(operands, gpu).correlation_gradient(y, call, gpu, stream);
    }
    if (error != cudaSuccess) return error;
    call.dependent = true;
  }
  return cudaSuccess;
}

}  // namespace bt::cuda

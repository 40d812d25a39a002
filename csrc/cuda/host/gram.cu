// The Gram form's launches. Forward: standardize_gram, or standardize and gram_tiles; gram_combine, in two halves once
// for each. Backward: gram_backward, or by panels gram_product and gram_apply.
#include "cuda/gram/gram_apply.h"
#include "cuda/instructions/launch.cuh"
#include "cuda/launches/product_launches.h"
#include "cuda/loss.h"
#include "cuda/schedule/fusion.h"
#include "cuda/schedule/panels.h"
#include "cuda/standardize/standardize.h"

namespace bt::cuda {

namespace {

// standardize to gram_combine; what that reads and counts by is this function's.
cudaError_t reduce(Operands operands, const Embeddings& z, const Batch& batch, double eps, const Statistics& statistics,
                   const Standardized& standardized, GramCombineArguments combine, Scratch& scratch, const Gpu& gpu,
                   cudaStream_t stream) {
  const ProductLaunches& launches = product_launches(operands, gpu);
  const int64_t n = z.n, d = z.d, blocks = standardize_blocks(operands, n, d, gpu);
  double* sums = scratch.take_array<double>(4 * blocks);
  uint32_t* counter = scratch.take_array<uint32_t>(1);
  const StandardizeOutputs outputs{standardized.c_diagonal, standardized.rstd, standardized.y, sums, counter};
  const bool given = statistics.mean != nullptr;
  const int64_t fused = given ? 0 : fused_blocks(n, d, operand_bytes(operands), gpu.multiprocessors);
  if (fused > 0) {
    combine.split_tiles = static_cast<float*>(scratch.take(fused * kFusedTileBytes));
    combine.splits = static_cast<int>(fused), combine.tiles = 1;
    const cudaError_t error =
        launches.standardize_gram(z, eps, batch, outputs, combine.split_tiles, fused, gpu, stream);
    if (error != cudaSuccess) return error;
  } else {
    if (const cudaError_t error = standardize(operands, z, eps, batch, statistics, outputs, gpu, stream)) return error;
    const TileShape shape = launches.gram_shape(n, gpu);
    const int64_t tiles = GramTiles{shape.rows, shape.columns}.count(n);
    const int64_t tile_bytes = int64_t{4} * shape.rows * shape.columns,
                  embeddings_bytes = 2 * n * d * operand_bytes(operands);
    const Splits splits = choose_splits(2 * tiles, d, shape.step, shape.slots, tile_bytes, embeddings_bytes);
    combine.split_tiles = static_cast<float*>(scratch.take(splits.count * 2 * tiles * tile_bytes));
    combine.splits = splits.count, combine.tiles = static_cast<int>(tiles);
    const Matrix y = matrix_of(standardized.y, 2, n, d);
    if (const cudaError_t error = launches.gram_tiles(y, combine.split_tiles, splits, gpu, stream)) return error;
  }

  const int64_t pieces = launches.gram_pieces(n, fused > 0);
  combine.warps = combining_warps(pieces, combine.splits, gpu.multiprocessors, kCombineWarps);
  combine.n = n, combine.ldk = row_stride(n);
  combine.sums.sums = sums, combine.sums.columns = blocks, combine.sums.counter = counter;
  combine.sums.parts = scratch.take_array<double>(ceil_div(pieces * combine.warps, kCombineWarps));
  return launches.gram_combine(combine, fused > 0, gpu, stream);
}

// What gram_combine writes where it ends with the loss.
GramCombineArguments outputs_of(int64_t n, const Options& options, const Terms& terms, const GramResiduals& residuals) {
  GramCombineArguments combine{};
  combine.k = residuals.k, combine.shifts = residuals.shifts;
  combine.sums.terms = terms, combine.sums.gram = true, combine.sums.n = n;
  combine.sums.lambd = options.lambd, combine.sums.scale = options.scale;
  return combine;
}

}  // namespace

cudaError_t gram_forward(Operands operands, const Embeddings& z, const Batch& batch, const Options& options,
                         const Terms& terms, const GramResiduals& residuals, Scratch& scratch, const Gpu& gpu,
                         cudaStream_t stream) {
  return reduce(operands, z, batch, options.eps, {}, residuals.standardized, outputs_of(z.n, options, terms, residuals),
                scratch, gpu, stream);
}

cudaError_t gram_partial(Operands operands, const Embeddings& z, const Batch& batch, const Options& options,
                         const Statistics& statistics, const GramPartial& partial, const Standardized& standardized,
                         Scratch& scratch, const Gpu& gpu, cudaStream_t stream) {
  GramCombineArguments combine{};
  combine.partial = partial;
  return reduce(operands, z, batch, options.eps, statistics, standardized, combine, scratch, gpu, stream);
}

cudaError_t gram_total(Operands operands, const GramPartial& partial, int64_t n, const Options& options,
                       const Terms& terms, const GramResiduals& residuals, Scratch& scratch, const Gpu& gpu,
                       cudaStream_t stream) {
  const ProductLaunches& launches = product_launches(operands, gpu);
  GramCombineArguments combine = outputs_of(n, options, terms, residuals);
  combine.partial = partial, combine.n = n, combine.ldk = row_stride(n);
  combine.sums.sums = partial.sums, combine.sums.columns = 1;
  combine.sums.parts = scratch.take_array<double>(ceil_div(launches.gram_total_pieces(n), kCombineWarps));
  combine.sums.counter = scratch.take_array<uint32_t>(1);
  if (const cudaError_t error = set_zero(combine.sums.counter, sizeof(uint32_t), stream)) return error;
  return launches.gram_total(combine, gpu, stream);
}

cudaError_t gram_backward(Operands operands, const OutputGradients& gradients, int64_t n, int64_t d, const Batch& batch,
                          const Options& options, const GramResiduals& residuals, void* dz_a, void* dz_b,
                          Scratch& scratch, const Gpu& gpu, cudaStream_t stream) {
  const int views = (dz_a != nullptr) + (dz_b != nullptr), first_view = dz_a != nullptr ? 0 : 1;
  if (views == 0) return cudaSuccess;
  const ProductLaunches& launches = product_launches(operands, gpu);
  const Matrix y = matrix_of(residuals.standardized.y, 2, n, d), k = matrix_of(residuals.k, 2, n, n);
  GramBackward backward{};
  backward.gradients = gradients, backward.c_diagonal = residuals.standardized.c_diagonal;
  backward.rstd = residuals.standardized.rstd, backward.shifts = residuals.shifts, backward.y = y;
  backward.dz_a = dz_a, backward.dz_b = dz_b, backward.n = n, backward.d = d;
  backward.lambd = static_cast<float>(options.lambd), backward.scale = static_cast<float>(options.scale);
  backward.eps = static_cast<float>(options.eps);
  backward.variance_divisor = static_cast<float>(batch.variance_divisor), backward.standardized = batch.standardized;
  backward.first_view = first_view, backward.views = views;
  if (launches.gram_backward_fits(n, gpu)) return launches.gram_backward(backward, k, gpu, stream);

  const int64_t ldt = ceil_div(n, 4) * 4;
  const int rows = launches.gram_product_shape(gpu).rows, sample_tiles = launches.gram_product_sample_tiles(n);
  const int64_t widest = product_panel(n, d, views, ldt, operand_bytes(operands), rows);
  float* product = scratch.take_array<float>(views * widest * ldt);
  float* column_sums = scratch.take_array<float>(views * sample_tiles * widest);
  for (int64_t first = 0; first < d; first += widest) {
    const int64_t left = ceil_div(d - first, rows) * rows, width = left < widest ? left : widest;
    ProductLaunches::Panel panel{};
    panel.product = product, panel.column_sums = column_sums, panel.ldt = ldt;
    panel.width = static_cast<int>(width), panel.first_column = static_cast<int>(first);
    panel.first_view = first_view, panel.views = views;
    if (const cudaError_t error = launches.gram_product(y, k, panel, first > 0, gpu, stream)) return error;
    GramApply apply{};
    apply.backward = backward, apply.product = product, apply.column_sums = column_sums;
    apply.sample_tiles = sample_tiles, apply.width = width, apply.first_column = first, apply.ldt = ldt;
    if (const cudaError_t error = gram_apply(operands, apply, gpu, stream)) return error;
  }
  return cudaSuccess;
}

}  // namespace bt::cuda

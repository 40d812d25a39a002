// The Gram form's launches. Forward: standardize_gram, or standardize and gram_tiles; gram_combine, in two halves once
// for each. Backward: gram_gradient, or by panels gram_product and gram_apply.
#include "cuda/gram/gram_apply.h"
#include "cuda/instructions/launch.cuh"
#include "cuda/loss.h"
#include "cuda/launches/product_launches.h"
#include "cuda/schedule/fusion.h"
#include "cuda/schedule/panels.h"
#include "cuda/standardize/standardize.h"
#include "cuda/product/views.h"

namespace bt::cuda {

namespace {

// standardize to gram_combine; what that reads and counts by is this function's.
cudaError_t reduce(Operands operands, const Embeddings& z, const Batch& batch, double eps, const Statistics& statistics,
                   const Standardized& standardized, GramCombineArguments combine, Scratch& scratch, const Gpu& gpu,
                   cudaStream_t stream) {
  const Products& kernels = products(operands, gpu);
  const int64_t n = z.n, d = z.d, blocks = standardize_blocks(operands, n, d, gpu);
  double* sums = scratch.take_array<double>(4 * blocks);
  uint32_t* counter = scratch.take_array<uint32_t>(1);
  const StandardizeOutputs outputs{standardized.c_diagonal, standardized.rstd, standardized.y, sums, counter};
  const bool given = statistics.mean != nullptr;
  const int64_t fused = given ? 0 : fused_blocks(n, d, operand_bytes(operands), gpu.multiprocessors);
  if (fused > 0) {
    combine.partial = static_cast<float*>(scratch.take(fused * kFusedTileBytes));
    combine.splits = static_cast<int>(fused), combine.tiles = 1;
    const cudaError_t error = kernels.standardize_gram(z, eps, batch, outputs, combine.partial, fused, gpu, stream);
    if (error != cudaSuccess) return error;
  } else {
    if (const cudaError_t error = standardize(operands, z, eps, batch, statistics, outputs, gpu, stream)) return error;
    const TileShape shape = kernels.gram_shape(n, gpu);
    const int64_t tiles = GramTiles{shape.rows, shape.columns}.count(n);
    const int64_t tile_bytes = int64_t{4} * shape.rows * shape.columns,
                  embeddings_bytes = 2 * n * d * operand_bytes(operands);
    const Splits splits = choose_splits(2 * tiles, d, shape.step, shape.slots, tile_bytes, embeddings_bytes);
    combine.partial = static_cast<float*>(scratch.take(splits.count * 2 * tiles * tile_bytes));
    combine.splits = splits.count, combine.tiles = static_cast<int>(tiles);
    const Matrix y = matrix_of(standardized.y, 2, n, d);
    if (const cudaError_t error = kernels.gram_tiles(y, combine.partial, splits, gpu, stream)) return error;
  }

  const int64_t pieces = kernels.gram_pieces(n, fused > 0);
  combine.warps = combining_warps(pieces, combine.splits, gpu.multiprocessors, kCombineWarps);
  combine.n = n, combine.ldk = row_stride(n);
  combine.sums.sums = sums, combine.sums.columns = blocks, combine.sums.counter = counter;
  combine.sums.parts = scratch.take_array<double>(ceil_div(pieces * combine.warps, kCombineWarps));
  return kernels.gram_combine(combine, fused > 0, gpu, stream);
}

// What gram_combine writes where it ends with the loss.
GramCombineArguments outputs_of(int64_t n, const Options& options, const Terms& terms, const GramSaved& saved) {
  GramCombineArguments combine{};
  combine.k = saved.k, combine.shifts = saved.shifts;
  combine.sums.terms = terms, combine.sums.gram = true, combine.sums.n = n;
  combine.sums.lambd = options.lambd, combine.sums.scale = options.scale;
  return combine;
}

}  // namespace

cudaError_t gram_forward(Operands operands, const Embeddings& z, const Batch& batch, const Options& options,
                         const Terms& terms, const GramSaved& saved, Scratch& scratch, const Gpu& gpu,
                         cudaStream_t stream) {
  return reduce(operands, z, batch, options.eps, {}, saved.standardized, outputs_of(z.n, options, terms, saved),
                scratch, gpu, stream);
}

cudaError_t gram_partial(Operands operands, const Embeddings& z, const Batch& batch, const Options& options,
                         const Statistics& statistics, const GramSums& halves, const Standardized& standardized,
                         Scratch& scratch, const Gpu& gpu, cudaStream_t stream) {
  GramCombineArguments combine{};
  combine.halves = halves;
  return reduce(operands, z, batch, options.eps, statistics, standardized, combine, scratch, gpu, stream);
}

cudaError_t gram_total(Operands operands, const GramSums& halves, int64_t n, const Options& options, const Terms& terms,
                       const GramSaved& saved, Scratch& scratch, const Gpu& gpu, cudaStream_t stream) {
  const Products& kernels = products(operands, gpu);
  GramCombineArguments combine = outputs_of(n, options, terms, saved);
  combine.halves = halves, combine.n = n, combine.ldk = row_stride(n);
  combine.sums.sums = halves.sums, combine.sums.columns = 1;
  combine.sums.parts = scratch.take_array<double>(ceil_div(kernels.gram_total_pieces(n), kCombineWarps));
  combine.sums.counter = scratch.take_array<uint32_t>(1);
  if (const cudaError_t error = set_zero(combine.sums.counter, sizeof(uint32_t), stream)) return error;
  return kernels.gram_total(combine, gpu, stream);
}

cudaError_t gram_backward(Operands operands, const Upstream& upstream, int64_t n, int64_t d, const Batch& batch,
                          const Options& options, const GramSaved& saved, void* dz_a, void* dz_b, Scratch& scratch,
                          const Gpu& gpu, cudaStream_t stream) {
  const int views = (dz_a != nullptr) + (dz_b != nullptr), first_view = dz_a != nullptr ? 0 : 1;
  if (views == 0) return cudaSuccess;
  const Products& kernels = products(operands, gpu);
  const Matrix y = matrix_of(saved.standardized.y, 2, n, d), k = matrix_of(saved.k, 2, n, n);
  const Standardized& standardized = saved.standardized;
  if (kernels.gram_gradient_fits(n, gpu)) {
    const GramGradient gradient{upstream,
                                standardized.c_diagonal,
                                standardized.rstd,
                                saved.shifts,
                                y,
                                dz_a,
                                dz_b,
                                n,
                                d,
                                static_cast<float>(options.lambd),
                                static_cast<float>(options.scale),
                                static_cast<float>(options.eps),
                                static_cast<float>(batch.variance_divisor),
                                batch.standardized,
                                first_view,
                                views};
    return kernels.gram_gradient(gradient, k, gpu, stream);
  }

  const int64_t ldt = ceil_div(n, 4) * 4;
  const int rows = kernels.gram_product_shape(gpu).rows, sample_tiles = kernels.gram_product_sample_tiles(n);
  const int64_t widest = product_panel(n, d, views, ldt, operand_bytes(operands), rows);
  float* product = scratch.take_array<float>(views * widest * ldt);
  float* column_sums = scratch.take_array<float>(views * sample_tiles * widest);
  for (int64_t first = 0; first < d; first += widest) {
    const int64_t left = ceil_div(d - first, rows) * rows, width = left < widest ? left : widest;
    const Products::Panel panel{product,    column_sums, ldt, static_cast<int>(width), static_cast<int>(first),
                                first_view, views};
    if (const cudaError_t error = kernels.gram_product(y, k, panel, first > 0, gpu, stream)) return error;
    const GramApply apply{product,
                          column_sums,
                          sample_tiles,
                          width,
                          first,
                          ldt,
                          upstream,
                          standardized.c_diagonal,
                          standardized.rstd,
                          saved.shifts,
                          standardized.y,
                          dz_a,
                          dz_b,
                          n,
                          d,
                          options.lambd,
                          options.scale,
                          options.eps,
                          batch.variance_divisor,
                          batch.standardized,
                          first_view,
                          views};
    if (const cudaError_t error = gram_apply(operands, apply, gpu, stream)) return error;
  }
  return cudaSuccess;
}

}  // namespace bt::cuda

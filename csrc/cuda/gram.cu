// The Gram form's launches. Forward: standardize_gram, or standardize and gram_tiles; gram_combine. Backward:
// gram_gradient, or by panels gram_product and gram_apply.
#include "cuda/gram_apply.h"
#include "cuda/loss.h"
#include "cuda/products.h"
#include "cuda/schedule/fusion.h"
#include "cuda/schedule/panels.h"
#include "cuda/standardize.h"
#include "cuda/views.h"

namespace bt::cuda {

cudaError_t gram_forward(Operands operands, const Embeddings& z, const Options& options, const Terms& terms,
                         const GramSaved& saved, Scratch& scratch, const Gpu& gpu, cudaStream_t stream) {
  const Products& kernels = products(operands, gpu);
  const int64_t n = z.n, d = z.d, blocks = standardize_blocks(operands, n, d, gpu);
  double* sums = scratch.take_array<double>(4 * blocks);
  uint32_t* counter = scratch.take_array<uint32_t>(1);
  const StandardizeOutputs outputs{saved.standardized.c_diagonal, saved.standardized.rstd, saved.standardized.y, sums,
                                   counter};
  GramCombineArguments combine{};
  const int64_t fused = fused_blocks(n, d, operand_bytes(operands), gpu.multiprocessors);
  if (fused > 0) {
    combine.partial = static_cast<float*>(scratch.take(fused * kFusedTileBytes));
    combine.splits = static_cast<int>(fused), combine.tiles = 1;
    const cudaError_t error =
        kernels.standardize_gram(z, options.eps, options.unbiased, outputs, combine.partial, fused, gpu, stream);
    if (error != cudaSuccess) return error;
  } else {
    if (const cudaError_t error = standardize(operands, z, options.eps, options.unbiased, outputs, gpu, stream))
      return error;
    const TileShape shape = kernels.gram_shape(n, gpu);
    const int64_t tiles = GramTiles{shape.rows, shape.columns}.count(n);
    const int64_t tile_bytes = int64_t{4} * shape.rows * shape.columns,
                  embeddings_bytes = 2 * n * d * operand_bytes(operands);
    const Splits splits = choose_splits(2 * tiles, d, shape.step, shape.slots, tile_bytes, embeddings_bytes);
    combine.partial = static_cast<float*>(scratch.take(splits.count * 2 * tiles * tile_bytes));
    combine.splits = splits.count, combine.tiles = static_cast<int>(tiles);
    const Matrix y = matrix_of(saved.standardized.y, 2, n, d);
    if (const cudaError_t error = kernels.gram_tiles(y, combine.partial, splits, gpu, stream)) return error;
  }

  const int64_t pieces = kernels.gram_pieces(n, fused > 0);
  combine.warps = combining_warps(pieces, combine.splits, gpu.multiprocessors, kCombineWarps);
  double* parts = scratch.take_array<double>(ceil_div(pieces * combine.warps, kCombineWarps));
  combine.k = saved.k, combine.n = n, combine.ldk = row_stride(n);
  combine.sums = {sums, blocks, parts, counter, terms, saved.shifts, n, options.lambd, options.scale};
  return kernels.gram_combine(combine, fused > 0, gpu, stream);
}

cudaError_t gram_backward(Operands operands, const Upstream& upstream, int64_t n, int64_t d, const Options& options,
                          const GramSaved& saved, void* dz_a, void* dz_b, Scratch& scratch, const Gpu& gpu,
                          cudaStream_t stream) {
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
                                options.unbiased,
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
    const GramApply apply{
        product,           column_sums,  sample_tiles,     width,      first, ldt, upstream, standardized.c_diagonal,
        standardized.rstd, saved.shifts, standardized.y,   dz_a,       dz_b,  n,   d,        options.lambd,
        options.scale,     options.eps,  options.unbiased, first_view, views};
    if (const cudaError_t error = gram_apply(operands, apply, gpu, stream)) return error;
  }
  return cudaSuccess;
}

}  // namespace bt::cuda

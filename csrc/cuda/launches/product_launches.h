// The kernels with a matrix product, one object per type of operands and kind of GPU: what gram.cu and correlation.cu
// launch.
#pragma once

#include "cuda/correlation/correlation_tiles.cuh"
#include "cuda/gram/gram_combine.cuh"
#include "cuda/gram/gram_backward.cuh"
#include "cuda/schedule/splits.h"
#include "cuda/standardize/standardize.h"

namespace bt::cuda {

// How a tile's kernel is cut: numbers of a tile, of the summed index per step, and blocks that run at a time.
struct TileShape {
  int rows, columns, step, slots;
};

// A stage's launches take scratch and outputs ready made; they return the launch's error.
class Products {
 public:
  virtual ~Products() = default;

  // For batches of up to kFusedSamples: standardize and the partial tiles of K at once, by `blocks` blocks.
  virtual cudaError_t standardize_gram(const Embeddings&, double eps, const Batch&, const StandardizeOutputs&,
                                       float* partial, int64_t blocks, const Gpu&, cudaStream_t) const = 0;

  // K of n samples.
  virtual TileShape gram_shape(int64_t n, const Gpu&) const = 0;
  virtual cudaError_t gram_tiles(const Matrix& y, float* partial, Splits, const Gpu&, cudaStream_t) const = 0;
  // fused: of standardize_gram's tiles. One double per block of kCombineWarps warps is left in sums.parts.
  virtual int64_t gram_pieces(int64_t n, bool fused) const = 0;
  // Forward::partial where there are sums between the halves to write, else Forward::whole.
  virtual cudaError_t gram_combine(const GramCombineArguments&, bool fused, const Gpu&, cudaStream_t) const = 0;
  // Forward::total; the first kernel of its op.
  virtual int64_t gram_total_pieces(int64_t n) const = 0;
  virtual cudaError_t gram_total(const GramCombineArguments&, const Gpu&, cudaStream_t) const = 0;

  // The gradient in one kernel, if a cluster of that GPU holds n samples.
  virtual bool gram_gradient_fits(int64_t n, const Gpu&) const = 0;
  virtual cudaError_t gram_gradient(const GramGradient&, const Matrix& k, const Gpu&, cudaStream_t) const = 0;

  // For more, by panels: features of a panel are a multiple of rows.
  virtual TileShape gram_product_shape(const Gpu&) const = 0;
  virtual int gram_product_sample_tiles(int64_t n) const = 0;
  struct Panel {
    float *product, *column_sums;  // (views, width, ldt), (views, sample tiles, width)
    int64_t ldt;
    int width, first_column, first_view, views;
  };
  virtual cudaError_t gram_product(const Matrix& y, const Matrix& k, const Panel&, bool dependent, const Gpu&,
                                   cudaStream_t) const = 0;

  // height x columns of C.
  virtual TileShape correlation_shape(const Gpu&) const = 0;
  virtual CorrelationGrid correlation_grid(int64_t height, int64_t columns) const = 0;  // one split
  // That leave a part of the sum.
  virtual int64_t correlation_blocks(const CorrelationGrid&, Forward) const = 0;
  struct CorrelationCall {
    int own_view;
    float* partial;
    CorrelationGrid grid;
    int64_t share;
    CorrelationOutputs outputs;
    TermSums sums;
    bool dependent;
  };
  // Forward::partial where outputs.whole is there, else Forward::whole.
  virtual cudaError_t correlation(const Matrix& y, const CorrelationCall&, const Gpu&, cudaStream_t) const = 0;
  // Forward::total, of outputs.whole.
  virtual cudaError_t correlation_total(const CorrelationCall&, const Gpu&, cudaStream_t) const = 0;

  struct CorrelationGradientCall {
    Upstream upstream;
    Matrix c;
    bool by_columns;  // own features are c's columns, not its rows
    const float *c_diagonal, *rstd, *squares;
    void* dz;
    int shares, width, first_column, view;
    int64_t samples;
    float lambd, scale, variance_divisor;
    bool standardized, dependent;
  };
  virtual int correlation_gradient_features() const = 0;  // of which panels are multiples
  virtual cudaError_t correlation_gradient(const Matrix& y, const CorrelationGradientCall&, const Gpu&,
                                           cudaStream_t) const = 0;
};

// The fastest kernels for these operands that this GPU can run.
const Products& products(Operands, const Gpu&);

const Products& ieee_products();
const Products& tf32_products();
const Products& bfloat16_products();
const Products& float16_products();
// Hopper's own, from sources that are compiled for sm_90a alone.
const Products& hopper_tf32_products();
const Products& hopper_bfloat16_products();
const Products& hopper_float16_products();

}  // namespace bt::cuda

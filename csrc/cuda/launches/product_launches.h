// The kernels with a matrix product, one object per type of operands and kind of GPU: what gram.cu and correlation.cu
// launch.
#pragma once

#include "cuda/correlation/correlation_backward.h"
#include "cuda/correlation/correlation_tiles.cuh"
#include "cuda/gram/gram_backward.h"
#include "cuda/gram/gram_combine.cuh"
#include "cuda/schedule/splits.h"
#include "cuda/standardize/standardize.h"

namespace bt::cuda {

// How a tile's kernel is cut: numbers of a tile, of the summed index per step, and blocks that run at a time.
struct TileShape {
  int rows, columns, step, slots;
};

// A stage's launches take scratch and outputs ready made; they return the launch's error.
class ProductLaunches {
 public:
  virtual ~ProductLaunches() = default;

  // For batches of up to kFusedSamples: standardize and the split tiles of K at once, by `blocks` blocks.
  virtual cudaError_t standardize_gram(const Embeddings&, double eps, const Batch&, const StandardizeOutputs&,
                                       float* split_tiles, int64_t blocks, const Gpu&, cudaStream_t) const = 0;

  // K of n samples.
  virtual TileShape gram_shape(int64_t n, const Gpu&) const = 0;
  virtual cudaError_t gram_tiles(const Matrix& y, float* split_tiles, Splits, const Gpu&, cudaStream_t) const = 0;
  // fused: of standardize_gram's tiles. One double per block of kCombineWarps warps is left in sums.parts.
  virtual int64_t gram_pieces(int64_t n, bool fused) const = 0;
  // Forward::partial where there are sums between the halves to write, else Forward::both.
  virtual cudaError_t gram_combine(const GramCombineArguments&, bool fused, const Gpu&, cudaStream_t) const = 0;
  // Forward::total; the first kernel of its op.
  virtual int64_t gram_total_pieces(int64_t n) const = 0;
  virtual cudaError_t gram_total(const GramCombineArguments&, const Gpu&, cudaStream_t) const = 0;

  // dz in one kernel, if a cluster of that GPU holds n samples.
  virtual bool gram_backward_fits(int64_t n, const Gpu&) const = 0;
  virtual cudaError_t gram_backward(const GramBackward&, const Matrix& k, const Gpu&, cudaStream_t) const = 0;

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
    float* split_tiles;
    CorrelationGrid grid;
    int64_t share;
    CorrelationOutputs outputs;
    TermSums sums;
    bool dependent;
  };
  // Forward::partial where outputs.c is there, else Forward::both.
  virtual cudaError_t correlation(const Matrix& y, const CorrelationCall&, const Gpu&, cudaStream_t) const = 0;
  // Forward::total, of outputs.c.
  virtual cudaError_t correlation_total(const CorrelationCall&, const Gpu&, cudaStream_t) const = 0;

  struct CorrelationBackwardCall {
    Matrix c_off_diagonal;
    bool by_columns;  // own features are C's columns, not its rows
    CorrelationBackward backward;
    bool dependent;
  };
  virtual int correlation_backward_features() const = 0;  // of which panels are multiples
  virtual cudaError_t correlation_backward(const Matrix& y, const CorrelationBackwardCall&, const Gpu&,
                                           cudaStream_t) const = 0;
};

// The fastest kernels for these operands that this GPU can run.
const ProductLaunches& product_launches(Operands, const Gpu&);

const ProductLaunches& ieee_launches();
const ProductLaunches& tf32_launches();
const ProductLaunches& bfloat16_launches();
const ProductLaunches& float16_launches();
// Hopper's own, from sources that are compiled for sm_90a alone.
const ProductLaunches& hopper_tf32_launches();
const ProductLaunches& hopper_bfloat16_launches();
const ProductLaunches& hopper_float16_launches();

}  // namespace bt::cuda

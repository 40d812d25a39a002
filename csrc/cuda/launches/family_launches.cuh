// ProductLaunches for a family of tiles: instantiates the kernels and launches them.
//
// A family names the product that each kernel runs with:
//
//     ForStandardizeGram, FusedMultiply      standardize_gram: the tile, and how a warp multiplies it
//     ForGramTiles, ForWideGramTiles         gram_tiles up to kWideFrom samples, and beyond
//     ForGramBackward, ForWideGramBackward   gram_backward up to what a portable cluster of the first holds, and beyond
//     ForGramProduct                         gram_product
//     ForCorrelationTiles                    correlation_tiles
//     ForCorrelationBackwardByRows           correlation_backward with C's rows
//     ForCorrelationBackwardByColumns        with C's columns
//     kTf32                                  operands are rounded to tf32
#pragma once

#include "cuda/correlation/correlation_backward.cuh"
#include "cuda/correlation/correlation_combine.cuh"
#include "cuda/gram/gram_backward.cuh"
#include "cuda/gram/gram_product.cuh"
#include "cuda/gram/gram_tiles.cuh"
#include "cuda/gram/standardize_gram.cuh"
#include "cuda/instructions/launch.cuh"
#include "cuda/launches/product_launches.h"

namespace bt::cuda {

template <typename Family>
class FamilyLaunches final : public ProductLaunches {
  static constexpr int64_t kWideFrom = 512;  // samples; from here on a tile's operands weigh more than its sums

  // Calls f with a value of the product's type that fits.
  template <typename F>
  static auto with_gram_tiles(int64_t n, const F& f) {
    return n > kWideFrom ? f(typename Family::ForWideGramTiles{}) : f(typename Family::ForGramTiles{});
  }
  template <typename F>
  static auto with_gram_backward(int64_t n, const F& f) {
    using Narrow = typename Family::ForGramBackward;
    return n > kPortableCluster * Narrow::kColumns ? f(typename Family::ForWideGramBackward{}) : f(Narrow{});
  }

  template <typename Product>
  static TileShape shape_of(Product, const Gpu& gpu) {
    return {Product::kRows, Product::kColumns, Product::kStep, gpu.multiprocessors * Product::kBlocksPerMultiprocessor};
  }

  // Blocks that have an operand in common on a GPU whose blocks can: two, where the grid is padded for it.
  template <typename Product>
  static constexpr int kPair = Product::kClusterShares ? 2 : 1;

  template <typename Product, typename Arguments>
  static cudaError_t run(void (*kernel)(Arguments), const Arguments& arguments, Product, int64_t blocks, int cluster,
                         bool dependent, int shared_bytes, const Gpu& gpu, cudaStream_t stream) {
    return launch(kernel, {blocks, Product::kThreads, shared_bytes, cluster, dependent && gpu.capability >= 90, stream},
                  arguments);
  }

 public:
  cudaError_t standardize_gram(const Embeddings& z, double eps, const Batch& batch, const StandardizeOutputs& outputs,
                               float* split_tiles, int64_t blocks, const Gpu& gpu, cudaStream_t stream) const override {
    using Product = typename Family::ForStandardizeGram;
    using T = typename Product::Element;
    using Tile = SharedTile<T, Product::kRows, Product::kStep>;
    constexpr int kShared = 2 * Tile::kBytes + standardize_statistics_bytes(sizeof(T));
    const StandardizeGramArguments<T> arguments{
        standardize_arguments<T>(z, eps, batch, {}, outputs, z.n, static_cast<int>(z.n)), split_tiles};
    return run(standardize_gram_kernel<Product, typename Family::FusedMultiply, Family::kTf32>, arguments, Product{},
               blocks, 1, false, kShared, gpu, stream);
  }

  TileShape gram_shape(int64_t n, const Gpu& gpu) const override {
    return with_gram_tiles(n, [&](auto product) { return shape_of(product, gpu); });
  }

  cudaError_t gram_tiles(const Matrix& y, float* split_tiles, Splits splits, const Gpu& gpu,
                         cudaStream_t stream) const override {
    return with_gram_tiles(y.rows, [&](auto product) {
      using Product = decltype(product);
      constexpr GramTiles kTiles{Product::kRows, Product::kColumns};
      GramTilesArguments<Product> arguments{};
      if (const cudaError_t error = Product::make_a(&arguments.rows, y)) return error;
      if (const cudaError_t error = Product::make_b(&arguments.columns, y)) return error;
      arguments.split_tiles = split_tiles, arguments.d = y.columns, arguments.share = splits.share;
      arguments.tiles = kTiles.count(y.rows);
      const int cluster = Product::kClusterShares ? kTiles.per_square() : 1;
      return run(gram_tiles_kernel<Product>, arguments, product, int64_t{2} * splits.count * arguments.tiles, cluster,
                 true, Product::kSharedBytes, gpu, stream);
    });
  }

  int64_t gram_pieces(int64_t n, bool fused) const override {
    const auto pieces = [&](auto product) { return pieces_of(product, n); };
    return fused ? pieces(typename Family::ForStandardizeGram{}) : with_gram_tiles(n, pieces);
  }

  cudaError_t gram_combine(const GramCombineArguments& arguments, bool fused, const Gpu& gpu,
                           cudaStream_t stream) const override {
    const Launch shape =
        gram_combine_launch(gram_pieces(arguments.n, fused) * arguments.warps, gpu.capability >= 90, stream);
    const auto combine = [&](auto product) {
      using Product = decltype(product);
      return launch(arguments.partial.sums != nullptr ? gram_combine_kernel<Product, Family::kTf32, Forward::partial>
                                                      : gram_combine_kernel<Product, Family::kTf32, Forward::both>,
                    shape, arguments);
    };
    return fused ? combine(typename Family::ForStandardizeGram{}) : with_gram_tiles(arguments.n, combine);
  }

  int64_t gram_total_pieces(int64_t n) const override { return pieces_of(typename Family::ForGramTiles{}, n); }

  cudaError_t gram_total(const GramCombineArguments& arguments, const Gpu&, cudaStream_t stream) const override {
    using Product = typename Family::ForGramTiles;
    GramCombineArguments total = arguments;
    total.tiles = GramTiles{Product::kRows, Product::kColumns}.count(arguments.n), total.warps = 1;
    return launch(gram_combine_kernel<Product, Family::kTf32, Forward::total>,
                  gram_combine_launch(gram_total_pieces(arguments.n), false, stream), total);
  }

  template <typename Product>
  static Launch gram_backward_launch(Product, int64_t n, int64_t d, int views, cudaStream_t stream) {
    const int cluster = static_cast<int>(ceil_div(n, Product::kColumns));
    return {views * ceil_div(d, Product::kRows) * cluster,
            Product::kThreads,
            backward_shared_bytes<Product>(),
            cluster,
            false,
            stream};
  }

  bool gram_backward_fits(int64_t n, const Gpu& gpu) const override {
    return with_gram_backward(n, [&](auto product) {
      using Product = decltype(product);
      // Where there is a wider tile, it reaches as far with a portable cluster as the narrow one with a larger one.
      constexpr bool kWider = Product::kColumns > Family::ForGramBackward::kColumns;
      const int most = kWider && gpu.max_cluster > kPortableCluster ? kPortableCluster : gpu.max_cluster;
      if (n > int64_t{most} * Product::kColumns) return false;
      const Launch shape = gram_backward_launch(product, n, 1, 1, nullptr);
      return shape.cluster <= kPortableCluster || cluster_fits(gram_backward_kernel<Product>, shape);
    });
  }

  cudaError_t gram_backward(const GramBackward& backward, const Matrix& k, const Gpu& gpu,
                            cudaStream_t stream) const override {
    return with_gram_backward(backward.n, [&](auto product) {
      using Product = decltype(product);
      GramBackwardArguments<Product> arguments{};
      if (const cudaError_t error = Product::make_a(&arguments.y, backward.y)) return error;
      if (const cudaError_t error = Product::make_b(&arguments.k, k)) return error;
      arguments.backward = backward;
      return launch(gram_backward_kernel<Product>,
                    gram_backward_launch(product, backward.n, backward.d, backward.views, stream), arguments);
    });
  }

  using ForGramProduct = typename Family::ForGramProduct;

  TileShape gram_product_shape(const Gpu& gpu) const override { return shape_of(ForGramProduct{}, gpu); }

  int gram_product_sample_tiles(int64_t n) const override {
    constexpr int kTiles = kPair<ForGramProduct>;
    return static_cast<int>(ceil_div(n, ForGramProduct::kColumns * kTiles)) * kTiles;
  }

  cudaError_t gram_product(const Matrix& y, const Matrix& k, const Panel& panel, bool dependent, const Gpu& gpu,
                           cudaStream_t stream) const override {
    GramProductArguments<ForGramProduct> arguments{};
    if (const cudaError_t error = ForGramProduct::make_a(&arguments.y, y)) return error;
    if (const cudaError_t error = ForGramProduct::make_b(&arguments.k, k)) return error;
    arguments.y_matrix = y;
    arguments.product = panel.product, arguments.column_sums = panel.column_sums;
    arguments.n = y.rows, arguments.ldt = panel.ldt;
    arguments.width = panel.width, arguments.first_column = panel.first_column;
    arguments.sample_tiles = gram_product_sample_tiles(y.rows), arguments.first_view = panel.first_view;
    const int64_t blocks = int64_t{panel.views} * arguments.sample_tiles * (panel.width / ForGramProduct::kRows);
    return run(gram_product_kernel<ForGramProduct>, arguments, ForGramProduct{}, blocks, kPair<ForGramProduct>,
               dependent, backward_shared_bytes<ForGramProduct>(), gpu, stream);
  }

  using ForCorrelationTiles = typename Family::ForCorrelationTiles;

  TileShape correlation_shape(const Gpu& gpu) const override { return shape_of(ForCorrelationTiles{}, gpu); }

  CorrelationGrid correlation_grid(int64_t height, int64_t columns) const override {
    constexpr int kTiles = kPair<ForCorrelationTiles>;
    return {static_cast<int>(ceil_div(height, ForCorrelationTiles::kRows * kTiles)) * kTiles,
            static_cast<int>(ceil_div(columns, ForCorrelationTiles::kColumns)), 1};
  }

  int64_t correlation_blocks(const CorrelationGrid& grid, Forward forward) const override {
    return grid.tiles() * (forward == Forward::total || grid.splits > 1 ? kCombineSlices : 1);
  }

  cudaError_t correlation(const Matrix& y, const CorrelationCall& call, const Gpu& gpu,
                          cudaStream_t stream) const override {
    CorrelationTilesArguments<ForCorrelationTiles> arguments{};
    if (const cudaError_t error = ForCorrelationTiles::make_a(&arguments.own, y)) return error;
    if (const cudaError_t error = ForCorrelationTiles::make_b(&arguments.other, y)) return error;
    arguments.own_view = call.own_view, arguments.split_tiles = call.split_tiles, arguments.grid = call.grid;
    arguments.n = y.rows, arguments.share = call.share;
    arguments.outputs = call.outputs, arguments.sums = call.sums;
    const cudaError_t error =
        run(correlation_tiles_kernel<ForCorrelationTiles, Family::kTf32>, arguments, ForCorrelationTiles{},
            call.grid.splits * call.grid.tiles(), kPair<ForCorrelationTiles>, call.dependent,
            ForCorrelationTiles::kSharedBytes, gpu, stream);
    if (error != cudaSuccess || call.split_tiles == nullptr) return error;
    return call.outputs.c != nullptr ? correlation_combine<Forward::partial>(call, gpu, stream)
                                     : correlation_combine<Forward::both>(call, gpu, stream);
  }

  template <Forward FORWARD>
  cudaError_t correlation_combine(const CorrelationCall& call, const Gpu& gpu, cudaStream_t stream) const {
    constexpr int kShared =
        kCorrelationWarps<ForCorrelationTiles> * ForCorrelationTiles::kColumns * static_cast<int>(sizeof(float));
    const CorrelationCombineArguments combine{call.split_tiles, call.grid, call.outputs, call.sums};
    const int64_t blocks = correlation_blocks(call.grid, FORWARD);
    return launch(correlation_combine_kernel<ForCorrelationTiles, Family::kTf32, FORWARD>,
                  {blocks, ForCorrelationTiles::kWorkers, kShared, 1, gpu.capability >= 90, stream}, combine);
  }

  cudaError_t correlation_total(const CorrelationCall& call, const Gpu& gpu, cudaStream_t stream) const override {
    return correlation_combine<Forward::total>(call, gpu, stream);
  }

  int correlation_backward_features() const override {
    return Family::ForCorrelationBackwardByRows::kRows * kPair<typename Family::ForCorrelationBackwardByRows>;
  }

  cudaError_t correlation_backward(const Matrix& y, const CorrelationBackwardCall& call, const Gpu& gpu,
                                   cudaStream_t stream) const override {
    const auto run_with = [&](auto product) {
      using Product = decltype(product);
      CorrelationBackwardArguments<Product> arguments{};
      if (const cudaError_t error = Product::make_a(&arguments.c_off_diagonal, call.c_off_diagonal)) return error;
      if (const cudaError_t error = Product::make_b(&arguments.y, y)) return error;
      arguments.y_matrix = y, arguments.backward = call.backward;
      arguments.feature_tiles =
          static_cast<int>(ceil_div(call.backward.width, Product::kRows * kPair<Product>)) * kPair<Product>;
      arguments.sample_tiles = static_cast<int>(ceil_div(y.rows, Product::kColumns));
      return run(correlation_backward_kernel<Product>, arguments, product,
                 int64_t{arguments.feature_tiles} * arguments.sample_tiles, kPair<Product>, call.dependent,
                 backward_shared_bytes<Product>(), gpu, stream);
    };
    return call.by_columns ? run_with(typename Family::ForCorrelationBackwardByColumns{})
                           : run_with(typename Family::ForCorrelationBackwardByRows{});
  }

 private:
  static constexpr int kCombineSlices =
      Fragment<ForCorrelationTiles>::kColumnTiles / (static_cast<int>(kSquaresShare) / 8);

  template <typename Product>
  static int64_t pieces_of(Product, int64_t n) {
    return int64_t{GramTiles{Product::kRows, Product::kColumns}.count(n)} * (Fragment<Product>::kValues / 4) *
           (Product::kWorkers / 32);
  }

  // warps: all of them, each with a piece or a part of one.
  static Launch gram_combine_launch(int64_t warps, bool dependent, cudaStream_t stream) {
    return {ceil_div(warps, kCombineWarps), 32 * kCombineWarps, kCombineSharedBytes, 1, dependent, stream};
  }
};

}  // namespace bt::cuda

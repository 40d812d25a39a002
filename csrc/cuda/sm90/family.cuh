// Hopper's tiles. One block on a multiprocessor has the registers for 128 x 256 numbers, which ask least of L2 per product;
// two blocks of 128 x 128 hide each other's epilogues, which weigh where the sum over the batch is short.
#pragma once

#include "cuda/portable_product.cuh"
#include "cuda/products.cuh"
#include "cuda/sm90/hopper_product.cuh"

namespace bt::cuda {

template <typename T, Major A, Major B>
using NarrowTile = HopperProduct<T, A, B, 128, 3, 2>;
template <typename T, Major A, Major B>
using WideTile = HopperProduct<T, A, B, 256, 4, 1>;

template <typename T>
struct HopperFamily {
  static constexpr bool kTf32 = false;
  using FusedMultiply = NarrowMultiply<T>;
  using FusedGram = PortableProduct<FusedMultiply, Major::k, Major::k>;
  using GramTiles = NarrowTile<T, Major::k, Major::k>;
  using WideGramTiles = WideTile<T, Major::k, Major::k>;
  using GramGradient = NarrowTile<T, Major::mn, Major::k>;
  using WideGramGradient = WideTile<T, Major::mn, Major::k>;
  using GramProduct = WideTile<T, Major::mn, Major::k>;
  using CorrelationTiles = WideTile<T, Major::mn, Major::mn>;
  using RowGradient = WideTile<T, Major::k, Major::k>;
  using ColumnGradient = WideTile<T, Major::mn, Major::k>;
};

// wgmma takes 32-bit operands along k alone, which K's are; the other products read y along the batch.
struct HopperTf32Family {
  static constexpr bool kTf32 = true;
  using FusedMultiply = Tf32Multiply;
  using FusedGram = PortableProduct<FusedMultiply, Major::k, Major::k>;
  using GramTiles = NarrowTile<float, Major::k, Major::k>;
  using WideGramTiles = WideTile<float, Major::k, Major::k>;
  using GramGradient = PortableProduct<Tf32Multiply, Major::mn, Major::k>;
  using WideGramGradient = GramGradient;
  using GramProduct = GramGradient;
  using CorrelationTiles = PortableProduct<Tf32Multiply, Major::mn, Major::mn>;
  using RowGradient = PortableProduct<Tf32Multiply, Major::k, Major::k>;
  using ColumnGradient = PortableProduct<Tf32Multiply, Major::mn, Major::k>;
};

}  // namespace bt::cuda

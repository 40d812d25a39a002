// The portable kernels' tiles: one for everything, whatever multiplies.
#pragma once

#include "cuda/product/portable_product.cuh"
#include "cuda/launches/family_launches.cuh"

namespace bt::cuda {

template <typename Multiply, bool TF32>
struct PortableFamily {
  static constexpr bool kTf32 = TF32;
  using FusedMultiply = Multiply;
  using FusedGram = PortableProduct<Multiply, Major::k, Major::k>;
  using GramTiles = PortableProduct<Multiply, Major::k, Major::k>;
  using WideGramTiles = GramTiles;
  using GramGradient = PortableProduct<Multiply, Major::mn, Major::k>;
  using WideGramGradient = GramGradient;
  using GramProduct = GramGradient;
  using CorrelationTiles = PortableProduct<Multiply, Major::mn, Major::mn>;
  using RowGradient = PortableProduct<Multiply, Major::k, Major::k>;
  using ColumnGradient = PortableProduct<Multiply, Major::mn, Major::k>;
};

}  // namespace bt::cuda

// The portable kernels' tiles: one for everything, whatever multiplies.
#pragma once

#include "cuda/launches/family_launches.cuh"
#include "cuda/product/portable_product.cuh"

namespace bt::cuda {

template <typename Multiply, bool TF32>
struct PortableFamily {
  static constexpr bool kTf32 = TF32;
  using FusedMultiply = Multiply;
  using FusedGram = PortableProduct<Multiply, Major::k, Major::k>;
  using GramTiles = PortableProduct<Multiply, Major::k, Major::k>;
  using WideGramTiles = GramTiles;
  using GramBackward = PortableProduct<Multiply, Major::mn, Major::k>;
  using WideGramBackward = GramBackward;
  using GramProduct = GramBackward;
  using CorrelationTiles = PortableProduct<Multiply, Major::mn, Major::mn>;
  using CorrelationBackwardByRows = PortableProduct<Multiply, Major::k, Major::k>;
  using CorrelationBackwardByColumns = PortableProduct<Multiply, Major::mn, Major::k>;
};

}  // namespace bt::cuda

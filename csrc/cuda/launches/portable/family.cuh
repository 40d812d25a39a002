// The portable kernels' tiles: one for everything, whatever multiplies.
#pragma once

#include "cuda/launches/family_launches.cuh"
#include "cuda/product/portable_product.cuh"

namespace bt::cuda {

template <typename Multiply, bool TF32>
struct PortableFamily {
  static constexpr bool kTf32 = TF32;
  using FusedMultiply = Multiply;
  using ForStandardizeGram = PortableProduct<Multiply, Major::k, Major::k>;
  using ForGramTiles = PortableProduct<Multiply, Major::k, Major::k>;
  using ForWideGramTiles = ForGramTiles;
  using ForGramBackward = PortableProduct<Multiply, Major::mn, Major::k>;
  using ForWideGramBackward = ForGramBackward;
  using ForGramProduct = ForGramBackward;
  using ForCorrelationTiles = PortableProduct<Multiply, Major::mn, Major::mn>;
  using ForCorrelationBackwardByRows = PortableProduct<Multiply, Major::k, Major::k>;
  using ForCorrelationBackwardByColumns = PortableProduct<Multiply, Major::mn, Major::k>;
};

}  // namespace bt::cuda

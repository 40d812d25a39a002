// Hopper's tiles. One block on a multiprocessor has the registers for 128 x 256 numbers, which ask least of L2 per
// product; two blocks of 128 x 128 hide each other's epilogues, which weigh where the sum over the batch is short.
#pragma once

#include "cuda/launches/family_launches.cuh"
#include "cuda/product/hopper_product.cuh"
#include "cuda/product/portable_product.cuh"

namespace bt::cuda {

// Portable kernels that these files have too. Types of their own make them kernels of their own: compiled for sm_90a
// alone, they must not be taken for those of the other GPUs, as a linker may take one of two functions with the same
// name.
template <typename Multiply>
struct OnHopper : Multiply {};

template <typename T, Major A, Major B>
using NarrowTile = HopperProduct<T, A, B, 128, 3, 2>;
template <typename T, Major A, Major B>
using WideTile = HopperProduct<T, A, B, 256, 4, 1>;

template <typename T>
struct HopperFamily {
  static constexpr bool kTf32 = false;
  using FusedMultiply = OnHopper<NarrowMultiply<T>>;
  using ForStandardizeGram = PortableProduct<FusedMultiply, Major::k, Major::k>;
  using ForGramTiles = NarrowTile<T, Major::k, Major::k>;
  using ForWideGramTiles = WideTile<T, Major::k, Major::k>;
  using ForGramBackward = NarrowTile<T, Major::mn, Major::k>;
  using ForWideGramBackward = WideTile<T, Major::mn, Major::k>;
  using ForGramProduct = WideTile<T, Major::mn, Major::k>;
  using ForCorrelationTiles = WideTile<T, Major::mn, Major::mn>;
  using ForCorrelationBackwardByRows = WideTile<T, Major::k, Major::k>;
  using ForCorrelationBackwardByColumns = WideTile<T, Major::mn, Major::k>;
};

// C in tf32 has both operands along the batch, and wgmma takes but one of them from registers.
struct HopperTf32Family {
  static constexpr bool kTf32 = true;
  using FusedMultiply = OnHopper<Tf32Multiply>;
  using ForStandardizeGram = PortableProduct<FusedMultiply, Major::k, Major::k>;
  using ForGramTiles = NarrowTile<float, Major::k, Major::k>;
  using ForWideGramTiles = WideTile<float, Major::k, Major::k>;
  using ForGramBackward =
      HopperProduct<float, Major::mn, Major::k, 128, 4, 1>;  // A's part of the registers leaves room for one block
  using ForWideGramBackward = WideTile<float, Major::mn, Major::k>;
  using ForGramProduct = WideTile<float, Major::mn, Major::k>;
  using ForCorrelationTiles = PortableProduct<FusedMultiply, Major::mn, Major::mn>;
  using ForCorrelationBackwardByRows = WideTile<float, Major::k, Major::k>;
  using ForCorrelationBackwardByColumns = WideTile<float, Major::mn, Major::k>;
};

}  // namespace bt::cuda

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
  using FusedGram = PortableProduct<FusedMultiply, Major::k, Major::k>;
  using GramTiles = NarrowTile<T, Major::k, Major::k>;
  using WideGramTiles = WideTile<T, Major::k, Major::k>;
  using GramBackward = NarrowTile<T, Major::mn, Major::k>;
  using WideGramBackward = WideTile<T, Major::mn, Major::k>;
  using GramProduct = WideTile<T, Major::mn, Major::k>;
  using CorrelationTiles = WideTile<T, Major::mn, Major::mn>;
  using CorrelationBackwardByRows = WideTile<T, Major::k, Major::k>;
  using CorrelationBackwardByColumns = WideTile<T, Major::mn, Major::k>;
};

// C in tf32 has both operands along the batch, and wgmma takes but one of them from registers.
struct HopperTf32Family {
  static constexpr bool kTf32 = true;
  using FusedMultiply = OnHopper<Tf32Multiply>;
  using FusedGram = PortableProduct<FusedMultiply, Major::k, Major::k>;
  using GramTiles = NarrowTile<float, Major::k, Major::k>;
  using WideGramTiles = WideTile<float, Major::k, Major::k>;
  using GramBackward =
      HopperProduct<float, Major::mn, Major::k, 128, 4, 1>;  // A's part of the registers leaves room for one block
  using WideGramBackward = WideTile<float, Major::mn, Major::k>;
  using GramProduct = WideTile<float, Major::mn, Major::k>;
  using CorrelationTiles = PortableProduct<FusedMultiply, Major::mn, Major::mn>;
  using CorrelationBackwardByRows = WideTile<float, Major::k, Major::k>;
  using CorrelationBackwardByColumns = WideTile<float, Major::mn, Major::k>;
};

}  // namespace bt::cuda

// What the kernels with a matrix product know of it, whichever instructions multiply.
//
// A product kernel is a template over one of
//
//     PortableProduct (portable_product.cuh)   mma.sync or FMA, operands through cp.async; sm_80 and newer
//     HopperProduct (hopper_product.cuh)       wgmma, operands through TMA; sm_90a alone
//
// Both compute a kRows x kColumns tile of sum_k A[i, k] B[j, k] with float32 accumulators and hand it to an epilogue in
// the same form: kRowTiles x kColumnTiles pieces of 16 x 8 numbers per warp, four numbers of each piece per thread, in
// the order of mma.sync's result and wgmma's: rows g and g + 8, columns 2 t and 2 t + 1; g = lane / 4, t = lane % 4.
//
// Why not CUTLASS: what costs in this loss is behind the product. The backward's column sums cross the blocks of a
// cluster, K is one triangle cut in squares that clusters share, and the sums over C go by row, by column and in all.
// CUTLASS's epilogue visitors have the last, with atomics; the others would be ours inside its templates, and could not
// run on a CPU.
#pragma once

#include "cuda/instructions/wgmma.cuh"
#include "cuda/product/matrix.h"
#include "cuda/schedule/shared_tile.h"

namespace bt::cuda {

// Where a tile's operands begin. first_a, first_b: index along the tile's rows and columns; k from k_begin to k_end.
struct ProductTile {
  int view_a, first_a, view_b, first_b, k_begin, k_end;
};

// Which operand all blocks of a cluster have in common.
enum class Shared { none, a, b };

// Row and column within a block's tile of value v (0 .. 3) of piece (row_tile, column_tile) of the calling thread.
template <typename Product>
struct Fragment {
  static constexpr int kRowTiles = Product::kWarpRows / 16, kColumnTiles = Product::kWarpColumns / 8;
  static constexpr int kValues = 4 * kRowTiles * kColumnTiles;
  static constexpr int kWarpsAcross = Product::kColumns / Product::kWarpColumns;

  static __device__ __forceinline__ int first_row(int warp = warp_id()) {
    return warp / kWarpsAcross * Product::kWarpRows + lane_id() / 4;
  }
  static __device__ __forceinline__ int first_column(int warp = warp_id()) {
    return warp % kWarpsAcross * Product::kWarpColumns + 2 * (lane_id() % 4);
  }
  BT_HOST_DEVICE static constexpr int index(int row_tile, int column_tile, int v) {
    return 4 * (row_tile * kColumnTiles + column_tile) + v;
  }
};

// Sum over the four lanes that hold one row of a piece, in all of them.
__device__ __forceinline__ float sum_over_row(float x) {
  x += shuffle_xor(x, 1);
  return x + shuffle_xor(x, 2);
}

}  // namespace bt::cuda

// A 128 x 128 tile of a product on any GPU from sm_80 on: eight warps, each 32 x 64 of it, operands through cp.async.
//
// A ring of kStages shared-memory stages, each with 128 bytes of k of both operands: while one is multiplied the next
// ones are on their way. All threads copy and all multiply. What lies outside of the matrices is copied as zeros.
#pragma once

#include "cuda/instructions/cluster.cuh"
#include "cuda/instructions/grid.cuh"
#include "cuda/product/copy_tile.cuh"
#include "cuda/product/multiply.cuh"

namespace bt::cuda {

template <typename Multiply, Major A, Major B>
struct PortableProduct {
  using Element = typename Multiply::Element;
  static constexpr int kRows = 128, kColumns = 128, kWarpRows = 32, kWarpColumns = 64;
  static constexpr int kThreads = 256, kWorkers = kThreads;  // workers: threads with a part of the result
  static constexpr int kBlocksPerMultiprocessor = 1;
  static constexpr int kStep = kBoxBytes / static_cast<int>(sizeof(Element));
  static constexpr int kStages = 3;
  template <Major MAJOR, int EXTENT>
  using Tile =
      std::conditional_t<MAJOR == Major::k, SharedTile<Element, EXTENT, kStep>, SharedTile<Element, kStep, EXTENT>>;
  using TileA = Tile<A, kRows>;
  using TileB = Tile<B, kColumns>;
  static constexpr int kStageBytes = TileA::kBytes + TileB::kBytes;
  static constexpr int kSharedBytes = kStages * kStageBytes;
  static constexpr bool kClusterShares = false;   // each block copies all of its operands
  static constexpr bool kStoresMatrices = false;  // stmatrix is Hopper's

  struct Operand {
    Matrix matrix;
  };

  static cudaError_t make_a(Operand* operand, const Matrix& matrix) {
    operand->matrix = matrix;
    return cudaSuccess;
  }
  static cudaError_t make_b(Operand* operand, const Matrix& matrix) { return make_a(operand, matrix); }

  template <Major MAJOR, int EXTENT>
  static __device__ __forceinline__ void copy_operand(unsigned char* tile, const Matrix& matrix, int view, int first,
                                                      int k) {
    if constexpr (MAJOR == Major::k) {
      copy_tile<Element, EXTENT, kStep, kThreads>(tile, matrix, view, first, k);
    } else {
      copy_tile<Element, kStep, EXTENT, kThreads>(tile, matrix, view, k, first);
    }
  }

  // Multiplies the tile, once the previous grid has ended, and calls epilogue(accumulators) with shared memory free to
  // use. CLUSTER_SYNCS: of the epilogue.
  template <Shared SHARED, int CLUSTER_SYNCS, typename Epilogue>
  static __device__ __forceinline__ void run(const Operand& a, const Operand& b, const ProductTile& tile,
                                             Epilogue&& epilogue) {
    wait_for_previous_grid();
    unsigned char* shared = dynamic_shared<unsigned char>();
    const auto copy = [&](int step) {
      if (tile.k_begin + step * kStep < tile.k_end) {
        unsigned char* stage = shared + step % kStages * kStageBytes;
        copy_operand<A, kRows>(stage, a.matrix, tile.view_a, tile.first_a, tile.k_begin + step * kStep);
        copy_operand<B, kColumns>(stage + TileA::kBytes, b.matrix, tile.view_b, tile.first_b,
                                  tile.k_begin + step * kStep);
      }
      copy_async_commit();  // an empty group too, so that groups and steps keep count of each other
    };
    constexpr int kWarpsAcross = kColumns / kWarpColumns;
    const int row = warp_id() / kWarpsAcross * kWarpRows, column = warp_id() % kWarpsAcross * kWarpColumns;
    float d[kWarpRows * kWarpColumns / 32];
#pragma unroll
    for (float& x : d) x = 0.0f;
#pragma unroll
    for (int step = 0; step < kStages - 1; ++step) copy(step);
    const int steps = (tile.k_end - tile.k_begin + kStep - 1) / kStep;
    for (int step = 0; step < steps; ++step) {
      copy_async_wait<kStages - 2>();
      sync_block();  // this step's copies are there for all, and all are done with the stage that is copied to next
      copy(step + kStages - 1);
      const unsigned char* stage = shared + step % kStages * kStageBytes;
#pragma unroll Multiply::kUnroll
      for (int k = 0; k < kStep; k += Multiply::kDepth) {
        Multiply::template step<A, B, TileA, TileB, kWarpRows, kWarpColumns>(d, stage, stage + TileA::kBytes, row,
                                                                             column, k);
      }
    }
    copy_async_wait<0>();
    sync_block();
    epilogue(d);
    cluster_meet();
  }

  static __device__ __forceinline__ void sync_workers() { sync_block(); }
};

}  // namespace bt::cuda

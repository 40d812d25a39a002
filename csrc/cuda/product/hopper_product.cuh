// A 128 x COLUMNS tile of a product on Hopper: wgmma by two warpgroups, operands through TMA by one more warp.
//
// A ring of STAGES shared-memory stages, each with 128 bytes of k of both operands and two mbarriers: full (the copies
// have landed) and empty (all who read it are done). Each working warpgroup has 64 rows and all columns.
//
// wgmma takes 32-bit operands from shared memory along k alone. Where A's rows are contiguous instead, they go through
// registers on their way, four numbers per thread and 8 of k, and one warpgroup loads while the other multiplies.
//
// The operand that a cluster's blocks have in common is fetched once for all of them: in step s by block s % cluster
// size, multicast to the same stage of every block. So that block's stage must be free in the whole cluster, and every
// warpgroup (every warp, where it loads registers) reports a stage as read to all blocks.
//
// Registers: with one block on a multiprocessor the copying warp belongs to a warpgroup that hands most of its
// registers to the two with 128 accumulators per thread. With two blocks and 64 accumulators it is a warp of its own,
// and all have 96.
#pragma once

#include "cuda/instructions/barrier.cuh"
#include "cuda/instructions/cluster.cuh"
#include "cuda/instructions/grid.cuh"
#include "cuda/instructions/tma.cuh"
#include "cuda/product/tile.cuh"

namespace bt::cuda {

template <typename T, Major A, Major B, int COLUMNS, int STAGES, int BLOCKS_PER_MULTIPROCESSOR>
struct HopperProduct {
  using Element = T;
  static constexpr int kRows = 128, kColumns = COLUMNS, kWarpRows = 16, kWarpColumns = COLUMNS;
  static constexpr int kWorkers = 256;
  static constexpr bool kRegisterA = A == Major::mn && sizeof(T) == 4;
  // Threads that report a stage as read together: wgmma is one access of the warpgroup, but each warp loads registers
  // by itself.
  static constexpr int kReporting = kRegisterA ? 32 : 128;
  static constexpr bool kSharesRegisters = BLOCKS_PER_MULTIPROCESSOR == 1;
  static constexpr int kThreads = kWorkers + (kSharesRegisters ? 128 : 32);
  static constexpr int kBlocksPerMultiprocessor = BLOCKS_PER_MULTIPROCESSOR;
  static constexpr int kStep = kBoxBytes / static_cast<int>(sizeof(T));
  static constexpr int kWgmmaStep = 32 / static_cast<int>(sizeof(T));
  template <Major MAJOR, int EXTENT>
  using Tile = std::conditional_t<MAJOR == Major::k, SharedTile<T, EXTENT, kStep>, SharedTile<T, kStep, EXTENT>>;
  using TileA = Tile<A, kRows>;
  using TileB = Tile<B, kColumns>;
  static constexpr int kStageBytes = TileA::kBytes + TileB::kBytes;
  static constexpr int kBarrierBytes = 2 * STAGES * static_cast<int>(sizeof(uint64_t));
  static constexpr int kSharedBytes = STAGES * kStageBytes + kBarrierBytes;
  static constexpr bool kClusterShares = true, kStoresMatrices = true;

  struct Operand {
    TensorMap map;
  };

  template <Major MAJOR, int EXTENT>
  static cudaError_t make(Operand* operand, const Matrix& m) {
    constexpr int kBoxRows = MAJOR == Major::k ? EXTENT : kStep;
    return make_tensor_map(&operand->map, m.data, sizeof(T), m.views, m.rows, m.columns, m.row_stride, m.view_stride,
                           kBoxRows, TileA::kBoxColumns);
  }
  static cudaError_t make_a(Operand* operand, const Matrix& matrix) { return make<A, kRows>(operand, matrix); }
  static cudaError_t make_b(Operand* operand, const Matrix& matrix) { return make<B, kColumns>(operand, matrix); }

  static __device__ __forceinline__ uint64_t* full(int stage) {
    return reinterpret_cast<uint64_t*>(dynamic_shared<unsigned char>() + STAGES * kStageBytes) + stage;
  }
  static __device__ __forceinline__ uint64_t* empty(int stage) { return full(STAGES + stage); }

  // The stage at hand, and the parity of its barriers' phase.
  struct Ring {
    int stage = 0, parity = 0;

    __device__ __forceinline__ void advance() {
      stage = stage + 1 == STAGES ? 0 : stage + 1;
      if (stage == 0) parity ^= 1;
    }
    __device__ __forceinline__ int before() const { return stage == 0 ? STAGES - 1 : stage - 1; }
  };

  // One thread's. blocks: those that the operand is for; 0: this one alone.
  template <Major MAJOR, typename TileX>
  static __device__ __forceinline__ void fetch(unsigned char* tile, const Operand& operand, uint64_t* barrier, int view,
                                               int first, int k, int blocks) {
#pragma unroll
    for (int box = 0; box < TileX::kBoxes; ++box) {
      const int column = (MAJOR == Major::k ? k : first) + box * TileX::kBoxColumns;
      const int row = MAJOR == Major::k ? first : k;
      unsigned char* there = tile + box * TileX::kBytesPerBox;
      if (blocks == 0) {
        load_tensor(there, &operand.map, barrier, column, row, view);
      } else {
        load_tensor_multicast(there, &operand.map, barrier, column, row, view, static_cast<uint16_t>(blocks));
      }
    }
  }

  template <Shared SHARED>
  static __device__ __forceinline__ void produce(const Operand& a, const Operand& b, const ProductTile& tile,
                                                 int steps) {
    unsigned char* shared = dynamic_shared<unsigned char>();
    const int size = SHARED == Shared::none ? 1 : cluster_size(), rank = SHARED == Shared::none ? 0 : cluster_rank();
    const int all = size == 1 ? 0 : (1 << size) - 1;
    Ring ring;
    int turn = 0;
    for (int step = 0; step < steps; ++step, ring.advance()) {
      const int stage = ring.stage, k = tile.k_begin + step * kStep;
      unsigned char* here = shared + stage * kStageBytes;
      if (step >= STAGES) barrier_wait(empty(stage), ring.parity ^ 1);
      barrier_expect_bytes(full(stage), kStageBytes);
      const bool mine = turn == rank;
      turn = turn + 1 == size ? 0 : turn + 1;
      if (SHARED != Shared::a || mine) {
        fetch<A, TileA>(here, a, full(stage), tile.view_a, tile.first_a, k, SHARED == Shared::a ? all : 0);
      }
      if (SHARED != Shared::b || mine) {
        fetch<B, TileB>(here + TileA::kBytes, b, full(stage), tile.view_b, tile.first_b, k,
                        SHARED == Shared::b ? all : 0);
      }
    }
  }

  // Bytes from one wgmma's operand to that of the next k, and of descriptors: instructions/wgmma.cuh,
  // schedule/shared_tile.h.
  template <Major MAJOR>
  static constexpr int kNextBytes = MAJOR == Major::k ? 32 : kWgmmaStep * kBoxBytes;
  static constexpr int kEightRows = 8 * kBoxBytes;

  static __device__ __forceinline__ uint64_t right_operand(const unsigned char* b_tile, int stage, int k) {
    return matrix_descriptor(b_tile + stage * kStageBytes + k * kNextBytes<B>, TileB::kBytesPerBox, kEightRows);
  }

  // The calling thread's part of the warp's 16 rows of A, for all of the stage's k.
  static __device__ __forceinline__ void load_registers(uint32_t (&a)[kStep / kWgmmaStep][4],
                                                        const unsigned char* tile) {
    const int row = 16 * warp_id() + lane_id() / 4, t = lane_id() % 4;
#pragma unroll
    for (int k = 0; k < kStep / kWgmmaStep; ++k) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int offset = TileA::offset(kWgmmaStep * k, t + 4 * (i / 2), row + 8 * (i % 2));
        a[k][i] = *reinterpret_cast<const uint32_t*>(tile + offset);
      }
    }
  }

  template <Shared SHARED>
  static __device__ __forceinline__ void consume(float (&d)[COLUMNS / 2], int steps) {
    const int warpgroup =
        shuffle(warp_id(), 0) / 4;  // so the compiler knows that descriptors are the same in all lanes
    const int size = SHARED == Shared::none ? 1 : cluster_size();
    const unsigned char* a_tile =
        dynamic_shared<unsigned char>() + warpgroup * (A == Major::k ? 64 * kBoxBytes : TileA::kBytesPerBox);
    const unsigned char* b_tile = dynamic_shared<unsigned char>() + TileA::kBytes;
    Ring ring;
    const auto release = [&](int stage) {
      const int thread = static_cast<int>(threadIdx.x) % kReporting;
      if (thread < size) barrier_arrive_at(empty(stage), thread);
    };
    if constexpr (kRegisterA) {
      for (int step = 0; step < steps; ++step, ring.advance()) {
        const int stage = ring.stage;
        barrier_wait(full(stage), ring.parity);
        uint32_t left[kStep / kWgmmaStep][4];
        load_registers(left, dynamic_shared<unsigned char>() + stage * kStageBytes);
        wgmma_fence_registers(d);
        wgmma_fence();
#pragma unroll
        for (int k = 0; k < kStep / kWgmmaStep; ++k) wgmma_tf32<COLUMNS>(d, left[k], right_operand(b_tile, stage, k));
        wgmma_commit();
        wgmma_wait<0>();
        wgmma_fence_registers(d);
        release(stage);
      }
    } else {
      for (int step = 0; step < steps; ++step, ring.advance()) {
        const int stage = ring.stage;
        barrier_wait(full(stage), ring.parity);
        wgmma_fence_registers(d);
        wgmma_fence();
#pragma unroll
        for (int k = 0; k < kStep / kWgmmaStep; ++k) {
          const uint64_t left =
              matrix_descriptor(a_tile + stage * kStageBytes + k * kNextBytes<A>, TileA::kBytesPerBox, kEightRows);
          wgmma<T, COLUMNS, A, B>(d, left, right_operand(b_tile, stage, k));
        }
        wgmma_commit();
        wgmma_fence_registers(d);
        // With one wgmma group still under way the tensor cores stay busy; the one before is done with its stage.
        wgmma_wait<1>();
        if (step > 0) release(ring.before());
      }
      wgmma_wait<0>();
      wgmma_fence_registers(d);
      if (steps > 0) release(ring.before());
    }
  }

  // See PortableProduct::run. The threads that copy do nothing else but keep up with the cluster's barriers.
  template <Shared SHARED, int CLUSTER_SYNCS, typename Epilogue>
  static __device__ __forceinline__ void run(const Operand& a, const Operand& b, const ProductTile& tile,
                                             Epilogue&& epilogue) {
    const bool clustered = cluster_size() > 1;
    if (threadIdx.x == kWorkers) {
      prefetch_tensor_map(&a.map);
      prefetch_tensor_map(&b.map);
    }
    if (threadIdx.x == 0) {
      const int readers = (SHARED == Shared::none ? 1 : cluster_size()) * (kWorkers / kReporting);
      for (int stage = 0; stage < STAGES; ++stage) {
        barrier_init(full(stage), 1);
        barrier_init(empty(stage), readers);
      }
      barrier_init_fence();
    }
    sync_block();
    if (clustered) cluster_meet();  // copies and arrivals from other blocks find the barriers ready
    wait_for_previous_grid();       // for none of the above
    const int steps = (tile.k_end - tile.k_begin + kStep - 1) / kStep;
    if (shuffle(warp_id(), 0) >= kWorkers / 32) {
      if constexpr (kSharesRegisters) lower_registers<40>();
      if (threadIdx.x == kWorkers) produce<SHARED>(a, b, tile, steps);
      sync_warp();
      if (clustered) {
        for (int i = 0; i < CLUSTER_SYNCS; ++i) cluster_sync();
        CLUSTER_SYNCS == 0 ? cluster_sync() : cluster_meet();
      }
    } else {
      if constexpr (kSharesRegisters) raise_registers<232>();
      float d[COLUMNS / 2];
#pragma unroll
      for (float& x : d) x = 0.0f;
      consume<SHARED>(d, steps);
      // No block ends while another one still arrives at its barriers or reads its memory. An epilogue without barriers
      // of its own is between the two halves of the last one, so that no arrival waits for its stores.
      if (CLUSTER_SYNCS == 0 && clustered) cluster_arrive();
      sync_workers();
      epilogue(d);
      if (clustered) CLUSTER_SYNCS == 0 ? cluster_wait() : cluster_meet();
    }
  }

  static __device__ __forceinline__ void sync_workers() { sync_threads(1, kWorkers); }
};

}  // namespace bt::cuda

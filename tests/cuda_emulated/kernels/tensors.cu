// Test kernels: TMA boxes and their mbarriers.
#include "cuda/instructions/barrier.cuh"
#include "cuda/instructions/cluster.cuh"
#include "cuda/instructions/tma.cuh"
#include "exported.h"

using namespace bt::cuda;

namespace {

struct Box {
  TensorMap map;
  int rows, column, row, view;
};

constexpr int kRowBytes = 128, kBarriers = 1024;  // bytes in front of the boxes

// Shared memory of each block from `shift` on, as a box left it. multicast: the block of that rank loads for all.
__global__ void box_kernel(const __grid_constant__ Box box, uint32_t* out, int shift, int sender) {
  char* shared = dynamic_shared<char>();
  uint64_t* barrier = dynamic_shared<uint64_t>();
  const int bytes = box.rows * kRowBytes, thread = static_cast<int>(threadIdx.x);
  if (thread == 0) {
    prefetch_tensor_map(&box.map);
    barrier_init(barrier, 1);
    barrier_init_fence();
    barrier_expect_bytes(barrier, bytes);
  }
  cluster_sync();
  char* to = shared + kBarriers + shift;
  if (thread == 0 && sender < 0) load_tensor(to, &box.map, barrier, box.column, box.row, box.view);
  if (thread == 0 && sender == cluster_rank()) {
    const auto all = static_cast<uint16_t>((1 << cluster_size()) - 1);
    load_tensor_multicast(to, &box.map, barrier, box.column, box.row, box.view, all);
  }
  barrier_wait(barrier, 0);
  const uint32_t* words = reinterpret_cast<const uint32_t*>(to);
  for (int i = thread; i < bytes / 4; i += static_cast<int>(blockDim.x)) out[blockIdx.x * (bytes / 4) + i] = words[i];
  cluster_sync();
}

// What is left out of the ring below.
enum Mistake { kNone, kWaitFull, kWaitEmpty, kFence, kExpect, kUninitialized };

// Sums of a matrix's rows: warp 0 loads boxes of 8 rows into a ring of two stages, warp 1 adds them up.
__global__ void ring_kernel(const __grid_constant__ Box box, float* out, int steps, Mistake mistake) {
  constexpr int kStages = 2;
  uint64_t* full = dynamic_shared<uint64_t>();
  uint64_t* empty = full + kStages;
  float* boxes = dynamic_shared<float>() + kBarriers / 4;
  const int bytes = box.rows * kRowBytes, lane = lane_id();
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < kStages; ++stage) {
      barrier_init(full + stage, 1);
      if (mistake != kUninitialized) barrier_init(empty + stage, 32);
    }
    if (mistake != kFence) barrier_init_fence();
  }
  sync_block();
  if (threadIdx.x < 32) {
    for (int step = 0; step < steps && lane == 0; ++step) {
      const int stage = step % kStages, round = step / kStages;
      if (round > 0 && mistake != kWaitEmpty) barrier_wait(empty + stage, (round - 1) % 2);
      if (mistake != kExpect) barrier_expect_bytes(full + stage, bytes);
      load_tensor(boxes + stage * bytes / 4, &box.map, full + stage, 0, step * box.rows, 0);
    }
  } else {
    float sum = 0;  // of column `lane`
    for (int step = 0; step < steps; ++step) {
      const int stage = step % kStages;
      if (mistake != kWaitFull) barrier_wait(full + stage, step / kStages % 2);
      for (int row = 0; row < box.rows; ++row) {
        sum += boxes[stage * bytes / 4 + row * 32 + ((lane / 4) ^ (row % 8)) * 4 + lane % 4];
      }
      barrier_arrive(empty + stage);
    }
    out[lane] = sum;
  }
  sync_block();
}

}  // namespace

EXPORTED int valid_map(const void* base, int itemsize, int views, int64_t rows, int64_t columns, int64_t row_stride,
                       int64_t view_stride, int box_rows, int box_columns) {
  TensorMap map;
  return make_tensor_map(&map, base, itemsize, views, rows, columns, row_stride, view_stride, box_rows, box_columns);
}

EXPORTED int box(const void* base, int itemsize, int views, int64_t rows, int64_t columns, int64_t row_stride,
                 int64_t view_stride, int box_rows, int column, int row, int view, int shift, int cluster, int sender,
                 uint32_t* out) {
  Box box{{}, box_rows, column, row, view};
  const cudaError_t error = make_tensor_map(&box.map, base, itemsize, views, rows, columns, row_stride, view_stride,
                                            box_rows, kRowBytes / itemsize);
  if (error != cudaSuccess) return error;
  const int shared_bytes = kBarriers + shift + box_rows * kRowBytes;
  return launch(box_kernel, {cluster, 64, shared_bytes, cluster, false, nullptr}, box, out, shift, sender);
}

EXPORTED int ring(const float* in, float* out, int steps, int mistake) {
  constexpr int kRows = 8;
  Box box{{}, kRows, 0, 0, 0};
  const cudaError_t error = make_tensor_map(&box.map, in, 4, 1, steps * kRows, 32, 32, steps * kRows * 32, kRows, 32);
  if (error != cudaSuccess) return error;
  return launch(ring_kernel, {1, 64, kBarriers + 2 * kRows * kRowBytes, 1, false, nullptr}, box, out, steps,
                static_cast<Mistake>(mistake));
}

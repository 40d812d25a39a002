// Test kernels: shuffles, barriers of warps, blocks and clusters, shared memory, and what must be refused.
#include "cuda/instructions/cluster.cuh"
#include "cuda/instructions/grid.cuh"
#include "exported.h"

using namespace bt::cuda;

namespace {

// out: per thread the sums of the warp's and of the block's threads' numbers
__global__ void sums_kernel(const double* in, double* out) {
  double* shared = dynamic_shared<double>();
  const int thread = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
  const int64_t index = static_cast<int64_t>(blockIdx.x) * threads + thread;
  double sum = in[index];
  for (int mask = 16; mask > 0; mask /= 2) sum += shuffle_xor(sum, mask);
  if (lane_id() == 0) shared[thread / 32] = sum;
  sync_block();
  double all = 0;
  for (int warp = 0; warp < threads / 32; ++warp) all += shared[warp];
  out[2 * index] = sum;
  out[2 * index + 1] = all;
}

// Each thread adds what it reads of its neighbour in the next block of the cluster, of whose shared memory it reads.
__global__ void neighbours_kernel(float* values, bool stay) {
  float* shared = dynamic_shared<float>();
  const int64_t index = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  shared[threadIdx.x] = values[index];
  cluster_sync();
  values[index] += load_cluster(shared + threadIdx.x, (cluster_rank() + 1) % cluster_size());
  if (stay) cluster_sync();
}

// The first half of the block fills shared memory for the second and the other way round, by two named barriers.
__global__ void halves_kernel(int* out, int rounds) {
  int* shared = dynamic_shared<int>();
  const int half = static_cast<int>(blockDim.x) / 2, thread = static_cast<int>(threadIdx.x) % half;
  const int all = static_cast<int>(blockDim.x);
  int value = 0;
  for (int round = 0; round < rounds; ++round) {
    if (static_cast<int>(threadIdx.x) < half) {
      shared[thread] = round * 1000 + thread;
      sync_threads(1, all);
      sync_threads(2, all);
    } else {
      sync_threads(1, all);
      value += shared[half - 1 - thread];
      sync_threads(2, all);
    }
  }
  out[threadIdx.x] = value;
}

__global__ void count_kernel(uint32_t* counter, uint32_t* last) {
  sync_block();
  if (threadIdx.x == 0 && add_atomic(counter, 1) + 1 == gridDim.x) *last = blockIdx.x;
}

// `what`: the mistake
__global__ void mistaken_kernel(int what) {
  char* shared = dynamic_shared<char>();
  const int thread = static_cast<int>(threadIdx.x);
  switch (what) {
    case 0:  // half of a barrier's threads come
      thread < 32 ? sync_block() : sync_threads(3, 64);
      break;
    case 1:  // a barrier of half a warp, and a shuffle of the other
      if (thread % 32 >= 16) sync_warp();
      shuffle_xor(thread, 1);
      break;
    case 2: shared[256] = 1; break;
    case 3: shared[-1] = 1; break;
    case 4:  // a barrier of the wrong number of threads
      sync_threads(1, thread < 32 ? 64 : 32);
      break;
    case 5: cluster_wait(); break;
    case 6:  // a lane that has returned
      if (thread == 5) return;
      shuffle_xor(thread, 1);
      break;
  }
}

// Needs more of a stack than there is.
__global__ void big_kernel() {
  volatile char big[250 * 1024];
  big[threadIdx.x] = 1;
  sync_block();
  big[threadIdx.x] = big[64 + threadIdx.x];
}

}  // namespace

EXPORTED int sums(const double* in, double* out, int blocks, int threads) {
  return launch(sums_kernel, {blocks, threads, threads / 32 * 8, 1, false, nullptr}, in, out);
}

EXPORTED int neighbours(float* values, int blocks, int threads, int cluster, bool stay) {
  return launch(neighbours_kernel, {blocks, threads, threads * 4, cluster, false, nullptr}, values, stay);
}

EXPORTED int halves(int* out, int threads, int rounds) {
  return launch(halves_kernel, {1, threads, threads * 2, 1, false, nullptr}, out, rounds);
}

EXPORTED int count(uint32_t* counter, uint32_t* last, int blocks) {
  return launch(count_kernel, {blocks, 64, 0, 1, false, nullptr}, counter, last);
}

EXPORTED int mistaken(int what, int blocks, int threads, int shared_bytes, int cluster, bool dependent) {
  return launch(mistaken_kernel, {blocks, threads, shared_bytes, cluster, dependent, nullptr}, what);
}

EXPORTED int big() { return launch(big_kernel, {1, 64, 0, 1, false, nullptr}); }

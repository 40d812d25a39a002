// The end of a forward: the block that finishes last adds up what all blocks left, in a fixed order, and writes the
// loss.
//
// One counter per call, set to zero before this kernel. Which block comes last varies, what it adds and in which order
// does not.
#pragma once

#include "cuda/instructions/cuda.cuh"
#include "cuda/loss.h"
#include "cuda/numeric.h"

namespace bt::cuda {

// What a kernel does of a forward: all that is behind the products; its first half, up to what adds up over processes;
// or the second half, from the sums.
enum class Forward { both, partial, total };

// What standardize left for the terms, or what it added up to, and where they go.
struct TermSums {
  const double* sums;  // (4, columns) per block of features: (1 - C_ii)^2; of the rounded y C_ii^2, y_a^2/N, y_b^2/N
  int64_t columns;
  double* parts;  // (blocks,) of this kernel: shares of <K_a, K_b>, or of the sum of C_ij^2, i != j
  uint32_t* counter;
  Terms terms;
  bool gram;  // the parts are of <K_a, K_b>
  int64_t n;
  double lambd, scale;
};

struct Doubles {
  const double* values;
  int64_t count;
};

// A thread's first number of each array: on its way while the thread does something else.
template <int COUNT>
__device__ __forceinline__ void begin_sums(const Doubles (&arrays)[COUNT], double (&sums)[COUNT]) {
  const int thread = static_cast<int>(threadIdx.x);
#pragma unroll
  for (int a = 0; a < COUNT; ++a) sums[a] = thread < arrays[a].count ? arrays[a].values[thread] : 0.0;
}

// A block's sums of a few numbers of each of its `threads` threads (a multiple of 32), which all call this and all get
// them: lanes by shuffles, warps in order. All sums at once, because what they take is latency: of shuffles and of
// barriers. shared: room for COUNT * threads / 32 doubles, which others may still read when this returns.
template <int COUNT, typename Sync>
__device__ __forceinline__ void block_sums(double (&sums)[COUNT], double* shared, int threads, Sync&& sync) {
  const int warps = threads / 32;
  for (int mask = 16; mask > 0; mask /= 2) {
#pragma unroll
    for (double& sum : sums) sum += shuffle_xor(sum, mask);
  }
  sync();
  if (lane_id() == 0) {
#pragma unroll
    for (int a = 0; a < COUNT; ++a) shared[a * warps + warp_id()] = sums[a];
  }
  sync();
#pragma unroll
  for (int a = 0; a < COUNT; ++a) {
    sums[a] = shared[a * warps];
    for (int warp = 1; warp < warps; ++warp) sums[a] += shared[a * warps + warp];
  }
}

// Of one number, and shared may be written again.
template <typename Sync>
__device__ __forceinline__ double block_sum(double x, double* shared, int threads, Sync&& sync) {
  double sums[1] = {x};
  block_sums(sums, shared, threads, sync);
  sync();
  return sums[0];
}

// What begin_sums began: the arrays' sums, in an order that follows from counts and threads alone.
template <int COUNT, typename Sync>
__device__ __forceinline__ void end_sums(const Doubles (&arrays)[COUNT], double (&sums)[COUNT], double* shared,
                                         int threads, Sync&& sync) {
  const int thread = static_cast<int>(threadIdx.x);
#pragma unroll
  for (int a = 0; a < COUNT; ++a) {
#pragma unroll 4
    for (int64_t i = thread + threads; i < arrays[a].count; i += threads) sums[a] += arrays[a].values[i];
  }
  block_sums(sums, shared, threads, sync);
}

// Called by the first `threads` threads of every block with the block's part in thread 0's `part`.
template <typename Sync>
__device__ __forceinline__ void finish_terms(const TermSums& sums, double part, double* shared, int threads,
                                             Sync&& sync) {
  if (threadIdx.x == 0) {
    sums.parts[blockIdx.x] = part;
    fence_device();
    const uint32_t before = add_atomic(sums.counter, 1);
    shared[0] = before == gridDim.x - 1 ? 1.0 : 0.0;
  }
  sync();
  const bool last = shared[0] != 0;
  sync();
  if (!last) return;
  fence_device();
  double all[3];  // (1 - C_ii)^2, C_ii^2 where K's sum has it too, the parts
  const Doubles arrays[3] = {{sums.sums, sums.columns},
                             {sums.sums + sums.columns, sums.gram ? sums.columns : 0},
                             {sums.parts, int64_t{gridDim.x}}};
  begin_sums(arrays, all);
  end_sums(arrays, all, shared, threads, sync);
  if (threadIdx.x == 0) {
    const double off_diagonal = sums.gram ? gram_off_diagonal(all[2], all[1], sums.n) : all[2];
    const LossTerms terms = loss_terms(all[0], off_diagonal, sums.lambd, sums.scale);
    *sums.terms.loss = static_cast<float>(terms.loss);
    *sums.terms.on_diagonal = static_cast<float>(terms.on_diagonal);
    *sums.terms.off_diagonal = static_cast<float>(terms.off_diagonal);
  }
}

}  // namespace bt::cuda

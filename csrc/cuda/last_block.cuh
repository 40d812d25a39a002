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
enum class Forward { whole, partial, total };

// What standardize left for the terms, or what it added up to, and where they go.
struct TermSums {
  const double* sums;  // (4, columns) per block of features: (1 - C_ii)^2; of the rounded y C_ii^2, y_a^2/N, y_b^2/N
  int64_t columns;
  double* parts;  // (blocks,) of this kernel: shares of <K_a, K_b>, or of the sum of C_ij^2, i != j
  uint32_t* counter;
  Terms terms;
  float* shifts;  // (2,); null: correlation form
  int64_t n;
  double lambd, scale;
};

// Sum of `count` numbers by `threads` threads (a power of two up to 256), which all call this and all get it. shared:
// room for as many doubles.
template <typename Sync>
__device__ __forceinline__ double sum_in_order(const double* values, int64_t count, double* shared, int threads,
                                               Sync&& sync) {
  const int thread = static_cast<int>(threadIdx.x);
  double sum = 0;
#pragma unroll 4
  for (int64_t i = thread; i < count; i += threads) sum += values[i];
  sync();
  shared[thread] = sum;
  for (int half = threads / 2; half > 0; half /= 2) {
    sync();
    if (thread < half) shared[thread] += shared[thread + half];
  }
  sync();
  return shared[0];
}

// Called by the first `threads` threads of every block with the block's part in thread 0's `part`.
template <typename Sync>
__device__ __forceinline__ void finish_in_last_block(const TermSums& sums, double part, double* shared, int threads,
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
  const auto sum = [&](const double* values, int64_t count) {
    return sum_in_order(values, count, shared, threads, sync);
  };
  const double on_diagonal = sum(sums.sums, sums.columns);
  double off_diagonal = sum(sums.parts, gridDim.x);
  if (sums.shifts != nullptr) {
    off_diagonal = gram_off_diagonal(off_diagonal, sum(sums.sums + sums.columns, sums.columns), sums.n);
    for (int view = 0; view < 2; ++view) {
      const double shift = sum(sums.sums + (2 + view) * sums.columns, sums.columns);
      if (threadIdx.x == 0) sums.shifts[view] = static_cast<float>(shift);
    }
  }
  if (threadIdx.x == 0) {
    const LossTerms terms = loss_terms(on_diagonal, off_diagonal, sums.lambd, sums.scale);
    *sums.terms.loss = static_cast<float>(terms.loss);
    *sums.terms.on_diagonal = static_cast<float>(terms.on_diagonal);
    *sums.terms.off_diagonal = static_cast<float>(terms.off_diagonal);
  }
}

// A block's sum of one double per thread, in thread 0: lanes by shuffles, warps in order.
template <typename Sync>
__device__ __forceinline__ double block_sum(double x, double* shared, int threads, Sync&& sync) {
  for (int mask = 16; mask > 0; mask /= 2) x += shuffle_xor(x, mask);
  sync();
  if (lane_id() == 0) shared[warp_id()] = x;
  sync();
  double sum = 0;
  if (threadIdx.x == 0) {
    for (int warp = 0; warp < threads / 32; ++warp) sum += shared[warp];
  }
  sync();
  return sum;
}

}  // namespace bt::cuda

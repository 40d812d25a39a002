// correlation, total: what the terms need of C's diagonal, C being the sum over all rows.
//
//     c_diagonal   C_ii
//     sums         sum of (1 - C_ii)^2 over the block's features, float64
//
// Grid: blocks of kDiagonalThreads features. The numbers are D + 1 apart, a sector for each.
#pragma once

#include "cuda/finish_terms.cuh"
#include "cuda/instructions/grid.cuh"

namespace bt::cuda {

constexpr int kDiagonalThreads = 256;

struct CorrelationDiagonalArguments {
  const float* c;  // (D, D)
  int64_t d;
  float* c_diagonal;  // (D,)
  double* sums;       // (blocks,)
  uint32_t* counter;  // set to 0, for the kernel behind
};

template <int THREADS>
__global__ void __launch_bounds__(THREADS)
    correlation_diagonal_kernel(const __grid_constant__ CorrelationDiagonalArguments arguments) {
  start_next_grid();
  wait_for_previous_grid();
  if (blockIdx.x == 0 && threadIdx.x == 0) *arguments.counter = 0;
  const int64_t feature = static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x;
  double square = 0;
  if (feature < arguments.d) {
    const float c_ii = arguments.c[feature * (arguments.d + 1)];
    arguments.c_diagonal[feature] = c_ii;
    const double distance = 1 - static_cast<double>(c_ii);
    square = distance * distance;
  }
  const double sum = block_sum(square, dynamic_shared<double>(), THREADS, [] { sync_block(); });
  if (threadIdx.x == 0) arguments.sums[blockIdx.x] = sum;
}

}  // namespace bt::cuda

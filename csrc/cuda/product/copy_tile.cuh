// Tiles of a row-major matrix from global to shared memory through cp.async, by all of a group of threads.
#pragma once

#include "cuda/instructions/copy_async.cuh"
#include "cuda/product/tile.cuh"

namespace bt::cuda {

// ROWS x COLUMNS numbers from (row, column) on, as a SharedTile; what is outside of the matrix is zero. column and the
// matrix's rows are aligned to 16 bytes. THREADS: those with a threadIdx below, which all call this.
//
// A thread's pieces are below each other, a multiple of eight rows apart, and so in the same place of the swizzle: what
// changes from one to the next is a row's distance in global memory and a constant in shared memory.
template <typename T, int ROWS, int COLUMNS, int THREADS>
__device__ __forceinline__ void copy_tile(unsigned char* tile, const Matrix& matrix, int view, int row, int column) {
  constexpr int kPiece = 16 / static_cast<int>(sizeof(T)), kAcross = COLUMNS / kPiece, kDown = THREADS / kAcross;
  static_assert(THREADS % kAcross == 0 && kDown % 8 == 0 && ROWS % kDown == 0);
  const int down = static_cast<int>(threadIdx.x / kAcross), across = static_cast<int>(threadIdx.x % kAcross) * kPiece;
  const int64_t rows_left = matrix.rows - row - down, columns_left = matrix.columns - column - across;
  const int rows = rows_left < ROWS ? static_cast<int>(rows_left) : ROWS;
  const int there = columns_left < 0 ? 0 : columns_left < kPiece ? static_cast<int>(columns_left) : kPiece;
  const T* source = static_cast<const T*>(matrix.data) + view * matrix.view_stride + (row + down) * matrix.row_stride +
                    column + across;
  unsigned char* target = tile + SharedTile<T, ROWS, COLUMNS>::offset(down, across);
#pragma unroll 4  // more would hold more addresses than there are registers beside accumulators
  for (int i = 0; i < ROWS / kDown; ++i) {
    const int bytes = i * kDown < rows ? there * static_cast<int>(sizeof(T)) : 0;  // of 0 nothing is read
    copy_async_16(target + i * kDown * kBoxBytes, source, bytes);
    source += kDown * matrix.row_stride;
  }
}

}  // namespace bt::cuda

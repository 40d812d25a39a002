// Tiles of a row-major matrix from global to shared memory through cp.async, by all of a group of threads.
#pragma once

#include "cuda/instructions/copy_async.cuh"
#include "cuda/product.cuh"

namespace bt::cuda {

// ROWS x COLUMNS numbers from (row, column) on, as a SharedTile; what is outside of the matrix is zero. column and the
// matrix's rows are aligned to 16 bytes. THREADS: those with a threadIdx below, which all call this.
template <typename T, int ROWS, int COLUMNS, int THREADS>
__device__ __forceinline__ void copy_tile(unsigned char* tile, const Matrix& matrix, int view, int row, int column) {
  constexpr int kPiece = 16 / static_cast<int>(sizeof(T)), kAcross = COLUMNS / kPiece;
  static_assert(ROWS * kAcross % THREADS == 0);
  const T* data = static_cast<const T*>(matrix.data) + view * matrix.view_stride;
#pragma unroll 4  // more would hold more addresses than there are registers beside accumulators
  for (int i = 0; i < ROWS * kAcross / THREADS; ++i) {
    const int piece = static_cast<int>(threadIdx.x) + i * THREADS;
    const int r = piece / kAcross, c = piece % kAcross * kPiece;
    const int64_t there = matrix.columns - (column + c);
    const bool exists = row + r < matrix.rows && there > 0;
    const T* source = exists ? data + (row + r) * matrix.row_stride + column + c : data;
    const int bytes = !exists ? 0 : there >= kPiece ? 16 : static_cast<int>(there) * static_cast<int>(sizeof(T));
    copy_async_16(tile + SharedTile<T, ROWS, COLUMNS>::offset(r, c), source, bytes);
  }
}

}  // namespace bt::cuda

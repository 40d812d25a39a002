// Matrices in global memory: y, K and C as the products see them.
#pragma once

#include "cuda/loss.h"

namespace bt::cuda {

// A stack of row-major matrices.
struct Matrix {
  const void* data;
  int views;
  int64_t rows, columns, row_stride;  // columns that exist, row_stride in numbers
  int64_t view_stride;
};

inline Matrix matrix_of(const void* data, int views, int64_t rows, int64_t columns) {
  const int64_t stride = row_stride(columns);
  return {data, views, rows, columns, stride, rows * stride};
}

}  // namespace bt::cuda

// y, K and C as the products see them.
#pragma once

#include "cuda/loss.h"
#include "cuda/product/tile.cuh"

namespace bt::cuda {

inline Matrix matrix_of(const void* data, int views, int64_t rows, int64_t columns) {
  const int64_t stride = row_stride(columns);
  return {data, views, rows, columns, stride, rows * stride};
}

}  // namespace bt::cuda

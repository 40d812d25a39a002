// The emulated GPU's side of csrc/cuda/instructions/tma.cuh.
#pragma once

#include "cuda/instructions/cuda.cuh"
#include "emulated/tensor.h"

namespace bt::cuda {

struct alignas(64) TensorMap {
  emulated::TensorMap map;
};

inline cudaError_t make_tensor_map(TensorMap* tensor, const void* base, int itemsize, int views, int64_t rows,
                                   int64_t columns, int64_t row_stride, int64_t view_stride, int box_rows,
                                   int box_columns) {
  tensor->map = {static_cast<const char*>(base),
                 itemsize,
                 {columns, rows, views},
                 {itemsize, row_stride * itemsize, view_stride * itemsize},
                 {box_columns, box_rows, 1}};
  return emulated::properties().capability >= 90 && emulated::valid(tensor->map) ? cudaSuccess : cudaErrorInvalidValue;
}

inline void prefetch_tensor_map(const TensorMap* tensor) { emulated::prefetch_tensor_map(tensor); }

inline void load_tensor(void* shared, const TensorMap* tensor, uint64_t* barrier, int column, int row, int view) {
  emulated::load_tensor("load_tensor", shared, tensor->map, barrier, column, row, view, emulated::own_block());
}

inline void load_tensor_multicast(void* shared, const TensorMap* tensor, uint64_t* barrier, int column, int row,
                                  int view, uint16_t blocks) {
  emulated::load_tensor("load_tensor_multicast", shared, tensor->map, barrier, column, row, view, blocks);
}

}  // namespace bt::cuda

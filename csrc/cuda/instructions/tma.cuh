// The tensor memory accelerator (sm_90): boxes of a matrix between global and shared memory by one thread.
#pragma once

#include <cuda.h>

#include "cuda/instructions/cuda.cuh"

namespace bt::cuda {

// Where a stack of row-major matrices lies and which boxes are taken from it. Part of a kernel's __grid_constant__
// arguments.
struct TensorMap {
  CUtensorMap map;
};

// (views, rows, columns) numbers of itemsize bytes, 2 as bfloat16 or float16, 4 as float32; strides in numbers. Boxes
// are box_rows x box_columns of one view, 128 bytes wide, laid out in shared memory with the 128-byte swizzle; what a
// box has outside of the matrix is zero.
inline cudaError_t make_tensor_map(TensorMap* tensor, const void* base, int itemsize, int views, int64_t rows,
                                   int64_t columns, int64_t row_stride, int64_t view_stride, int box_rows,
                                   int box_columns) {
  // The driver's function, found without linking libcuda, which does not exist where there is no driver.
  static const auto encode = [] {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult found;
    const cudaError_t error =
        cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found);
    return error == cudaSuccess && found == cudaDriverEntryPointSuccess
               ? reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(function)
               : nullptr;
  }();
  if (encode == nullptr) return cudaErrorNotSupported;
  const cuuint64_t sizes[3] = {static_cast<cuuint64_t>(columns), static_cast<cuuint64_t>(rows),
                               static_cast<cuuint64_t>(views)};
  const cuuint64_t strides[2] = {static_cast<cuuint64_t>(row_stride * itemsize),
                                 static_cast<cuuint64_t>(view_stride * itemsize)};
  const cuuint32_t box[3] = {static_cast<cuuint32_t>(box_columns), static_cast<cuuint32_t>(box_rows), 1};
  const cuuint32_t steps[3] = {1, 1, 1};
  // The two 16-bit types differ only in the value that fills, and zero is the same in both.
  const CUtensorMapDataType type = itemsize == 2 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT32;
  const CUresult result =
      encode(&tensor->map, type, 3, const_cast<void*>(base), sizes, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
             CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return static_cast<cudaError_t>(result);  // the runtime numbers the driver's errors as the driver does
}

__device__ __forceinline__ void prefetch_tensor_map(const TensorMap* tensor) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(reinterpret_cast<uint64_t>(&tensor->map)) : "memory");
}

// The box from (view, row, column) on; its bytes count towards the barrier.
__device__ __forceinline__ void load_tensor(void* shared, const TensorMap* tensor, uint64_t* barrier, int column,
                                            int row, int view) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5}], "
      "[%2];" ::"r"(shared_address(shared)),
      "l"(reinterpret_cast<uint64_t>(&tensor->map)), "r"(shared_address(barrier)), "r"(column), "r"(row), "r"(view)
      : "memory");
}

// To the same place of every block of the cluster whose bit is set in `blocks`, and counted by the barrier in the same
// place there.
__device__ __forceinline__ void load_tensor_multicast(void* shared, const TensorMap* tensor, uint64_t* barrier,
                                                      int column, int row, int view, uint16_t blocks) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster"
      " [%0], [%1, {%4, %5, %6}], [%2], %3;" ::"r"(shared_address(shared)),
      "l"(reinterpret_cast<uint64_t>(&tensor->map)), "r"(shared_address(barrier)), "h"(blocks), "r"(column), "r"(row),
      "r"(view)
      : "memory");
}

}  // namespace bt::cuda

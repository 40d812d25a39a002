// The emulated TMA's map of a matrix and what the replaced instructions call for it.
#pragma once

#include <cstdint>

namespace emulated {

// Bytes and numbers as cuTensorMapEncodeTiled gets them; innermost dimension first.
struct TensorMap {
  const char* base;
  int itemsize;
  int64_t sizes[3], strides[3];
  int box[3];
};

// Whether the driver would take it, for boxes with the 128-byte swizzle.
bool valid(const TensorMap&);

// blocks: mask of the cluster's.
void load_tensor(const char* call, void* shared, const TensorMap&, uint64_t* barrier, int column, int row, int view,
                 uint32_t blocks);
uint32_t own_block();  // its mask
void prefetch_tensor_map(const void*);

}  // namespace emulated

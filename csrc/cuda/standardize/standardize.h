// Stage 1 of both formulations: statistics, or given ones, y, C_ii and the sums over features that follow from them.
#pragma once

#include "cuda/loss.h"

namespace bt::cuda {

struct StandardizeOutputs {
  float* c_diagonal;  // (D,) C_ii of y before it was rounded
  float* rstd;        // (2, D)
  void* y;            // (2, N, row_stride(D)) operands, aligned to 16 bytes
  double* sums;       // (4, standardize_blocks): (1 - C_ii)^2; C_ii^2, y_a^2 / N and y_b^2 / N of the rounded y
  uint32_t* counter;  // set to 0: by it later kernels of the op elect their last block
};

int64_t standardize_blocks(Operands, int64_t n, int64_t d, const Gpu&);

// The first kernel of an op.
cudaError_t standardize(Operands, const Embeddings&, double eps, const Batch&, const Statistics&,
                        const StandardizeOutputs&, const Gpu&, cudaStream_t);

}  // namespace bt::cuda

// The emulated GPU's side of csrc/cuda/instructions/grid.cuh: every kernel has ended when the next one is launched.
#pragma once

#include "cuda/instructions/cuda.cuh"

namespace bt::cuda {

inline void start_next_grid() {}
inline void wait_for_previous_grid() { emulated::wait_for_previous_grid(); }

}  // namespace bt::cuda

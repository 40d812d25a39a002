// Sums over contiguous numbers in double, in a fixed order that vectorises.
#pragma once

#include <cstdint>

namespace bt::cpu {

// sum_i x[i] * y[i]
template <typename T>
double dot(const T* x, const T* y, int64_t count);

}  // namespace bt::cpu

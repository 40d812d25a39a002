// The upper triangle of a symmetric (N, N) matrix, its diagonal included, packed: row after row, N (N + 1) / 2 numbers.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cpu/threads.h"

namespace bt::cpu {

inline int64_t triangle_numel(int64_t n) { return n * (n + 1) / 2; }

// Calls body(in_matrix, packed, count) for each row of the triangle: where its numbers begin in the matrix and packed.
template <typename Body>
void for_each_triangle_row(int64_t n, const Body& body) {
  for_each_share(n, threads_for(n * n), [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) body(i * n + i, i * n - i * (i - 1) / 2, n - i);
  });
}

template <typename T>
void pack_triangle(const T* k, int64_t n, T* triangle) {
  for_each_triangle_row(n, [&](int64_t in_matrix, int64_t packed, int64_t count) {
    std::copy_n(k + in_matrix, count, triangle + packed);
  });
}

// Leaves what is below k's diagonal as it is.
template <typename T>
void unpack_triangle(const T* triangle, int64_t n, T* k) {
  for_each_triangle_row(n, [&](int64_t in_matrix, int64_t packed, int64_t count) {
    std::copy_n(triangle + packed, count, k + in_matrix);
  });
}

}  // namespace bt::cpu

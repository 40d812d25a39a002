// One view's embeddings as they come: any strides, any of the four dtypes. load() widens a panel of them to the
// accumulation type, store() puts a panel into its place in an (N, D) matrix, rounded to that matrix's type.
#pragma once

#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include <cstdint>
#include <type_traits>

namespace bt::cpu {

// What embeddings of type scalar_t are standardized, multiplied and reduced in. 16-bit embeddings go through float32
// products: ATen's CPU BLAS has no 16-bit product that keeps a float32 result, and the panel is in cache anyway.
template <typename scalar_t>
using accumulation_t = std::conditional_t<std::is_same_v<scalar_t, double>, double, float>;

template <typename scalar_t>
struct ViewEmbeddings {
  const scalar_t* data;
  int64_t n, d, row_stride, col_stride;

  ViewEmbeddings rows(int64_t first, int64_t count) const {
    return {data + first * row_stride, count, d, row_stride, col_stride};
  }
};

// panel[i, column] = z[i, first + column] for column < w, all rows of z; panel is (n, w) contiguous.
template <typename scalar_t>
void load(const ViewEmbeddings<scalar_t>& z, int64_t first, int64_t w, accumulation_t<scalar_t>* panel);

// out[i * ld + column] = panel[i, column]; panel is (n, w) contiguous.
template <typename acc_t, typename out_t>
void store(const acc_t* panel, int64_t n, int64_t w, out_t* out, int64_t ld);

}  // namespace bt::cpu

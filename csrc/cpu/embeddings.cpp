#include "cpu/embeddings.h"

#include <cstdlib>

#include "cpu/multiversion.h"

namespace bt::cpu {
namespace {

template <typename to_t, typename from_t>
BT_MULTIVERSION void convert_rows(const from_t* __restrict from, int64_t from_ld, to_t* __restrict to, int64_t to_ld,
                                  int64_t n, int64_t w) {
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t column = 0; column < w; ++column)
      to[i * to_ld + column] = static_cast<to_t>(from[i * from_ld + column]);
  }
}

}  // namespace

template <typename scalar_t>
void load(const ViewEmbeddings<scalar_t>& z, int64_t first, int64_t w, accumulation_t<scalar_t>* panel) {
  const scalar_t* from = z.data + first * z.col_stride;
  if (z.col_stride == 1) {
    convert_rows(from, z.row_stride, panel, w, z.n, w);
  } else if (std::abs(z.row_stride) < std::abs(z.col_stride)) {  // transposed: walk down the columns
    for (int64_t column = 0; column < w; ++column) {
      for (int64_t i = 0; i < z.n; ++i) {
        panel[i * w + column] = static_cast<accumulation_t<scalar_t>>(from[i * z.row_stride + column * z.col_stride]);
      }
    }
  } else {
    for (int64_t i = 0; i < z.n; ++i) {
      for (int64_t column = 0; column < w; ++column) {
        panel[i * w + column] = static_cast<accumulation_t<scalar_t>>(from[i * z.row_stride + column * z.col_stride]);
      }
    }
  }
}

template <typename acc_t, typename out_t>
void store(const acc_t* panel, int64_t n, int64_t w, out_t* out, int64_t ld) {
  convert_rows(panel, w, out, ld, n, w);
}

#define BT_INSTANTIATE(T)                                                                \
  template void load<T>(const ViewEmbeddings<T>&, int64_t, int64_t, accumulation_t<T>*); \
  template void store<accumulation_t<T>, T>(const accumulation_t<T>*, int64_t, int64_t, T*, int64_t);

BT_INSTANTIATE(double)
BT_INSTANTIATE(float)
BT_INSTANTIATE(c10::BFloat16)
BT_INSTANTIATE(c10::Half)

}  // namespace bt::cpu

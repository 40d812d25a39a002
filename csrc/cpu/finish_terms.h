// The last step of a forward: the loss and its two terms, as tensors.
#pragma once

#include <tuple>

#include "cpu/bindings.h"
#include "cpu/terms.h"

namespace bt::cpu {

inline Tensor scalar(const Tensor& z, double value) {
  Tensor out = empty({}, accumulation_dtype(z));
  if (accumulation_type(z) == ScalarType::Double) {
    *data<double>(out) = value;
  } else {
    *data<float>(out) = static_cast<float>(value);
  }
  return out;
}

// loss, on_diagonal, off_diagonal in the accumulation type of z, which may be sums of that type.
inline std::tuple<Tensor, Tensor, Tensor> finish_terms(const Tensor& z, const Terms& terms, double lambd,
                                                       double scale) {
  return {scalar(z, scale * (terms.on_diagonal + lambd * terms.off_diagonal)), scalar(z, terms.on_diagonal),
          scalar(z, terms.off_diagonal)};
}

}  // namespace bt::cpu

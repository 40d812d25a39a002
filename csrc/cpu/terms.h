// The loss from C_ii and the off-diagonal term, and what the gradients of its outputs amount to for the two terms.
#pragma once

#include <cstdint>

#include "cpu/standardize.h"

namespace bt::cpu {

struct Terms {
  double loss, on_diagonal, off_diagonal;
};

inline Terms finish_terms(const double* c_diagonal, int64_t d, double off_diagonal, const Options& options) {
  double on_diagonal = 0;
  for (int64_t i = 0; i < d; ++i) on_diagonal += (1 - c_diagonal[i]) * (1 - c_diagonal[i]);
  return {options.scale * (on_diagonal + options.lambd * off_diagonal), on_diagonal, off_diagonal};
}

struct TermWeights {
  double on_diagonal, off_diagonal;

  // d_i: what the diagonal of dloss/dC has beyond 2 * off_diagonal * C_ii.
  double diagonal(double c_ii) const { return 2 * (on_diagonal * (c_ii - 1) - off_diagonal * c_ii); }
};

}  // namespace bt::cpu

// The two terms, and what the gradients of the outputs amount to for them.
#pragma once

#include <cstdint>

namespace bt::cpu {

// The loss is made of them by finish_terms.
struct Terms {
  double on_diagonal, off_diagonal;
};

// What C_ii adds up to.
struct DiagonalSums {
  double on_diagonal = 0;  // sum_i (1 - C_ii)^2
  double squares = 0;      // sum_i C_ii^2

  DiagonalSums(const double* c_diagonal, int64_t d) {
    for (int64_t i = 0; i < d; ++i) {
      on_diagonal += (1 - c_diagonal[i]) * (1 - c_diagonal[i]);
      squares += c_diagonal[i] * c_diagonal[i];
    }
  }
};

struct TermWeights {
  double on_diagonal, off_diagonal;

  // The Gram form's d_i: what the diagonal of dloss/dC has beyond 2 * off_diagonal * C_ii.
  double diagonal(double c_ii) const { return 2 * (on_diagonal * (c_ii - 1) - off_diagonal * c_ii); }
};

}  // namespace bt::cpu

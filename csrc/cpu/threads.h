// Work sharing: fixed shares, so that the same input on the same number of threads gives the same bits.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <cstdint>

#include "cpu/schedule.h"

namespace bt::cpu {

// Calls body(slot, begin, end) once per non-empty share of [0, count), shares in parallel; slot < threads.
template <typename Body>
void for_each_share(int64_t count, int64_t threads, const Body& body) {
  const int64_t shares = std::min(count, threads);
  if (shares == 1) return body(0, 0, count);
  torch::stable::parallel_for(0, shares, 1, [&](int64_t first, int64_t last) {
    for (int64_t slot = first; slot < last; ++slot) {
      body(slot, share_begin(count, shares, slot), share_begin(count, shares, slot + 1));
    }
  });
}

// Threads worth waking for that many numbers: below some, waiting for them costs more than the work.
inline int64_t threads_for(int64_t numbers) {
  constexpr int64_t kWorthwhile = 32 * 1024;
  return numbers < kWorthwhile ? 1 : torch::stable::get_num_threads();
}

}  // namespace bt::cpu

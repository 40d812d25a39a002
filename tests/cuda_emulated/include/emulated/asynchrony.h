// When asynchronous instructions take effect and in which order the threads run.
#pragma once

#include <cstdint>

namespace emulated {

// xorshift64*
struct Random {
  uint64_t state = 1;

  void seed(uint64_t value) {
    state = (value + 1) * 0x9E3779B97F4A7C15u;
    for (int i = 0; i < 4; ++i) next();
  }
  uint32_t next() {
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return static_cast<uint32_t>((state * 0x2545F4914F6CDD1Du) >> 32);
  }
  uint32_t below(uint32_t count) { return static_cast<uint32_t>((static_cast<uint64_t>(next()) * count) >> 32); }
};

// early: everything at its issue; threads, warps and clusters in ascending order.
// late: as late as the guarantee allows (cp.async and wgmma in their wait, TMA when nothing else can run and the last
//   issued first); descending order.
// crossed: what writes shared memory at its issue, what reads it (wgmma) in its wait: finds stages that are overwritten
//   before they were read. Ascending.
// random: each by the seed, and warps give way to each other in between.
enum class Asynchrony { early, late, crossed, random };

struct Mode {
  Asynchrony asynchrony;
  uint64_t seed;
};

Mode mode();  // that the next launch takes

enum class Order { ascending, descending, random };

constexpr Order order_of(Asynchrony asynchrony) {
  return asynchrony == Asynchrony::random ? Order::random
         : asynchrony == Asynchrony::late ? Order::descending
                                          : Order::ascending;
}

}  // namespace emulated

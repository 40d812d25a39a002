// What the replaced instructions call for the threads of a block.
#pragma once

#include <cstdint>

namespace emulated {

void sync_block();
void sync_threads(int id, int count);
void sync_warp();
uint64_t exchange(uint64_t value, int source_lane);  // the value of that lane

void barrier_init(uint64_t* barrier, int count);
void barrier_init_fence();
void barrier_expect_bytes(uint64_t* barrier, int bytes);
void barrier_arrive(uint64_t* barrier);
void barrier_arrive_at(uint64_t* barrier, int rank);
void barrier_wait(uint64_t* barrier, int parity);

void wait_for_previous_grid();

}  // namespace emulated

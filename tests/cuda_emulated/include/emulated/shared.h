// What the replaced instructions call for shared memory and clusters.
#pragma once

#include <cstdint>

namespace emulated {

// Where dynamic shared memory begins among the addresses that instructions take: the first kilobyte is the system's.
constexpr int64_t kSharedWindow = 1024;

// TMA's 128-byte swizzle of an address: the 16-byte piece within 128 bytes by the 128 bytes within 1024.
constexpr int64_t swizzled(int64_t address) { return address ^ (address >> 3 & 0x70); }

void* shared_memory();  // the block's
uint32_t shared_address(const void*);

void fence_async_shared();

void copy_async(void* shared, const void* global, int bytes);
void copy_async_commit();
void copy_async_wait(int pending);

int cluster_rank();
int cluster_size();
void cluster_arrive();
void cluster_wait();
const void* in_cluster(const void* own, int bytes, int rank);

}  // namespace emulated

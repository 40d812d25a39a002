// Hooks for the library that counts what kernels read and write (counting/traffic.cpp); nothing in any other.
#pragma once

#include <cstdint>

namespace emulated {

#ifdef BT_EMULATED_TRAFFIC
// Of the thread that runs. site: where in the kernel; the instruction's own return address.
void count_access(const void* site, const void* pointer, int bytes, bool write);
void count_box(const void* first, int64_t rows, int64_t row_stride, int64_t row_bytes);  // of a matrix, by TMA
void count_flops(int64_t flops);
void begin_traffic(const void* kernel);  // of a launch, on the thread of the CPU that launches
void end_cluster_traffic();
void end_thread_traffic();  // of the CPU
#else
inline void count_access(const void*, const void*, int, bool) {}
inline void count_box(const void*, int64_t, int64_t, int64_t) {}
inline void count_flops(int64_t) {}
inline void begin_traffic(const void*) {}
inline void end_cluster_traffic() {}
inline void end_thread_traffic() {}
#endif

}  // namespace emulated

// What the replaced host functions call.
#pragma once

#include <cstdint>

namespace emulated {

enum class Result { success, invalid_value, invalid_configuration, failed };

// name: the kernel as it is written, of which `kernel` is the call with the arguments.
Result launch(const void* name, int64_t blocks, int threads, int shared_bytes, int cluster, bool dependent,
              void (*kernel)(const void*), const void* arguments);
const char* last_failure();  // the last kernel's that failed

struct Properties {
  int capability, multiprocessors, shared_bytes, max_cluster;
};
Properties properties();

}  // namespace emulated

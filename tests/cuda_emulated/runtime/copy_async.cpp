// cp.async: each thread's own copies, in groups that it waits for.
#include <cstring>

#include "emulated/machine.h"
#include "emulated/shared.h"
#include "emulated/traffic.h"

namespace emulated {

namespace {

constexpr int kBytes = 16;

void carry_out(const CopyAsync& copy) {
  char bytes[kBytes] = {};
  if (copy.bytes > 0) std::memcpy(bytes, copy.global, static_cast<size_t>(copy.bytes));
  std::memcpy(copy.shared, bytes, kBytes);
}

bool at_issue(Cluster& cluster) {
  switch (cluster.grid->asynchrony) {
    case Asynchrony::late: return false;
    case Asynchrony::random: return cluster.random.below(2) == 0;
    default: return true;
  }
}

}  // namespace

void copy_async(void* shared, const void* global, int bytes) {
  Thread& self = *current;
  needs_previous_grid("copy_async_16");
  shared_offset(*self.block, shared, kBytes, kBytes, "copy_async_16");
  if (reinterpret_cast<uintptr_t>(global) % kBytes != 0) {
    fail("copy_async_16 from %p, which is no multiple of 16", global);
  }
  if (bytes < 0 || bytes > kBytes) fail("copy_async_16 of %d bytes", bytes);
  count_access(__builtin_return_address(0), global, bytes, false);
  count_access(__builtin_return_address(0), shared, kBytes, true);
  const CopyAsync copy{shared, global, bytes, self.copy_groups};
  if (at_issue(*self.block->cluster)) return carry_out(copy);
  self.copies.push_back(copy);
}

void copy_async_commit() { ++current->copy_groups; }

void copy_async_wait(int pending) { finish_copies(*current, current->copy_groups - pending); }

// Those of the first `groups` groups.
void finish_copies(Thread& thread, int64_t groups) {
  size_t kept = 0;
  for (const CopyAsync& copy : thread.copies) {
    if (copy.group < groups) {
      carry_out(copy);
    } else {
      thread.copies[kept++] = copy;
    }
  }
  thread.copies.resize(kept);
}

}  // namespace emulated

// Shared memory of the blocks of a cluster: 0xFF bytes at first, which are NaN in every type, and around it more of
// them that must still be there when the block returns.
#include <cstring>

#include "emulated/machine.h"
#include "emulated/shared.h"

namespace emulated {

namespace {

constexpr int64_t kAlignment = 1024, kZone = 4096;
constexpr unsigned char kPoison = 0xFF;

bool poisoned(const char* begin, const char* end) {
  for (; begin < end; ++begin) {
    if (static_cast<unsigned char>(*begin) != kPoison) return false;
  }
  return true;
}

}  // namespace

void prepare_shared_memory(Block& block, int bytes) {
  const int64_t needed = kZone + bytes + kZone + kAlignment;
  if (block.memory_bytes < needed) {
    block.memory = std::make_unique<char[]>(static_cast<size_t>(needed));
    block.memory_bytes = needed;
  }
  const auto address = reinterpret_cast<uintptr_t>(block.memory.get() + kZone);
  block.shared = reinterpret_cast<char*>((address + kAlignment - 1) / kAlignment * kAlignment);
  std::memset(block.shared - kZone, kPoison, static_cast<size_t>(kZone + bytes + kZone));
  block.async_view.assign(static_cast<size_t>(bytes), static_cast<char>(kPoison));
  block.async_fenced = false;
}

void fence_async_shared() {
  needs_hopper("fence_async_shared");
  current->block->async_fenced = true;
}

void fence_async_view(Block& block) {
  if (!block.async_fenced) return;
  std::memcpy(block.async_view.data(), block.shared, block.async_view.size());
  block.async_fenced = false;
}

void check_shared_memory_ends(const Block& block) {
  const int bytes = block.cluster->grid->shared_bytes;
  if (!poisoned(block.shared - kZone, block.shared)) fail("the block wrote before its shared memory");
  if (!poisoned(block.shared + bytes, block.shared + bytes + kZone)) {
    fail("the block wrote beyond its %d bytes of shared memory", bytes);
  }
}

int64_t shared_offset(const Block& block, const void* pointer, int64_t bytes, int alignment, const char* what) {
  const int64_t offset = static_cast<const char*>(pointer) - block.shared, size = block.cluster->grid->shared_bytes;
  if (offset < 0 || offset + bytes > size) {
    fail("%s at offset %lld of the block's %lld bytes of shared memory, %lld bytes", what,
         static_cast<long long>(offset), static_cast<long long>(size), static_cast<long long>(bytes));
  }
  if (offset % alignment != 0) {
    fail("%s at offset %lld of shared memory, which is no multiple of %d", what, static_cast<long long>(offset),
         alignment);
  }
  return offset;
}

void* shared_memory() { return current->block->shared; }

uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(kSharedWindow + shared_offset(*current->block, pointer, 0, 1, "an address"));
}

void needs_hopper(const char* call) {
  const int capability = current->block->cluster->grid->capability;
  if (capability < 90) fail("%s on a GPU of capability %d", call, capability);
}

void needs_previous_grid(const char* call) {
  if (current->block->cluster->grid->dependent && !current->previous_grid_ended) {
    fail("%s before wait_for_previous_grid", call);
  }
}

Block& block_of_cluster(int rank, const char* call) {
  Cluster& cluster = *current->block->cluster;
  if (rank < 0 || rank >= static_cast<int>(cluster.blocks.size())) {
    fail("%s: block %d of a cluster of %zu", call, rank, cluster.blocks.size());
  }
  Block& block = cluster.blocks[static_cast<size_t>(rank)];
  if (block.live == 0) fail("%s: block %d of the cluster has returned", call, rank);
  return block;
}

const void* in_cluster(const void* own, int bytes, int rank) {
  const int64_t offset = shared_offset(*current->block, own, bytes, bytes, "load_cluster");
  return block_of_cluster(rank, "load_cluster").shared + offset;
}

int cluster_rank() { return current->block->rank; }
int cluster_size() { return static_cast<int>(current->block->cluster->blocks.size()); }

}  // namespace emulated

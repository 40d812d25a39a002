// Barriers of threads: of a warp, of a block by number, of a cluster.
#include "emulated/machine.h"
#include "emulated/shared.h"
#include "emulated/threads.h"

namespace emulated {

namespace {

void release(std::vector<Thread*>& waiting) {
  for (Thread* thread : waiting) wake(*thread);
  waiting.clear();
}

// Threads of a warp that came alone: bar.sync is for whole warps.
void check_whole_warps(const std::vector<Thread*>& waiting, const Thread& last, int id) {
  uint32_t lanes[kMostThreads / kWarpThreads] = {};
  const auto count = [&](const Thread& thread) { lanes[thread.index.x / kWarpThreads] |= 1u << thread.lane; };
  for (const Thread* thread : waiting) count(*thread);
  count(last);
  for (const Thread* thread : waiting) {
    const uint32_t came = lanes[thread->index.x / kWarpThreads];
    if (came != thread->warp->live) {
      fail("divergent warp: only lanes %08x of warp %u came to sync_threads(%d)", came, thread->index.x / kWarpThreads,
           id);
    }
  }
}

void release_cluster(Cluster& cluster) {
  if (cluster.arrived_at_cluster == 0 || cluster.arrived_at_cluster < cluster.live) return;
  cluster.arrived_at_cluster = 0;
  ++cluster.cluster_phase;
  release(cluster.at_cluster_barrier);
}

struct Exchange {
  uint64_t value, result;
  int source;
};

void carry_out_exchange(void* const* arguments) {
  for (int lane = 0; lane < kWarpThreads; ++lane) {
    Exchange& own = *static_cast<Exchange*>(arguments[lane]);
    own.result = static_cast<const Exchange*>(arguments[own.source & 31])->value;
  }
}

}  // namespace

void sync_block() {
  Block& block = *current->block;
  NamedBarrier& barrier = block.barriers[0];
  if (static_cast<int>(barrier.waiting.size()) + 1 < block.live) {
    barrier.waiting.push_back(current);
    return suspend({"sync_block"});
  }
  release(barrier.waiting);
  may_yield();
}

void sync_threads(int id, int count) {
  Block& block = *current->block;
  if (id < 1 || id >= kNamedBarriers) fail("sync_threads(%d, %d): barriers are numbered 1 to 15", id, count);
  if (count <= 0 || count % kWarpThreads != 0 || count > block.threads) {
    fail("sync_threads(%d, %d) in a block of %d threads", id, count, block.threads);
  }
  NamedBarrier& barrier = block.barriers[id];
  if (barrier.waiting.empty()) barrier.count = count;
  if (barrier.count != count) {
    fail("sync_threads(%d, %d) while others wait there for %d threads", id, count, barrier.count);
  }
  if (static_cast<int>(barrier.waiting.size()) + 1 < count) {
    barrier.waiting.push_back(current);
    return suspend({"sync_threads", 2, {id, count}});
  }
  check_whole_warps(barrier.waiting, *current, id);
  release(barrier.waiting);
  may_yield();
}

void sync_warp() {
  warp_instruction("sync_warp", [](void* const*) {}, nullptr);
}

uint64_t exchange(uint64_t value, int source_lane) {
  Exchange argument{value, 0, source_lane};
  warp_instruction("shuffle", carry_out_exchange, &argument);
  return argument.result;
}

// The aligned instruction: for whole warps.
void cluster_arrive() {
  warp_instruction("cluster_arrive", [](void* const*) {}, nullptr);
  Thread& self = *current;
  Cluster& cluster = *self.block->cluster;
  if (self.arrived_at_cluster) fail("cluster_arrive twice without cluster_wait");
  self.arrived_at_cluster = true;
  self.cluster_phase = cluster.cluster_phase;
  ++cluster.arrived_at_cluster;
  release_cluster(cluster);
}

void cluster_wait() {
  Thread& self = *current;
  Cluster& cluster = *self.block->cluster;
  if (!self.arrived_at_cluster) fail("cluster_wait without cluster_arrive");
  self.arrived_at_cluster = false;
  if (cluster.cluster_phase != self.cluster_phase) return may_yield();
  cluster.at_cluster_barrier.push_back(&self);
  suspend({"cluster_wait"});
}

// The barriers of whole blocks and clusters wait for the threads that have not returned.
void leave_barriers(Thread& thread) {
  Block& block = *thread.block;
  std::vector<Thread*>& waiting = block.barriers[0].waiting;
  if (static_cast<int>(waiting.size()) == block.live) release(waiting);
  if (thread.arrived_at_cluster) fail("returns between cluster_arrive and cluster_wait");
  release_cluster(*block.cluster);
}

void wait_for_previous_grid() { current->previous_grid_ended = true; }

}  // namespace emulated

// The fibers of a cluster by turns, and what to say when none can go on.
#include <cstdarg>
#include <cstdio>
#include <cstring>

#include "emulated/machine.h"

namespace emulated {

constinit thread_local Thread* current __attribute__((tls_model("initial-exec"))) = nullptr;

namespace {

constexpr uint32_t kOddsOfYielding = 8, kOddsOfTransfer = 4;

Order order(const Cluster& cluster) { return order_of(cluster.grid->asynchrony); }

int next_lane(Warp& warp) {
  Cluster& cluster = *warp.block->cluster;
  const uint32_t ready = warp.ready;
  switch (order(cluster)) {
    case Order::ascending: return __builtin_ctz(ready);
    case Order::descending: return 31 - __builtin_clz(ready);
    case Order::random: break;
  }
  const uint32_t turn = cluster.random.next() & 31u;
  const uint32_t turned = ready >> turn | ready << ((32 - turn) & 31);
  return static_cast<int>((static_cast<uint32_t>(__builtin_ctz(turned)) + turn) & 31u);
}

// Null: no warp is ready. Round and round, so that every warp has its turn.
Warp* next_warp(Cluster& cluster) {
  const int warps = static_cast<int>(cluster.warps.size());
  const bool back = order(cluster) == Order::descending;
  int warp = order(cluster) == Order::random ? static_cast<int>(cluster.random.below(static_cast<uint32_t>(warps)))
                                             : cluster.last_warp;
  for (int i = 0; i < warps; ++i) {
    warp = back ? (warp == 0 ? warps : warp) - 1 : (warp + 1 == warps ? 0 : warp + 1);
    if (cluster.ready[static_cast<size_t>(warp) / 64] >> (warp % 64) & 1) {
      cluster.last_warp = warp;
      return &cluster.warps[static_cast<size_t>(warp)];
    }
  }
  return nullptr;
}

// Whatever comes next of the cluster; returns when that thread has its turn again.
void give_way(Thread& self, bool last = false) {
  Warp& warp = *self.warp;
  Cluster& cluster = *warp.block->cluster;
  if (nearly_full(self.fiber)) fail("its stack of %zu bytes does not suffice", self.fiber.stack_bytes);
  if (warp.ready != 0) {
    Thread& next = warp.threads[next_lane(warp)];
    if (&next == &self) return;
    current = &next;
    switch_fiber(self.fiber, next.fiber, last);
  } else {
    cluster.ready[static_cast<size_t>(warp.index) / 64] &= ~(uint64_t{1} << (warp.index % 64));
    current = nullptr;
    switch_fiber(self.fiber, cluster.scheduler, last);
  }
}

void thread_main() {
  started_fiber(current->block->cluster->scheduler);
  Thread& self = *current;
  Cluster& cluster = *self.block->cluster;
  cluster.grid->kernel(cluster.grid->arguments);
  if (cluster.grid->dependent && !self.previous_grid_ended) fail("returns without wait_for_previous_grid");
  check_no_products(self);
  finish_copies(self, self.copy_groups + 1);
  self.exited = true;
  self.warp->live &= ~(1u << self.lane);
  self.warp->ready &= ~(1u << self.lane);
  --self.block->live;
  --cluster.live;
  leave_barriers(self);
  if (self.block->live == 0) {
    check_shared_memory_ends(*self.block);
    for (const Transfer& transfer : cluster.transfers) {
      if (transfer.to == self.block) fail("the block returns while load_tensor still writes to its shared memory");
    }
  }
  give_way(self, true);
  __builtin_unreachable();
}

std::string describe(const Thread& thread) {
  if (thread.exited) return "returned";
  const Waiting& waiting = thread.waiting;
  if (waiting.call == nullptr) return "can go on";
  char operands[64] = "";
  if (std::strcmp(waiting.call, "barrier_wait") == 0) {
    snprintf(operands, sizeof operands, "(shared + %d, parity %d)", waiting.operand[0], waiting.operand[1]);
  } else if (waiting.operands == 2) {
    snprintf(operands, sizeof operands, "(%d, %d)", waiting.operand[0], waiting.operand[1]);
  }
  return "wait in " + std::string(waiting.call) + operands;
}

// Each run of threads that wait for the same.
std::string describe(const Cluster& cluster) {
  std::string text;
  for (size_t first = 0; first < cluster.threads.size();) {
    const Thread& thread = cluster.threads[first];
    const std::string what = describe(thread);
    size_t last = first;
    while (last + 1 < cluster.threads.size() && cluster.threads[last + 1].block == thread.block &&
           describe(cluster.threads[last + 1]) == what) {
      ++last;
    }
    text += (first == 0 ? "" : "; ") + ("block " + std::to_string(thread.block->index.x)) + " threads " +
            std::to_string(thread.index.x) + "-" + std::to_string(cluster.threads[last].index.x) + " " + what;
    first = last + 1;
  }
  return text;
}

void start_cluster(Cluster& cluster, const Grid& grid, int64_t index) {
  cluster.grid = &grid;
  cluster.index = index;
  const size_t blocks = static_cast<size_t>(grid.cluster), threads = static_cast<size_t>(grid.threads);
  const size_t warps = (threads + kWarpThreads - 1) / kWarpThreads, groups = threads / kWarpgroupThreads;
  if (cluster.blocks.size() != blocks) cluster.blocks = std::vector<Block>(blocks);
  cluster.threads.assign(blocks * threads, Thread{});
  cluster.warps.assign(blocks * warps, Warp{});
  cluster.warpgroups.assign(blocks * groups, Warpgroup{});
  cluster.ready.assign((blocks * warps + 63) / 64, 0);
  cluster.last_warp = order(cluster) == Order::descending ? 0 : static_cast<int>(blocks * warps) - 1;
  cluster.live = static_cast<int>(blocks * threads);
  cluster.at_cluster_barrier.clear();
  cluster.arrived_at_cluster = 0;
  cluster.cluster_phase = 0;
  cluster.transfers.clear();
  cluster.random.seed(grid.seed ^ static_cast<uint64_t>(index) << 20);
  cluster.failure.clear();
  cluster.scheduler = {};  // perhaps another thread of the CPU than last time
  cluster.stacks.reserve(static_cast<int>(blocks * threads));
  for (size_t b = 0; b < blocks; ++b) {
    Block& block = cluster.blocks[b];
    block.cluster = &cluster;
    block.index = {static_cast<unsigned>(index * grid.cluster + static_cast<int64_t>(b)), 0, 0};
    block.rank = static_cast<int>(b);
    block.threads = block.live = grid.threads;
    prepare_shared_memory(block, grid.shared_bytes);
    for (NamedBarrier& barrier : block.barriers) barrier.waiting.clear();
    block.at_mbarriers.clear();
    block.unfenced_mbarriers.clear();
    block.warpgroup_registers.assign(groups, 0);
    for (size_t t = 0; t < threads; ++t) {
      const size_t number = b * threads + t;
      Thread& thread = cluster.threads[number];
      Warp& warp = cluster.warps[b * warps + t / kWarpThreads];
      thread.index = {static_cast<unsigned>(t), 0, 0};
      thread.lane = static_cast<int>(t % kWarpThreads);
      thread.block = &block;
      thread.warp = &warp;
      if (t < groups * kWarpgroupThreads) thread.warpgroup = &cluster.warpgroups[b * groups + t / kWarpgroupThreads];
      if (thread.lane == 0) {
        warp.block = &block;
        warp.threads = &thread;
        warp.index = static_cast<int>(b * warps + t / kWarpThreads);
      }
      warp.live |= 1u << thread.lane;
      wake(thread);
      cluster.stacks.start(thread.fiber, static_cast<int>(number), thread_main);
    }
  }
}

}  // namespace

void fail(const char* format, ...) {
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  if (current == nullptr) throw Failure{text};
  Thread& self = *current;
  Cluster& cluster = *self.block->cluster;
  cluster.failure =
      "block " + std::to_string(self.block->index.x) + " thread " + std::to_string(self.index.x) + ": " + text;
  current = nullptr;
  switch_fiber(self.fiber, cluster.scheduler);
  __builtin_unreachable();
}

void wake(Thread& thread) {
  Warp& warp = *thread.warp;
  warp.ready |= 1u << thread.lane;
  warp.block->cluster->ready[static_cast<size_t>(warp.index) / 64] |= uint64_t{1} << (warp.index % 64);
}

void suspend(const Waiting& waiting) {
  Thread& self = *current;
  self.waiting = waiting;
  self.warp->ready &= ~(1u << self.lane);
  give_way(self);
  self.waiting.call = nullptr;
}

void may_yield() {
  Thread& self = *current;
  Cluster& cluster = *self.block->cluster;
  if (order(cluster) != Order::random || cluster.random.below(kOddsOfYielding) != 0) return;
  current = nullptr;  // it is still ready, and so is its warp
  switch_fiber(self.fiber, cluster.scheduler);
}

void warp_instruction(const char* call, WarpInstruction instruction, void* argument) {
  Thread& self = *current;
  Warp& warp = *self.warp;
  if (warp.arrived == 0) {
    warp.call = call;
    warp.instruction = instruction;
  } else if (warp.instruction != instruction) {
    fail("divergent warp: it is in %s, and other lanes of its warp (%08x) in %s", call, warp.arrived, warp.call);
  }
  warp.arguments[self.lane] = argument;
  warp.arrived |= 1u << self.lane;
  if (warp.arrived != kAllLanes) return suspend({call});
  warp.arrived = 0;
  instruction(warp.arguments);
  warp.ready = kAllLanes;
  may_yield();
}

void run_cluster(Cluster& cluster, const Grid& grid, int64_t index) {
  start_cluster(cluster, grid, index);
  const bool random = order(cluster) == Order::random;
  while (cluster.live > 0) {
    if (random && !cluster.transfers.empty() && cluster.random.below(kOddsOfTransfer) == 0) finish_transfer(cluster);
    Warp* warp = next_warp(cluster);
    if (warp != nullptr) {
      current = &warp->threads[next_lane(*warp)];
      switch_fiber(cluster.scheduler, current->fiber);
      if (!cluster.failure.empty()) throw Failure{cluster.failure};
    } else if (!cluster.transfers.empty()) {
      finish_transfer(cluster);
    } else {
      throw Failure{"deadlock: " + describe(cluster)};
    }
  }
}

}  // namespace emulated

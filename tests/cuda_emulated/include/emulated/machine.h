// State of the emulated GPU: what the threads of one cluster, which run on one thread of the CPU, share.
//
// Every CUDA thread is a fiber that runs until it has to wait. Of a warp whichever lane is ready goes on; when all of
// them wait, another warp of the cluster does. So a race is never a race of the CPU: the order of the threads and the
// moment at which asynchronous instructions take effect follow from the mode and the seed (asynchrony.h) alone.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "emulated/asynchrony.h"
#include "emulated/fiber.h"

namespace emulated {

constexpr int kWarpThreads = 32, kWarpgroupThreads = 128, kNamedBarriers = 16, kMostThreads = 1024;
constexpr uint32_t kAllLanes = 0xFFFFFFFFu;

struct Index {
  unsigned x, y, z;
};

struct Thread;
struct Block;
struct Cluster;

// For messages: the call a thread is in.
struct Waiting {
  const char* call = nullptr;  // null: it runs, or could
  int operands = 0, operand[2] = {0, 0};
};

using WarpInstruction = void (*)(void* const* arguments);  // of the 32 lanes

struct Warp {
  Block* block;
  Thread* threads;  // the first lane
  int index;        // within the cluster
  uint32_t live, ready;
  // The instruction that its lanes are gathering for.
  uint32_t arrived;
  const char* call;
  WarpInstruction instruction;
  void* arguments[kWarpThreads];
};

// What the threads of a warpgroup must agree on in a wgmma.
struct ProductShape {
  uint64_t a, b;  // descriptors
  int type, n;
  bool a_mn, b_mn, a_in_registers;
  bool operator==(const ProductShape&) const = default;
};

struct Product {  // one wgmma
  ProductShape shape;
  float* accumulators[kWarpgroupThreads];
  const uint32_t* left[kWarpgroupThreads];  // a in registers
};

struct Warpgroup {
  int arrived;
  Product next;                // that its threads are gathering for
  std::deque<Product> issued;  // not yet done
  int64_t done;
};

struct CopyAsync {
  void* shared;
  const void* global;
  int bytes;
  int64_t group;
};

struct Thread {
  Fiber fiber;
  Warp* warp;
  int lane;
  Waiting waiting;
  Index index;
  Block* block;
  Warpgroup* warpgroup;  // null where the block's threads do not fill it
  bool exited, previous_grid_ended;
  std::vector<CopyAsync> copies;        // issued, not yet done
  int64_t copy_groups;                  // committed
  int64_t products;                     // wgmma issued
  std::vector<int64_t> product_groups;  // products at each commit that has not been waited for
  bool products_fenced;
  bool arrived_at_cluster;
  int64_t cluster_phase;
};

struct NamedBarrier {
  int count;
  std::vector<Thread*> waiting;
};

struct Block {
  Cluster* cluster;
  Index index;
  int rank, threads, live;
  char* shared;  // shared_bytes of it
  // What the copy engine and wgmma are sure to see there: what the engine itself wrote, and everything at the last
  // fence_async_shared of any thread. Kept for the check alone.
  std::vector<char> async_view;
  bool async_fenced;  // since async_view was brought up to date
  std::unique_ptr<char[]> memory;
  int64_t memory_bytes = 0;
  NamedBarrier barriers[kNamedBarriers];  // 0: sync_block's
  std::vector<Thread*> at_mbarriers;
  std::vector<std::pair<uint64_t*, Thread*>> unfenced_mbarriers;  // initialized by it, and the others not told
  std::vector<int> warpgroup_registers;                           // as setmaxnreg left them, 0: as launched
};

struct TensorMap;

struct Transfer {  // of a box to one block
  std::shared_ptr<const TensorMap> map;
  Block* to;
  int64_t shared, barrier;  // offsets
  int column, row, view;
};

// A launch, for all its clusters.
struct Grid {
  int64_t blocks;
  int threads, shared_bytes, cluster;
  bool dependent;
  int capability;
  Asynchrony asynchrony;
  uint64_t seed;
  void (*kernel)(const void* arguments);
  const void* arguments;
};

struct Cluster {
  const Grid* grid;
  int64_t index;
  std::vector<Block> blocks;
  std::vector<Thread> threads;
  std::vector<Warp> warps;
  std::vector<Warpgroup> warpgroups;
  std::vector<uint64_t> ready;  // a bit per warp
  int last_warp;
  int live;
  std::vector<Thread*> at_cluster_barrier;
  int arrived_at_cluster;
  int64_t cluster_phase;
  std::vector<Transfer> transfers;  // issued, not yet done
  Random random;
  std::vector<float> operands;  // of the wgmma at hand
  Fiber scheduler;
  Stacks stacks;
  std::string failure;
};

// The thread that runs; null in the scheduler.
extern constinit thread_local Thread* current __attribute__((tls_model("initial-exec")));

inline Index thread_index() { return current->index; }
inline Index block_index() { return current->block->index; }
inline Index block_size() { return {static_cast<unsigned>(current->block->threads), 1, 1}; }
inline Index grid_size() { return {static_cast<unsigned>(current->block->cluster->grid->blocks), 1, 1}; }

// scheduler.cpp

// Ends the launch, which returns the message. A thread never comes back from it; in the scheduler it throws.
[[noreturn]] __attribute__((format(printf, 1, 2))) void fail(const char* format, ...);
struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// The thread waits until wake() is called for it.
void suspend(const Waiting&);
void wake(Thread&);
// A good moment for others to go on, which the mode may seize.
void may_yield();
// Gathers the 32 lanes; the last to come carries the instruction out.
void warp_instruction(const char* call, WarpInstruction, void* argument);
void run_cluster(Cluster&, const Grid&, int64_t index);

// What ends with a thread, a block. barriers.cpp
void leave_barriers(Thread&);

// shared_memory.cpp
void prepare_shared_memory(Block&, int bytes);
void fence_async_view(Block&);                // if a thread has called fence_async_shared
void check_shared_memory_ends(const Block&);  // nothing was written on either side of it
int64_t shared_offset(const Block&, const void* pointer, int64_t bytes, int alignment, const char* what);
void needs_hopper(const char* call);
void needs_previous_grid(const char* call);
Block& block_of_cluster(int rank, const char* call);  // that still runs

// copy_async.cpp, tensor.cpp, wgmma.cpp
void finish_copies(Thread&, int64_t groups);
void finish_transfer(Cluster&);  // one of those under way
void check_no_products(const Thread&);
void complete_bytes(Block&, uint64_t* barrier, int bytes);  // barriers.cpp

}  // namespace emulated
